"""Every image that the audit knows of, in one table: whose it is and what it is used for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma_tf.fold_counts import UNUSED

TRAIN, TEST, EXTERNAL = "train", "test", "external"
SHRUNK = "_downsampled"  # what the 2019 set adds to names of images that it shrank


@dataclass(frozen=True)
class Tables:
    """What is audited: train (with target), fold int[N] or None, test or None, external sets by file name."""

    train: pd.DataFrame
    fold: np.ndarray | None
    test: pd.DataFrame | None
    external: dict[str, pd.DataFrame]

    def parts(self) -> list[tuple[str, str, pd.DataFrame]]:
        """(role, how it is called, table) of each."""
        found = [(TRAIN, TRAIN, self.train)]
        if self.test is not None:
            found.append((TEST, TEST, self.test))
        return found + [(EXTERNAL, name, table) for name, table in self.external.items()]


def make_pool(tables: Tables) -> pd.DataFrame:
    """One row an image name: role, place (as it is printed), fold (-1 unless trained and validated on), patient_id,
    target (NaN if unknown). A name in several tables is that of the first."""
    parts = []
    for role, called, table in tables.parts():
        part = table[["image_name", "patient_id"]].assign(role=role, place=called, fold=UNUSED)
        part["target"] = pd.to_numeric(table["target"], errors="coerce") if "target" in table else np.nan
        if role == TRAIN and tables.fold is not None:
            part["fold"] = tables.fold
            part["place"] = [f"fold {fold}" if fold != UNUSED else "unused" for fold in tables.fold]
        parts.append(part)
    return pd.concat(parts).drop_duplicates("image_name").set_index("image_name")


def plain_names(names: Iterable[str]) -> pd.Series:
    """Names without what a set adds to those of shrunk images."""
    return pd.Series([name.removesuffix(SHRUNK) for name in names], dtype=object)
