"""Which column of a prediction file is what, whatever it is called. What could be two things is refused."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma_tf.errors import UserError

NAMES = ("image_name", "image", "isic_id", "image_id", "imageid", "filename", "file_name", "file", "name", "id", "img",
         "path", "image_path", "filepath")  # fmt: skip
PREDICTIONS = (
    "probability", "pred", "prediction", "predictions", "preds", "predicted", "prob", "probs", "proba", "p", "score",
    "scores", "y_pred", "y_prob", "y_score", "yhat", "y_hat", "oof", "oof_pred", "oof_preds", "output", "logit",
    "logits", "rank", "ranks", "melanoma", "mel", "malignant", "malignant_probability", "pred_target", "target_pred",
    "target_oof", "oof_target", "mel_prob", "prob_mel", "pred_mel",
)  # fmt: skip
TRUTHS = ("target", "label", "y_true", "y", "truth", "ground_truth", "gt", "true_label")
PATIENTS = ("patient_id", "patient", "patientid")
FOLDS = ("fold", "folds", "kfold", "cv_fold", "fold_id", "fold_index")
UNNAMED = re.compile(r"unnamed:_\d+|index|level_0|")
SERIES = re.compile(
    r"(?:(pred|prediction|prob|probability|p|score|oof|output|logit|target|model|fold|tta|view)s?_?)+\d+"
)


@dataclass(frozen=True)
class Columns:
    """The columns of a file as it spells them. predictions: one, or one per fold or view. Others None where absent."""

    name: str
    predictions: tuple[str, ...]
    target: str | None
    patient: str | None
    fold: str | None


def find_columns(table: pd.DataFrame, path: str | os.PathLike) -> Columns:
    """Raises UserError where no column, or more than one, can be the name or the prediction; it tells those there."""
    spelled = {column: re.sub(r"[\s\-]+", "_", str(column).strip().lower()) for column in table.columns}
    of = lambda valid: [column for column, name in spelled.items() if name in valid]  # noqa: E731
    name = _name(table, of(NAMES), spelled, path)
    rest = {column: spelled[column] for column in table.columns if column != name}
    found = [column for column in of(PREDICTIONS) if column != name]
    series = [column for column, text in rest.items() if SERIES.fullmatch(text) and text not in FOLDS]
    truths = [column for column in of(TRUTHS) if column != name]
    if len(truths) > 1:
        raise UserError(f"{path}: {_listed(truths)} could all be the truth; keep one of them")
    if not found and not series:  # as in a submission, whose `target` is the prediction
        if not truths:
            raise UserError(f"{path} has no prediction column; it has: {_listed(table.columns)}; "
                            f"valid names are {', '.join(PREDICTIONS[:9])}, or target in a submission")  # fmt: skip
        found, truths = truths, []
        _refuse_truth_alone(table[found[0]], found[0], path)
    if len(found) > 1 or (found and series) or (len(series) > 1 and not _same_stem(series)):
        raise UserError(f"{path}: {_listed([*found, *series])} could all be the prediction; keep one of them")
    single = lambda valid: next(iter(of(valid)), None)  # noqa: E731
    return Columns(name, tuple(found or series), next(iter(truths), None), single(PATIENTS), single(FOLDS))


def _name(table: pd.DataFrame, found: list[str], spelled: dict[str, str], path: str | os.PathLike) -> str:
    exact = [column for column in found if spelled[column] == NAMES[0]]
    texts = [column for column in found if not _is_number(table[column])]
    for candidates in (exact, texts, found):
        if len(candidates) > 1:
            raise UserError(f"{path}: {_listed(candidates)} could all be the name of the image; keep one of them")
        if candidates:
            return candidates[0]
    unnamed = [column for column, text in spelled.items() if UNNAMED.fullmatch(text) and not _is_number(table[column])]
    if len(unnamed) == 1:  # the index of a table of predictions, written without its name
        return unnamed[0]
    raise UserError(f"{path} has no column with the names of the images; it has: {_listed(table.columns)}; "
                    f"valid names are {', '.join(NAMES[:7])}")  # fmt: skip


def _refuse_truth_alone(values: pd.Series, column: str, path: str | os.PathLike) -> None:
    numbers = pd.to_numeric(values, errors="coerce")
    if len(numbers) and numbers.isin((0, 1)).all():
        raise UserError(f"{path} has no prediction column: {column} holds only 0 and 1, as the truth does; "
                        f"valid names beside it are probability, pred or prediction")  # fmt: skip


def _same_stem(columns: list[str]) -> bool:
    return len({re.sub(r"\d+$", "", column.strip().lower()) for column in columns}) == 1


def _is_number(values: pd.Series) -> bool:
    return bool(len(values)) and bool(np.isfinite(pd.to_numeric(values, errors="coerce")).mean() > 0.5)


def _listed(columns) -> str:
    return ", ".join(str(column) for column in columns)
