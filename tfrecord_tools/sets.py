"""The sets of a folder: which shards belong together, and which table is theirs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from melanoma_tf import files
from melanoma_tf.data import shards as shard_files
from melanoma_tf.errors import UserError, nearest


def prefix_of(path: str | os.PathLike) -> str:
    """What stands before the first digit of a shard's name: `train` for `train00-2071.tfrec`."""
    prefix = re.split(r"\d", os.path.basename(path), maxsplit=1)[0].removesuffix(".tfrec").strip("-_. ")
    return prefix or "shards"


def find_sets(data_dir: str | os.PathLike, prefix: str | None = None) -> dict[str, list[str]]:
    """Shards (*.tfrec) of a folder or of its `tfrecords/` by prefix, or those of one prefix only.

    Raises: UserError when there are none, or when one of them is no file.
    """
    sets: dict[str, list[str]] = {}
    for path in shard_files.list_shards(data_dir, ""):
        sets.setdefault(prefix_of(path), []).append(path)
    if prefix is not None and prefix not in sets:
        raise UserError(f"no shards {prefix}*.tfrec in {data_dir}; {nearest(prefix, sets)}")
    chosen = sets if prefix is None else {prefix: sets[prefix]}
    for path in (path for paths in chosen.values() for path in paths):
        if not files.is_remote(path) and not os.path.isfile(path):  # to open a pipe would wait for ever
            raise UserError(f"{path} is no file; a shard is one")
    return chosen


def find_table(data_dir: str | os.PathLike, prefix: str, shards: Iterable[str]) -> str | None:
    """`<prefix>.csv` beside the shards, or above them as in the official layout; None where there is none."""
    folders = dict.fromkeys([*map(os.path.dirname, shards), str(data_dir).rstrip("/")])
    listed = (path for folder in folders for path in files.list_folder(folder, "*.csv"))
    return next((path for path in listed if os.path.basename(path) == f"{prefix}.csv"), None)
