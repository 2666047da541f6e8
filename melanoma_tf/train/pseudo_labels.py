"""Test images that train too, with what an earlier run says of them in the place of the truth.

The out-of-fold score stays honest as long as no label comes from a model that has seen what is held out: in fold k
they are those of the earlier run's model of fold k, and that model must have held out the same images.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from melanoma_tf.data.image_set import ImageSet, join_image_sets
from melanoma_tf.errors import UserError
from melanoma_tf.predictions import Predictions, read_predictions
from melanoma_tf.schema import SOURCE
from melanoma_tf.train.plan import ALL, Fold

PSEUDO = "pseudo"  # source of these images, so that `data.source_weights=pseudo=0.5` finds them


def add_pseudo_labels(
    images: ImageSet, test: ImageSet | None, plan: list[Fold], run: str
) -> tuple[ImageSet, list[Fold]]:
    """The training set with the test images behind it, and the plan in which they train.

    Soft labels: the probability itself (Lee 2013 took the nearer class; soft ones as in Xie et al. 2020, arXiv
    1911.04252, section 2).

    Args: images: the training set, whose only class is melanoma. run: folder of a finished run; ``fold_k/test.csv``
      labels for fold k, and for a run without folds, in which nothing is held out, ``test.csv``.
    Raises: UserError for a run that lacks a fold, that held out other images, or that chose its weights by them; no
      test set; several classes.
    """
    if test is None:
        raise UserError(f"data.pseudo_labels={run}: there are no test images to label")
    if images.labels is not None:
        raise UserError("data.pseudo_labels tell of melanoma alone; model.target must be binary")
    known = images.target[:, None]
    joined = join_image_sets(_of_source(images, ""), _of_source(test, PSEUDO))
    patients, folds = joined.table["patient_id"].to_numpy(str), []
    for fold in plan:
        said = _labels(Path(run), fold, images).aligned(test.names, f"{run}, fold {fold.name}")
        labels = np.concatenate([known, said.probability[:, None].astype(np.float32)])
        held_out = np.isin(patients, patients[fold.valid_rows])  # of a patient who validates nothing trains
        rows = np.concatenate([fold.train_rows, len(images) + np.flatnonzero(~held_out[len(images) :])])
        folds.append(dataclasses.replace(fold, train_rows=rows, labels=labels))
    return joined, folds


def _of_source(images: ImageSet, source: str) -> ImageSet:
    """Says where the images are from, where the table does not, or has to be told."""
    if SOURCE in images.table and not source:
        return images
    return dataclasses.replace(images, table=images.table.assign(**{SOURCE: source}))


def _require_chosen_blindly(run: Path) -> None:
    path = run / "config.json"
    if not path.exists():
        raise UserError(f"data.pseudo_labels={run}: no run there, which would have a config.json")
    try:
        select = json.loads(path.read_text())["train"]["select"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not the config.json of a run") from error
    if select != "last":
        raise UserError(f"data.pseudo_labels={run}: its weights were chosen by the images held out "
                        f"(train.select={select}), so its labels know them; it needs train.select=last")  # fmt: skip


def _labels(run: Path, fold: Fold, images: ImageSet) -> Predictions:
    """What the earlier run's model that held out the same images says of the test images."""
    if fold.name == ALL:
        return read_predictions(run / "test.csv")
    _require_chosen_blindly(run)
    folder = run / f"fold_{fold.name}"
    if not (folder / "finished.json").exists():
        raise UserError(f"data.pseudo_labels={run}: its fold {fold.name} is not finished")
    held_out = read_predictions(folder / "oof.csv").image_name
    seen = images.names[fold.valid_rows][~np.isin(images.names[fold.valid_rows], held_out)]
    if len(seen):
        raise UserError(f"data.pseudo_labels={run}: its fold {fold.name} trained on {seen[0]}, which is held out here "
                        f"({len(seen)} such images); both runs need the same folds")  # fmt: skip
    return read_predictions(folder / "test.csv")
