"""What folds should have equally much of, and by how much they miss it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from melanoma_tf import schema

UNUSED = -1  # in no fold: neither trained on nor validated on
MAIN = ("images", "melanoma", "patients", "patients with melanoma")


def count_columns(table: pd.DataFrame) -> pd.DataFrame:
    """What every image adds to each count, int64[N,D] with readable names; a fold's counts are sums over its rows.

    The main ones come first: images, melanoma, patients and patients with melanoma, a patient counting at its first
    image. Then patients by their number of images (classes at the quartiles), and images by source and by site where
    the table has them, with the melanoma of each source.
    """
    melanoma = table["target"].to_numpy() == 1
    first = ~table["patient_id"].duplicated().to_numpy()
    affected = table["patient_id"].isin(table["patient_id"][melanoma]).to_numpy()
    found = dict(zip(MAIN, (np.ones(len(table), bool), melanoma, first, first & affected)))
    found |= _patients_by_images(table["patient_id"], first)
    for name, rows in _values(table, schema.SOURCE):
        found |= {f"source {name}": rows, f"melanoma of source {name}": rows & melanoma}
    found |= {f"site {name}": rows for name, rows in _values(table, schema.SITE)}
    return pd.DataFrame({name: rows.astype(np.int64) for name, rows in found.items() if rows.any()})


def _patients_by_images(patient: pd.Series, first: np.ndarray) -> dict[str, np.ndarray]:
    images = patient.map(patient.value_counts()).to_numpy()
    upper = np.unique(np.quantile(images[first], (0.25, 0.5, 0.75), method="lower"))
    label = np.searchsorted(upper, images)
    found = {}
    for number in np.unique(label):
        low, high = images[label == number].min(), images[label == number].max()
        span = f"{low}-{high}" if low < high else f"{low}"
        found[f"patients of {span} image{'s' if high > 1 else ''}"] = first & (label == number)
    return found


def _values(table: pd.DataFrame, column: str) -> list[tuple[str, np.ndarray]]:
    """(value, bool[N]) of every value; none of a column that is absent or the same throughout."""
    if column not in table or table[column].nunique(dropna=False) < 2:
        return []
    values = table[column].astype(object).where(table[column].notna(), "not recorded").astype(str)
    return [(name, (values == name).to_numpy()) for name in sorted(values.unique())]


def deviations(counts: pd.DataFrame, fold: np.ndarray) -> pd.DataFrame:
    """How uneven folds are: one row a count with `mean` a fold, `deviation`, the largest difference of a fold to the
    mean over folds as a share of that mean, and `at_best`, below which whole numbers cannot come.

    Args: counts of `count_columns`, fold int[N] with at least one image in a fold; images at -1 are left out.
    """
    used = np.asarray(fold) != UNUSED
    sums = counts[used].groupby(np.asarray(fold)[used]).sum()
    sums = sums.loc[:, sums.any()]
    mean = sums.mean()
    fraction = mean % 1
    # Of folds that all lie at the next lower or higher whole number, the further one counts.
    at_best = np.maximum(fraction, (1 - fraction).where(fraction > 1e-9, 0)) / mean
    return pd.DataFrame({"mean": mean, "deviation": (sums / mean - 1).abs().max(), "at_best": at_best})


def unevenness(table: pd.DataFrame, fold: np.ndarray) -> pd.DataFrame:
    """`deviations` of all counts of the rows that are in a fold."""
    used = np.asarray(fold) != UNUSED
    return deviations(count_columns(table[used]), np.asarray(fold)[used])


def describe(found: pd.DataFrame) -> str:
    """`deviations` for a person: one line a count, and the mean over counts last."""
    width = max(map(len, (*found.index, "mean over counts")))
    lines = [f"{'unevenness':<{width}}  mean a fold  largest deviation  at best"]
    for name, row in found.iterrows():
        values = f"{row['mean']:>11,.1f}  {row['deviation']:>17.2%}  {row['at_best']:>7.2%}"
        lines.append(f"{name:<{width}}  {values}")
    mean = f"{found['deviation'].mean():>17.2%}  {found['at_best'].mean():>7.2%}"
    return "\n".join([*lines, f"{'mean over counts':<{width}}  {'':>11}  {mean}"])
