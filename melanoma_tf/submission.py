"""Submissions: the challenge's CSV, written in its own order and checked row by row."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd

from melanoma_tf import tables
from melanoma_tf.errors import UserError
from melanoma_tf.predictions import Predictions

IMAGE_NAME = "image_name"


def make_submission(predictions: Predictions, sample: pd.DataFrame) -> str:
    """CSV text with the columns and the row order of the sample submission; floats round-trip exactly.

    Args: predictions of exactly the images of `sample`; sample, a table of `image_name` and one column to fill.
    Raises: UserError naming a missing or an extra image, or a sample of another shape.
    """
    value = _value_column(sample, "the sample submission")
    names = tables.clean_names(sample, "the sample submission").to_numpy(object)
    probability = predictions.aligned(names, "submission").probability
    columns = {IMAGE_NAME: names, value: probability}
    return pd.DataFrame(columns)[list(sample.columns)].to_csv(index=False, lineterminator="\n")


def check_submission(submission: str | os.PathLike | pd.DataFrame, sample: pd.DataFrame) -> Predictions:
    """Checks a file or a table against the sample submission, and returns what it predicts.

    Raises: UserError naming the row: other columns, an image missing, extra or doubled, a value that is no number in
    [0, 1].
    """
    if isinstance(submission, pd.DataFrame):
        source, table = "submission", submission
    else:
        source, table = str(submission), tables.read_csv(submission)
    if list(table.columns) != list(sample.columns):
        raise UserError(f"{source} has the columns {', '.join(table.columns)}; valid: {', '.join(sample.columns)}")
    value = _value_column(sample, "the sample submission")
    names = tables.clean_names(table, source).to_numpy(object)
    numbers = pd.to_numeric(table[value], errors="coerce").to_numpy(np.float64)
    wrong = ~((numbers >= 0) & (numbers <= 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"{source} line {row + 2}: {value} of {names[row]} is {table[value].iloc[row]}; it must be in [0, 1]"
        )
    expected = tables.clean_names(sample, "the sample submission").to_numpy(object)
    return Predictions(names, numbers).aligned(expected, source)


def blank_sample(predictions: Predictions) -> pd.DataFrame:
    """A sample submission in the order of the predictions, for where the challenge's own is not at hand."""
    return pd.DataFrame({IMAGE_NAME: predictions.image_name, "target": 0})


def _value_column(sample: pd.DataFrame, source: str) -> str:
    columns = [str(column) for column in sample.columns]
    if len(columns) != 2 or IMAGE_NAME not in columns:
        raise UserError(
            f"{source} has the columns {', '.join(columns)}; expected image_name and one more, as in target"
        )
    return next(column for column in columns if column != IMAGE_NAME)
