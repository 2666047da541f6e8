"""Reads prediction files as they are out there: other column names, ranks, logits, several folds, passes, indices."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma_tf import tables
from melanoma_tf.ensemble.columns import Columns, find_columns
from melanoma_tf.ensemble.values import as_probabilities
from melanoma_tf.errors import UserError
from melanoma_tf.predictions import Predictions

SUFFIX = r"\.(?:jpe?g|png|dcm|dicom|tiff?|bmp)$"


@dataclass(frozen=True)
class PredictionFile:
    """Attributes: predictions; patients: str[N] in their order, or None; notes: what was not as `Predictions.write`
    writes it, and what was made of it."""

    predictions: Predictions
    patients: np.ndarray | None
    notes: tuple[str, ...]


def read_prediction_file(path: str | os.PathLike, known: Collection[str] = ()) -> PredictionFile:
    """Reads one file of predictions.

    Names lose folders and endings such as .jpg, unless they are all among the known ones, those of the table. An image
    may have several rows or several columns (folds, views of
    test-time augmentation), which are averaged, but only where every image has the same number.

    Raises: UserError, one line with the file, the thing and what would be valid: no table, no rows, a column that is
      missing or could be two things, a name that is empty or doubled, a number that is text, NaN, infinite or outside
      [0, 1] and no rank or logit for certain, a constant, a truth that is not 0 or 1.
    """
    table = tables.read_csv(path)
    for column in table.columns:
        stem = re.sub(r"\.\d+$", "", column)  # what pandas makes of a second column of the same name
        if stem != column and stem in table:
            raise UserError(f"{path} has the column {stem!r} twice; keep one of them")
    if table.empty:
        raise UserError(f"{path} has no rows; a row per image is needed")
    columns = find_columns(table, path)
    written = tables.read_csv(path, as_written=True)  # 0012 is not 12, whatever the column is called
    for column in filter(None, (columns.name, columns.patient)):
        table[column] = written[column].where(table[column].notna())
    names = _names(table[columns.name], columns, table, path, set(known))
    notes = [f"column {columns.predictions[0]!r} is taken for the prediction"] if _unusual(columns) else []
    values, fold, note = _values(table, columns, names, path)
    frame = pd.DataFrame({"name": names, "value": values})
    if columns.target and table[columns.target].notna().any():
        frame["target"] = _truth(table, columns, names, path)
    frame["fold"] = _whole(table[columns.fold], columns.fold, names, path) if columns.fold else fold
    if columns.patient:  # an image without a patient is its own one
        frame["patient"] = table[columns.patient].astype("str").where(table[columns.patient].notna(), frame["name"])
    frame, passes = _averaged(frame, path)
    probability, scale = as_probabilities(
        frame["value"].to_numpy(np.float64), frame["name"].to_numpy(object), f"{path}: {columns.predictions[0]}"
    )
    notes += [text for text in (note, passes, scale) if text]
    target, fold = (frame[name].to_numpy() if name in frame and frame[name].notna().all() else None
                    for name in ("target", "fold"))  # fmt: skip
    patients = frame["patient"].to_numpy(object) if columns.patient else None
    return PredictionFile(
        Predictions(frame["name"].to_numpy(object), probability, target, fold), patients, tuple(notes)
    )


def _unusual(columns: Columns) -> bool:
    known = ("probability", "pred", "prediction", "target")
    return len(columns.predictions) == 1 and columns.predictions[0].lower() not in known


def _names(
    values: pd.Series, columns: Columns, table: pd.DataFrame, path: str | os.PathLike, known: set[str]
) -> np.ndarray:
    prediction = table[columns.predictions[0]]
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.between(0, 1).all() and pd.to_numeric(prediction, errors="coerce").isna().all():
        raise UserError(f"{path}: {columns.name} holds numbers and {columns.predictions[0]} names, as if swapped; "
                        f"exchange the two names of columns")  # fmt: skip
    text = values.astype("str").str.strip()
    empty = values.isna() | (text == "")
    if empty.any():
        raise UserError(f"{path} line {int(np.argmax(empty)) + 2}: empty {columns.name}; every row needs a name")
    if known.issuperset(text):
        return text.to_numpy(object)
    short = short_names(text)
    written = text.groupby(short.to_numpy()).unique()
    doubled = written[written.map(len) > 1]
    if len(doubled):
        one, other = doubled.iloc[0][:2]
        raise UserError(f"{path} names {doubled.index[0]} more than once, as {one} and {other}; names must differ "
                        f"without folders and endings")  # fmt: skip
    return short.to_numpy(object)


def short_names(names: pd.Series) -> pd.Series:
    """Without folders and endings such as .jpg."""
    return names.str.replace(r"^.*[/\\]", "", regex=True).str.replace(SUFFIX, "", regex=True, case=False)


def _numbers(values: pd.Series, names: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    numbers = pd.to_numeric(values, errors="coerce")
    text = (numbers.isna() & values.notna()).to_numpy()
    if text.any():
        first = int(np.argmax(text))
        raise UserError(f"{path}: {values.name} of {names[first]} is {values.iloc[first]!r} ({int(text.sum())} of "
                        f"{len(text)}); valid are numbers with a point")  # fmt: skip
    return numbers.to_numpy(np.float64)


def _values(table: pd.DataFrame, columns: Columns, names: np.ndarray, path: str | os.PathLike):
    """Values float64[N], the fold where one column per fold tells it (else None), and a note."""
    wide = np.stack([_numbers(table[column], names, path) for column in columns.predictions])
    if len(wide) == 1:
        return wide[0], None, ""
    counts = np.isfinite(wide).sum(0)
    listed = f"{columns.predictions[0]} to {columns.predictions[-1]}"
    if (counts == 1).all():
        return np.nansum(wide, 0), np.isfinite(wide).argmax(0), f"one of {listed} per image, taken as its fold"
    if (counts != len(wide)).any():
        first = int(np.argmax(counts != len(wide)))
        raise UserError(f"{path}: {names[first]} has {counts[first]} of the {len(wide)} numbers {listed}; "
                        f"valid is one for every image, or all of them")  # fmt: skip
    return wide.mean(0), None, f"mean of {len(wide)} columns, {listed}"


def _truth(table: pd.DataFrame, columns: Columns, names: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    target = pd.to_numeric(table[columns.target], errors="coerce").to_numpy(np.float64)
    wrong = ~np.isin(target, (0, 1))
    if wrong.any():
        prediction = pd.to_numeric(table[columns.predictions[0]], errors="coerce")
        if prediction.isin((0, 1)).all():
            raise UserError(f"{path}: {columns.predictions[0]} holds only 0 and 1 and {columns.target} does not, as if "
                            f"swapped; exchange the two names of columns")  # fmt: skip
        first = int(np.argmax(wrong))
        raise UserError(f"{path}: {columns.target} of {names[first]} is {table[columns.target].iloc[first]} "
                        f"({int(wrong.sum())} of {len(wrong)}); the truth must be 0 or 1")  # fmt: skip
    return target


def _whole(values: pd.Series, column: str, names: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    wrong = ~((numbers == np.rint(numbers)) & (np.abs(numbers) < 2**15))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise UserError(f"{path}: {column} of {names[first]} is {values.iloc[first]}; a fold is a whole number")
    return numbers


def _averaged(frame: pd.DataFrame, path: str | os.PathLike) -> tuple[pd.DataFrame, str]:
    """One row per name, in the order of their first; fold NaN where an image was predicted in several."""
    groups = frame.groupby("name", sort=False)
    counts = groups.size()
    if (counts == 1).all():
        return frame, ""
    if counts.nunique() > 1:
        raise UserError(f"{path} names {counts.idxmax()} more than once ({int((counts > 1).sum())} of {len(counts)} "
                        f"are doubled); valid is one row per image, or the same number of passes for each")  # fmt: skip
    if "target" in frame:
        differs = groups["target"].nunique() > 1
        if differs.any():
            raise UserError(f"{path}: target of {differs.idxmax()} differs from row to row; it must be 0 or 1 in all")
    mean = groups.agg({column: "first" for column in frame.columns if column not in ("name", "value")})
    mean["value"] = groups["value"].mean().where(~groups["value"].apply(lambda part: part.isna().any()))
    if frame["fold"].notna().all():
        mean["fold"] = mean["fold"].where(groups["fold"].nunique() == 1)
    return mean.reset_index(), f"mean of {counts.iloc[0]} rows per image"
