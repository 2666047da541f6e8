"""Folds that do not leak: a patient, and the patients of known duplicate images, are in one fold only."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from melanoma_tf import files, fold_counts, tables
from melanoma_tf.balance import balanced_bins
from melanoma_tf.errors import UserError
from melanoma_tf.fold_counts import UNUSED

FOLD_COLUMNS = ("fold", "tfrecord")
# One percent more images, or melanoma, weighs as much as thirty percent more of one site: without it, where one patient
# has most images of a site (2020 has one, at 15 folds), the rest of the images would make up for it.
MAIN_WEIGHT = 1000.0


def make_folds(
    table: pd.DataFrame, folds: int = 5, seed: int = 2020, duplicates: Iterable[tuple[str, str]] = ()
) -> np.ndarray:
    """Assigns every image to a fold so that all of `fold_counts.count_columns` are as even as they can be.

    Args:
      table: a training table with image_name, patient_id and target; source and site are balanced where it has them.
      folds: number of folds, 2 or more. seed: another one gives another assignment, equally even.
      duplicates: pairs of image names that show one lesion; pairs with an image outside the table are ignored. The
        patients of a pair are joined, and so on transitively.

    Returns: int16[N], 0..folds-1, in the order of the table; -1 for rows that the table marks as dropped (`tfrecord` -1
      in the re-made sets), whose images may be nowhere. They still join patients.
    Raises: UserError when there are too few patients, or too few with a melanoma, for that many folds.
    """
    if folds < 2:
        raise UserError(f"--folds={folds}: at least 2 folds are needed")
    group, used = _groups(table, duplicates), ~tables.dropped(table)
    melanoma = used & (table["target"].to_numpy() == 1)
    for what, found in (("patients", group[used]), ("patients with a melanoma", group[melanoma])):
        count = len(np.unique(found))
        if count < folds:
            raise UserError(f"--folds={folds}: there are only {count} independent {what}; use at most {count} folds")
    counts = fold_counts.count_columns(table[used])
    label = np.random.default_rng(seed).permutation(group.max() + 1)[group[used]]
    by_group = counts.groupby(label).sum().reindex(range(group.max() + 1), fill_value=0).to_numpy()
    weight = np.where(counts.columns.isin(fold_counts.MAIN), MAIN_WEIGHT, 1.0) / by_group.sum(0) ** 2.0
    fold = np.full(len(table), UNUSED, np.int16)
    fold[used] = _deal(by_group, folds, weight)[label]
    return fold


def _deal(counts: np.ndarray, folds: int, weight: np.ndarray) -> np.ndarray:
    """Fold of every group, int64[G]. As many of a kind as there are folds go one into each, which is even and keeps
    sets of many patients with one image quick; the search is over the rest."""
    _, kind, sizes = np.unique(counts, axis=0, return_inverse=True, return_counts=True)
    kind = kind.ravel()  # numpy 2.0 gives it a second axis
    order = np.argsort(kind, kind="stable")
    turn = np.empty(len(kind), np.int64)
    turn[order] = np.arange(len(kind)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    fold = turn % folds
    rest = turn >= (sizes - sizes % folds)[kind]
    fold[rest] = balanced_bins(counts[rest], folds, weight=weight)
    return fold


def _groups(table: pd.DataFrame, duplicates: Iterable[tuple[str, str]]) -> np.ndarray:
    """Group of every image, int[N]: connected components of patients joined by duplicate pairs."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    patient, names = pd.factorize(table["patient_id"])
    pairs = np.array(list(duplicates), object).reshape(-1, 2)
    rows = pd.Index(table["image_name"].to_numpy(object)).get_indexer(pairs.ravel()).reshape(-1, 2)
    first, second = patient[rows[(rows >= 0).all(axis=1)]].T
    links = coo_matrix((np.ones(len(first)), (first, second)), shape=(len(names), len(names)))
    return connected_components(links, directed=False)[1][patient]


def read_duplicates(path: str | os.PathLike) -> list[tuple[str, str]]:
    """Pairs of a CSV with image_name_1 and image_name_2, as the challenge publishes them. Raises UserError."""
    table = tables.read_csv(path)
    columns = ["image_name_1", "image_name_2"]
    tables.require_columns(table, tuple(columns), path)
    stripped = (table[column].astype("str").str.strip() for column in columns)
    return list(zip(*stripped))


