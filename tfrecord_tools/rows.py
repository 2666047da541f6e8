"""The table of a conversion: what of it is copied beside the shards, and what goes into the records."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma_tf import schema, tables
from tfrecord_tools.settings import Settings

# The columns that are copied: what the competition, its external sets and their re-made editions publish. Any other
# one, which may hold a name, a birthday or a remark, stays behind.
COLUMNS = (
    "image_name", "patient_id", "lesion_id", "sex", "age_approx", "anatom_site_general_challenge", "diagnosis",
    "benign_malignant", "target", "source", "tfrecord", "fold", "width", "height",
)  # fmt: skip
MAX_AGE = 120
HASH_DIGITS = 16


@dataclass(frozen=True)
class Note:
    """Something to know about an image that is kept all the same: `image_name`, a short `code`, a `detail`."""

    image_name: str
    code: str
    detail: str


@dataclass(frozen=True)
class Rows:
    """The table, ready.

    Attributes:
      cells: what is written beside the shards, every cell as text.
      image_name, patient: str each, one per row. target: 0 or 1 per row, None in a test set.
      codes: integers of the re-made dialect per row. notes: odd cells. left_out: names of columns not copied.
      prefix: `train` or `test`.
    """

    cells: pd.DataFrame
    image_name: list[str]
    patient: list[str]
    target: list[int] | None
    codes: list[dict[str, int]]
    notes: list[Note]
    left_out: list[str]
    prefix: str


def read_rows(csv: str | os.PathLike, settings: Settings) -> Rows:
    """Reads and cleans the table.

    An age that is no number of 0-120 years is emptied in the copy, as training would take it for a number; a sex,
    site or diagnosis that is unknown stays, as everything takes it for missing. All of them are noted.

    Raises: UserError naming the file, the column or the image.
    """
    written = tables.read_csv(csv, as_written=True)
    prefix = settings.prefix or ("train" if "target" in written else "test")
    table = tables.read_table(csv, target=prefix == "train")
    written["image_name"] = table["image_name"]
    if settings.salt is not None:
        table[schema.PATIENT] = [_hashed(patient, settings.salt) for patient in table[schema.PATIENT]]
        if schema.PATIENT in written:
            written[schema.PATIENT] = table[schema.PATIENT].where(written[schema.PATIENT].str.strip() != "", "")
    notes = _notes(table, diagnosis=settings.dialect == "remade")
    absurd = {note.image_name for note in notes if note.code == "bad_age"}
    if absurd:
        written.loc[table["image_name"].isin(absurd), schema.AGE] = ""
    kept = [name for name in written if name in COLUMNS]
    return Rows(
        cells=written[kept],
        image_name=table["image_name"].tolist(),
        patient=table[schema.PATIENT].tolist(),
        target=table["target"].tolist() if prefix == "train" else None,
        codes=_codes(table, diagnosis=prefix == "train") if settings.dialect == "remade" else [{}] * len(table),
        notes=notes,
        left_out=[str(name) for name in written if name not in COLUMNS],
        prefix=prefix,
    )


def _hashed(patient: str, salt: bytes) -> str:
    return hmac.new(salt, patient.encode(), hashlib.sha256).hexdigest()[:HASH_DIGITS]


def _ages(table: pd.DataFrame) -> np.ndarray:
    """float64[N], NaN where the cell is empty or no age."""
    age = pd.to_numeric(table[schema.AGE], errors="coerce").to_numpy(np.float64)
    return np.where((age >= 0) & (age <= MAX_AGE), age, np.nan)


def _notes(table: pd.DataFrame, *, diagnosis: bool) -> list[Note]:
    """In the order of the rows. No cell is quoted: it may hold anything."""
    bad = {schema.AGE: (np.isnan(_ages(table)), "bad_age", f"no number of 0-{MAX_AGE} years, taken as missing")}
    for column, what in ((schema.SEX, "sex"), (schema.SITE, "site"), (schema.DIAGNOSIS, "diagnosis")):
        if column in table and (diagnosis or column != schema.DIAGNOSIS):
            detail = f"{column} is not one that the competition knows, taken as missing"
            bad[column] = (~table[column].isin(schema.CODES[column]).to_numpy(), f"bad_{what}", detail)
    notes = [
        (row, Note(table["image_name"].iloc[row], code, detail))
        for column, (wrong, code, detail) in bad.items()
        for row in np.flatnonzero(wrong & table[column].notna().to_numpy())
    ]
    return [note for _, note in sorted(notes, key=lambda pair: pair[0])]


def _codes(table: pd.DataFrame, *, diagnosis: bool) -> list[dict[str, int]]:
    """Integers of the re-made dialect. Patients, whose ids are no numbers, are numbered in the order of their ids."""
    codes = pd.DataFrame({schema.PATIENT: np.unique(table[schema.PATIENT].to_numpy(str), return_inverse=True)[1]})
    codes[schema.AGE] = np.nan_to_num(_ages(table), nan=schema.MISSING).round().astype(int)
    for column in (schema.SEX, schema.SITE, *((schema.DIAGNOSIS,) if diagnosis and schema.DIAGNOSIS in table else ())):
        codes[column] = table[column].map(schema.CODES[column]).fillna(schema.MISSING).astype(int)
    return [{str(name): int(value) for name, value in row.items()} for row in codes.to_dict("records")]
