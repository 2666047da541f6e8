"""How even folds are: ours, scikit-learn's StratifiedGroupKFold, and the well-known split into 15 shards.

    python benchmarks/folds.py --train_csv=train_cdeotte.csv --duplicates=ISIC_2020_Training_Duplicates.csv

The table is that of the re-made sets, whose column `tfrecord` is the well-known split; its five folds are every fifth
shard. All three are judged by `fold_counts.deviations`, each on the images that it uses. Prints one JSON object last.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from melanoma_tf import fold_counts, folds, tables

SHARDS = 15


def stratified(table: pd.DataFrame, count: int, seed: int) -> np.ndarray:
    fold = np.empty(len(table), np.int64)
    splits = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for number, (_, held_out) in enumerate(splits.split(table, table["target"], table["patient_id"])):
        fold[held_out] = number
    return fold


def known(table: pd.DataFrame, count: int) -> np.ndarray:
    shard = table[tables.SHARD_COLUMN].to_numpy()
    return np.where(shard < 0, fold_counts.UNUSED, shard % count)


def compare(table: pd.DataFrame, pairs: list, count: int, seeds: int) -> dict:
    """Deviations of the three, in percent; of ours and scikit-learn's the mean over seeds."""
    counts = fold_counts.count_columns(table)
    start = time.perf_counter()
    every_row = table.drop(columns=tables.SHARD_COLUMN)  # by which ours would leave out what that split dropped
    ours = [folds.make_folds(every_row, count, seed, pairs) for seed in range(seeds)]
    seconds = (time.perf_counter() - start) / seeds
    ways = {
        "ours": ours,
        "stratified_group_k_fold": [stratified(table, count, seed) for seed in range(seeds)],
        "tfrecord": [known(table, count)],
    }
    measured = {name: [fold_counts.deviations(counts, fold) for fold in tried] for name, tried in ways.items()}
    shown = pd.DataFrame({name: sum(one["deviation"] for one in each) / len(each) for name, each in measured.items()})
    shown["at_best"] = measured["ours"][0]["at_best"]
    shown.loc["mean over counts"] = shown.mean()
    print(f"{count} folds: largest relative deviation from the mean over folds, in percent")
    print((100 * shown).to_string(float_format="{:.2f}".format), "\n", flush=True)
    means = {name: [round(100 * one["deviation"].mean(), 3) for one in each] for name, each in measured.items()}
    return {"percent": (100 * shown).round(3).to_dict(), "mean_by_seed": means, "seconds": round(seconds, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train_csv", required=True)
    parser.add_argument("--duplicates")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    table = tables.read_table(arguments.train_csv, target=True)
    tables.require_columns(table, (tables.SHARD_COLUMN,), arguments.train_csv)
    pairs = folds.read_duplicates(arguments.duplicates) if arguments.duplicates else []
    print(json.dumps({str(count): compare(table, pairs, count, arguments.seeds) for count in (5, SHARDS)}))


if __name__ == "__main__":
    sys.exit(main())
