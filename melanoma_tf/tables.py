"""The competition's tables: `train.csv` and `test.csv`. They are the truth about every image; shards hold pixels."""

from __future__ import annotations

import codecs
import io
import os
from typing import Any

import numpy as np
import pandas as pd

from melanoma_tf import files
from melanoma_tf.errors import UserError

METADATA_COLUMNS = ("patient_id", "sex", "age_approx", "anatom_site_general_challenge")
SHARD_COLUMN = "tfrecord"  # of the re-made sets: the shard of an image, -1 for a dropped duplicate
# Read as text: 0012 stays what it is, and a table with an empty cell has the same names as one without.
NAME_COLUMNS = ("image_name", "patient_id", "image_name_1", "image_name_2")
SEXES = ("male", "female")
SITES = ("head/neck", "upper extremity", "lower extremity", "torso", "palms/soles", "oral/genital")
METADATA_WIDTH = len(SEXES) + len(SITES) + 2
SEX, SITE, AGE = (slice(0, len(SEXES)), slice(len(SEXES), METADATA_WIDTH - 2), slice(METADATA_WIDTH - 2, None))


def dropped(table: pd.DataFrame) -> np.ndarray:
    """bool[N]: rows that the re-made sets mark as dropped duplicates; none where the column is absent."""
    return (table[SHARD_COLUMN] == -1).to_numpy() if SHARD_COLUMN in table else np.zeros(len(table), bool)


def read_csv(path: str | os.PathLike, *, as_written: bool = False) -> pd.DataFrame:
    """A CSV as written by any system: BOM, UTF-16 and CRLF are taken, empty cells are NaN, names of columns stripped.

    Args: as_written: keep every cell as the text that it is, "" for an empty one.
    Raises: UserError naming the file when it is absent, empty or not a table, or has a column twice.
    """
    # pandas below 3.1 reads 0.30000000000000004 as 0.3 unless told to be exact
    options: dict[str, Any] = (
        {"dtype": str, "keep_default_na": False} if as_written else {"float_precision": "round_trip"}
    )
    try:
        with files.open_read(path) as file:
            content = file.read()
        encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        if "\0" in content.decode(encoding):  # which versions of pandas read differently
            raise UserError(f"{path} is not a CSV table: it holds NUL characters")
        header = pd.read_csv(io.BytesIO(content), encoding=encoding, nrows=0).columns
        if not as_written:
            options["dtype"] = {name: str for name in header if str(name).strip() in NAME_COLUMNS}
        table = pd.read_csv(io.BytesIO(content), encoding=encoding, **options)
    except FileNotFoundError as error:
        raise UserError(f"no table at {path}: expected a CSV file") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path} is not a CSV table: {str(error).splitlines()[0]}") from error
    table = table.rename(columns=lambda name: str(name).strip())
    doubled = table.columns[table.columns.duplicated()]
    if len(doubled):
        raise UserError(f"{path} has the column {doubled[0]!r} twice; keep one of them")
    return table


def require_columns(table: pd.DataFrame, columns: tuple[str, ...], path: str | os.PathLike) -> None:
    """Raises UserError that names the first missing column and what the table has."""
    for column in columns:
        if column not in table:
            raise UserError(f"{path} has no column {column!r}; it has: {', '.join(map(str, table.columns))}")


def clean_names(table: pd.DataFrame, path: str | os.PathLike) -> pd.Series:
    """The column `image_name` as str without blanks around it. Raises UserError for empty or doubled names."""
    names = table["image_name"]
    names = names.astype("str").str.strip().where(names.notna())
    require_unique_names(names.mask(names == ""), path)
    return names.astype(str)


def clean_patients(patients: pd.Series, images: pd.Series) -> pd.Series:
    """Patients as str without blanks around them; an image without one is its own. What was written as numbers with a
    point, `12.0`, as pandas writes whole numbers beside an empty cell, is `12`."""
    text = patients.astype("str").str.strip().where(patients.notna())
    known = text[text.notna() & (text != "")]
    if len(known) and known.str.fullmatch(r"\d+\.0").all():
        text = text.str.removesuffix(".0")
    return text.where(text.notna() & (text != ""), images).astype(str)


def require_unique_names(names: pd.Series, path: str | os.PathLike) -> None:
    """Raises UserError that names an empty or a doubled image name, with its line in the file."""
    if names.isna().any():
        raise UserError(f"{path} line {int(np.argmax(names.isna())) + 2}: empty image_name")
    doubled = names[names.duplicated()]
    if len(doubled):
        raise UserError(
            f"{path} names {doubled.iloc[0]} more than once ({len(doubled)} doubled rows); names must be unique"
        )


def read_table(path: str | os.PathLike, *, target: bool) -> pd.DataFrame:
    """Reads a competition table, one row an image.

    Args:
      path: CSV with `image_name`; `patient_id`, `sex`, `age_approx` and `anatom_site_general_challenge` are filled
        with NaN when absent, except that `patient_id` falls back on the image name (every image its own patient).
      target: whether a column `target` of 0 and 1 must be there.

    Returns: the table, index 0..n-1, `image_name` str and unique, `target` int8 if asked for.
    Raises: UserError naming the file, the column or the image.
    """
    table = read_csv(path)
    require_columns(table, ("image_name", "target") if target else ("image_name",), path)
    if table.empty:
        raise UserError(f"{path} has no rows")
    table["image_name"] = clean_names(table, path)
    for column in METADATA_COLUMNS:
        if column not in table:
            table[column] = np.nan
    table["patient_id"] = clean_patients(table["patient_id"], table["image_name"])
    if target:
        table["target"] = _binary_target(table, path)
    return table.reset_index(drop=True)


def _binary_target(table: pd.DataFrame, path: str | os.PathLike) -> pd.Series:
    values = pd.to_numeric(table["target"], errors="coerce")
    wrong = ~values.isin((0, 1))
    if wrong.any():
        first = table.loc[wrong].iloc[0]
        raise UserError(f"{path}: target of {first['image_name']} is {first['target']}; it must be 0 or 1")
    return values.astype(np.int8)


def rows_of(image_name: np.ndarray, table: pd.DataFrame, source: str | os.PathLike) -> pd.DataFrame:
    """The rows of `table` in the order of `image_name`, index 0..n-1.

    Raises: UserError naming an image of `source` that the table lacks.
    """
    position = pd.Index(table["image_name"].to_numpy(object)).get_indexer(np.asarray(image_name, object))
    if (position < 0).any():
        missing = np.asarray(image_name, object)[position < 0]
        raise UserError(
            f"{source}: {missing[0]} is not in the table ({len(missing)} of {len(position)} images are not)"
        )
    return table.iloc[position].reset_index(drop=True)


def metadata_features(table: pd.DataFrame) -> np.ndarray:
    """Metadata as numbers, float32[n, METADATA_WIDTH]: sex one-hot, site one-hot, age / 100, age known.

    A missing value is all zeros in its block, so that it is told apart from every known value.
    """
    age = pd.to_numeric(table["age_approx"], errors="coerce").to_numpy(np.float64)
    columns = [(table["sex"] == sex).to_numpy(np.float32) for sex in SEXES]
    columns += [(table["anatom_site_general_challenge"] == site).to_numpy(np.float32) for site in SITES]
    columns += [np.nan_to_num(age / 100.0), np.isfinite(age)]
    return np.stack([np.asarray(column, np.float32) for column in columns], axis=1)
