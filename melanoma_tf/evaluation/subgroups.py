"""The groups of people and lesions to look into, because a model may be worse for some of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from melanoma_tf import tables
from melanoma_tf.schema import SOURCE

AGES = ((0, 40, "under 40"), (40, 60, "40 to 59"), (60, 200, "60 and over"))
MISSING = "not recorded"


class Subgroup(NamedTuple):
    """`what` is divided (sex, age, site, source), the group's name, and bool[N] of its images."""

    what: str
    name: str
    mask: np.ndarray


def subgroups(rows: pd.DataFrame) -> list[Subgroup]:
    """Groups of the images by sex, age, site and, where the table tells it, source; what is not recorded is a group.

    Args: rows: the table's rows of the images, as of `tables.read_table`. Empty groups are left out.
    """
    age = pd.to_numeric(rows["age_approx"], errors="coerce").to_numpy(np.float64)
    bands = pd.Series([next((name for low, high, name in AGES if low <= value < high), None) for value in age])
    labels = {
        "sex": (rows["sex"], tables.SEXES),
        "age": (bands, [name for _, _, name in AGES]),
        "site": (rows["anatom_site_general_challenge"], tables.SITES),
    }
    if SOURCE in rows:
        source = rows[SOURCE].astype("str").where(rows[SOURCE].notna())
        labels[SOURCE] = (source, sorted(source.dropna().unique()))
    found = []
    for what, (values, names) in labels.items():
        masks = {name: (values == name).to_numpy(bool) for name in names}
        masks[MISSING] = ~np.any([*masks.values(), np.zeros(len(rows), bool)], axis=0)
        found += [Subgroup(what, name, mask) for name, mask in masks.items() if mask.any()]
    return found
