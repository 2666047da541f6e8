"""`Predictions`: what a model says of every image, and the CSV that carries it from one stage to the next."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma_tf import files, tables
from melanoma_tf.errors import UserError

PROBABILITY_COLUMNS = ("probability", "pred", "prediction")


@dataclass(frozen=True)
class Predictions:
    """Probability of melanoma per image.

    Attributes:
      image_name: str[N], unique.
      probability: float64[N] in [0, 1].
      target: int8[N] of 0 and 1, or None where the truth is unknown.
      fold: int16[N], the fold whose model predicted the image, or None.
    Raises: UserError naming the image, for doubled names, NaN or values outside [0, 1].
    """

    image_name: np.ndarray
    probability: np.ndarray
    target: np.ndarray | None = None
    fold: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_name", np.asarray(self.image_name, object))
        object.__setattr__(self, "probability", np.asarray(self.probability, np.float64))
        for name, dtype in (("target", np.int8), ("fold", np.int16)):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, np.asarray(value, dtype))
        self._check()

    def _check(self) -> None:
        for value in (self.probability, self.target, self.fold):
            if value is not None and value.shape != self.image_name.shape:
                raise UserError(f"{len(self.image_name)} names but {len(value)} values; one value per image is needed")
        doubled = pd.Index(self.image_name).duplicated()
        if doubled.any():
            raise UserError(f"{self.image_name[doubled][0]} is predicted more than once")
        wrong = ~((self.probability >= 0) & (self.probability <= 1))  # also true for NaN
        if wrong.any():
            raise UserError(
                f"prediction of {self.image_name[wrong][0]} is {self.probability[wrong][0]}; "
                f"{int(wrong.sum())} of {len(wrong)} are not probabilities in [0, 1]"
            )

    def __len__(self) -> int:
        return len(self.image_name)

    def aligned(self, image_name: np.ndarray, source: str = "predictions") -> Predictions:
        """The same predictions in the order of `image_name`. Raises UserError for a missing or an extra image."""
        image_name = np.asarray(image_name, object)
        position = pd.Index(self.image_name).get_indexer(image_name)
        if (position < 0).any():
            missing = image_name[position < 0]
            raise UserError(f"{source}: no prediction for {missing[0]} ({len(missing)} of {len(image_name)} missing)")
        if len(self) != len(image_name):
            extra = self.image_name[~np.isin(np.arange(len(self)), position)]
            raise UserError(f"{source}: {extra[0]} is not expected ({len(extra)} extra images)")
        take = lambda value: None if value is None else value[position]  # noqa: E731
        return Predictions(image_name, self.probability[position], take(self.target), take(self.fold))

    def write(self, path: str | os.PathLike) -> None:
        """Writes columns image_name, probability and, where known, target and fold; floats round-trip exactly."""
        columns = {"image_name": self.image_name, "probability": self.probability}
        columns |= {name: getattr(self, name) for name in ("target", "fold") if getattr(self, name) is not None}
        files.write_whole(path, pd.DataFrame(columns).to_csv(index=False, lineterminator="\n"))


def read_predictions(path: str | os.PathLike) -> Predictions:
    """Reads our own files, submissions (`target` is the probability) and files with `pred` or `prediction`.

    A column `probability`, `pred` or `prediction` is the prediction, and `target` beside it the truth; without one of
    them `target` is the prediction, as in a submission. Raises UserError naming file, column or image.
    """
    table = tables.read_csv(path)
    tables.require_columns(table, ("image_name",), path)
    column = next((name for name in PROBABILITY_COLUMNS if name in table), "target")
    tables.require_columns(table, (column,), path)
    names = tables.clean_names(table, path).to_numpy(object)
    known = lambda name: _whole_numbers(table, name) if name in table and column != "target" else None  # noqa: E731
    try:
        values = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
        return Predictions(names, values, known("target"), known("fold"))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _whole_numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
    valid = np.isin(values, (0, 1)) if column == "target" else (values == np.rint(values)) & (np.abs(values) < 2**15)
    if not valid.all():
        first = int(np.argmin(valid))
        what = "0 or 1" if column == "target" else "a whole number"
        raise UserError(
            f"{column} of {table['image_name'].iloc[first]} is {table[column].iloc[first]}; it must be {what}"
        )
    return values.astype(np.int16)