def count_folds(table: pd.DataFrame, fold: np.ndarray) -> pd.DataFrame:
    """One row a fold: fold, images, melanoma, share of melanoma, patients."""
    grouped = table.assign(fold=fold).groupby("fold")
    counts = grouped.agg(images=("image_name", "size"), melanoma=("target", "sum"), patients=("patient_id", "nunique"))
    counts.insert(2, "share", counts["melanoma"] / counts["images"])
    return counts.reset_index()


def write_folds(path: str | os.PathLike, table: pd.DataFrame, fold: np.ndarray, seed: int | None = None) -> None:
    """Writes `path` (image_name, fold) and beside it `.json` with the SHA-256 of the CSV, k, seed and counts.

    Args: fold int[N] in the order of `table`; seed, for the record only.
    Raises: UserError for a leak or where the files cannot be written.
    """
    require_no_leak(table, fold)
    text = pd.DataFrame({"image_name": table["image_name"], "fold": fold}).to_csv(index=False, lineterminator="\n")
    counts = count_folds(table, fold)
    files.write_whole(path, text)
    sidecar = {
        "sha256": files.sha256(text.encode()),
        "folds": int((counts["fold"] != UNUSED).sum()),
        "seed": seed,
        "counts": counts.drop(columns="share").to_dict("records"),
    }
    files.write_json(sidecar_of(path), sidecar)


def sidecar_of(path: str | os.PathLike) -> Path:
    """The JSON beside a fold file."""
    return Path(path).with_suffix(".json")


def read_folds(path: str | os.PathLike, table: pd.DataFrame, *, partial: bool = False) -> np.ndarray:
    """The fold of every image of `table`, int16[N]; -1 for images that are never used.

    Takes our own files and tables with a column `tfrecord` in place of `fold` (the well-known split, where -1 marks
    dropped duplicates). The hash is checked where the `.json` of `write_folds` is there. partial: whether the table may
    lack images of the file, as one does whose damaged records were lost.

    Raises: UserError naming the image that is missing, extra or doubled, or has no whole number as fold.
    """
    _check_hash(path)
    given = tables.read_csv(path)
    tables.require_columns(given, ("image_name",), path)
    column = next((name for name in FOLD_COLUMNS if name in given), FOLD_COLUMNS[0])
    tables.require_columns(given, (column,), path)
    names = tables.clean_names(given, path).to_numpy(object)
    position = pd.Index(names).get_indexer(table["image_name"].to_numpy(object))
    if (position < 0).any():
        missing = table["image_name"].to_numpy(object)[position < 0]
        raise UserError(f"{path} has no fold for {missing[0]} ({len(missing)} of {len(table)} images are missing)")
    numbers = _fold_numbers(given[column], names, path)
    extra = np.delete(names, position)[np.delete(numbers, position) != UNUSED]
    if len(extra) and not partial:
        raise UserError(f"{path} names {extra[0]}, which is not in the table ({len(extra)} extra images)")
    return numbers[position]


def _fold_numbers(values: pd.Series, names: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    valid = (numbers == np.rint(numbers)) & (numbers >= UNUSED) & (numbers < 1000)
    if not valid.all():
        first = int(np.argmin(valid))
        raise UserError(
            f"{path}: {values.name} of {names[first]} is {values.iloc[first]}; valid is -1 (unused), 0, 1, ..."
        )
    return numbers.astype(np.int16)


def _check_hash(path: str | os.PathLike) -> None:
    folder, name = os.path.split(str(path))
    sidecars = files.list_folder(folder or ".", os.path.splitext(name)[0] + ".json")
    if not sidecars or not files.list_folder(folder or ".", name):
        return
    with files.open_read(sidecars[0]) as sidecar, files.open_read(path) as file:
        try:
            wanted = dict(json.loads(sidecar.read())).get("sha256")
        except (ValueError, TypeError) as error:
            raise UserError(f"{sidecars[0]} is damaged; remove it or make the folds again") from error
        if wanted is not None and files.sha256(file.read()) != wanted:
            raise UserError(f"{path} was changed after it was made: its SHA-256 is not that of {sidecars[0]}")


def require_no_leak(table: pd.DataFrame, fold: np.ndarray) -> None:
    """Raises UserError naming a patient whose images are in more than one fold; unused images (-1) do not count."""
    used = table.assign(fold=fold)[np.asarray(fold) != UNUSED]
    counts = used.groupby("patient_id")["fold"].nunique()
    straddling = counts[counts > 1]
    if len(straddling):
        patient = straddling.index[0]
        found = sorted(set(used.loc[used["patient_id"] == patient, "fold"].tolist()))
        raise UserError(
            f"patient {patient} is in the folds {', '.join(map(str, found))} ({len(straddling)} patients straddle); "
            "all images of a patient belong in one fold"
        )
