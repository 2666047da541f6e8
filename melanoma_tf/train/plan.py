"""What a run is made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from melanoma_tf import folds as folding
from melanoma_tf import metrics
from melanoma_tf.config import Config
from melanoma_tf.data.image_set import ImageSet
from melanoma_tf.errors import UserError, nearest
from melanoma_tf.schema import SOURCE

ALL = "all"


@dataclasses.dataclass(frozen=True)
class Fold:
    """What one fold works on.

    Attributes: name: `0`, `1`, ... or `all`; folder: where it writes; train_rows, valid_rows: int[n] rows of the train
    table; valid_rows is empty for `all`. labels: float32[N,C], what this fold trains on in the place of the truth.
    """

    name: str
    folder: Path
    train_rows: np.ndarray
    valid_rows: np.ndarray
    labels: np.ndarray | None = None


def plan_folds(
    wanted: str, fold_of: np.ndarray | None, images: ImageSet, work_dir: Path, train_only: str = ""
) -> list[Fold]:
    """The folds to train, each checked for both classes on both sides.

    Args:
      wanted: such as `0,2`; empty for all. fold_of: int[N], -1 unused; None trains on every image with none held out.
      train_only: sources, such as `isic2018,isic2019`, whose images never validate and train in every fold.
    Raises: UserError for a fold or a source that is not there, a patient in two folds, or one class alone.
    """
    if fold_of is None:
        metrics.require_two_classes(images.target, "training on all images")
        return [Fold(ALL, work_dir / f"fold_{ALL}", np.arange(len(images)), np.zeros(0, int))]
    folding.require_no_leak(images.table, fold_of)
    outside, patients = _of_sources(images, train_only), images.table["patient_id"].to_numpy(str)
    known = sorted(set(fold_of[fold_of >= 0].tolist()))
    names = [name.strip() for name in wanted.split(",")] if wanted else [str(number) for number in known]
    plan = []
    for name in names:
        if name not in map(str, known):
            raise UserError(f"--fold={wanted}: no fold {name!r}; valid: {', '.join(map(str, known))} or {ALL}")
        held_out = (fold_of == int(name)) & ~outside
        # Of a patient who validates nothing trains, whatever its source.
        seen = np.isin(patients, patients[held_out])
        valid, rest = np.flatnonzero(held_out), np.flatnonzero((fold_of >= 0) & ~seen)
        metrics.require_two_classes(images.target[valid], f"fold {name}")
        metrics.require_two_classes(images.target[rest], f"the training images of fold {name}")
        plan.append(Fold(name, work_dir / f"fold_{name}", rest, valid))
    return plan


def _of_sources(images: ImageSet, sources: str) -> np.ndarray:
    """bool[N]: whether an image is of one of `sources`."""
    wanted = [source.strip() for source in sources.split(",") if source.strip()]
    if not wanted:
        return np.zeros(len(images), bool)
    if SOURCE not in images.table:
        raise UserError(f"data.train_only={sources}: the table has no column {SOURCE!r}")
    found = images.table[SOURCE].astype(str)
    for source in wanted:
        if source not in set(found):
            raise UserError(f"data.train_only={sources}: no image of source {source!r}; {nearest(source, set(found))}")
    return found.isin(wanted).to_numpy()


def require_whole_parts(config: Config, replicas: int, keys: tuple[str, ...] = ("train", "predict")) -> None:
    """Raises UserError where a batch does not go up into equal parts, one for each replica and accumulation.

    Args: keys: whose batches, of `train` and `predict`.
    """
    for key in keys:
        parts = config.train.accumulation if key == "train" else 1
        size = getattr(config, key).batch_size
        if size % (replicas * parts):
            of = f" and train.accumulation={parts}" if parts > 1 else ""
            raise UserError(f"{key}.batch_size is {size}; with {replicas} replicas{of} it must be a multiple of "
                            f"{replicas * parts}")  # fmt: skip
