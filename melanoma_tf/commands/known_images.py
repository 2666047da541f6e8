"""Predictions of images whose truth and patients a table tells: what the commands that judge predictions read."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma_tf import files, tables
from melanoma_tf.ensemble.reading import read_prediction_file
from melanoma_tf.errors import UserError
from melanoma_tf.metrics import require_two_classes
from melanoma_tf.predictions import Predictions


@dataclass(frozen=True)
class KnownImages:
    """Attributes: predictions, with their truth; rows: of the table, in their order; notes: what was read in an
    unusual way, such as ranks that are taken for probabilities."""

    predictions: Predictions
    rows: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def target(self) -> np.ndarray:
        return np.asarray(self.predictions.target, np.int64)

    @property
    def probability(self) -> np.ndarray:
        return self.predictions.probability

    @property
    def patients(self) -> np.ndarray:
        return self.rows["patient_id"].to_numpy(str)


def read_known_images(path: str, table_path: str) -> KnownImages:
    """Reads a file of predictions, whatever its columns are called, beside the table.

    Raises: UserError where a file cannot be read (`ensemble.reading`), where the table has no patient_id, lacks an
      image, or tells another truth, where there is no truth at all, and for one class only.
    """
    written = tables.read_csv(table_path)
    tables.require_columns(written, ("image_name", "patient_id"), table_path)
    if written["patient_id"].isna().all():
        raise UserError(f"{table_path}: the column 'patient_id' is empty; intervals need to know whose an image is")
    table = tables.read_table(table_path, target=False)
    read = read_prediction_file(path, table["image_name"])
    rows = tables.rows_of(read.predictions.image_name, table, path)
    truth = read.predictions.target
    if "target" in rows:
        known = tables.read_table(table_path, target=True)
        told = tables.rows_of(read.predictions.image_name, known, path)["target"].to_numpy(np.int8)
        differs = np.zeros(len(told), bool) if truth is None else truth != told
        if differs.any():
            name, count = rows["image_name"][int(np.argmax(differs))], int(differs.sum())
            raise UserError(f"target of {name} differs between {path} and {table_path} ({count} of {len(differs)}); "
                            f"give the table of these images")  # fmt: skip
        truth = told
    if truth is None:
        raise UserError(f"{path} has no truth beside its predictions, and {table_path} has no column 'target'; "
                        f"one is needed")  # fmt: skip
    require_two_classes(truth, path)
    return KnownImages(dataclasses.replace(read.predictions, target=truth), rows, read.notes)


def hashes(paths: dict[str, str | None]) -> dict[str, dict[str, str]]:
    """Path and SHA-256 of each file that was given, by the name of its flag, for records."""
    return {name: {"path": str(path), "sha256": files.sha256(_content(path))} for name, path in paths.items() if path}


def _content(path: str) -> bytes:
    with files.open_read(path) as file:
        return file.read()
