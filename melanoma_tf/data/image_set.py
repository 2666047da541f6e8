"""A set of shards joined with its table: which row of the table every record belongs to."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from melanoma_tf import tables
from melanoma_tf.data import shards
from melanoma_tf.data.index import ShardIndex, index_shards, join_indices, require_as_in_manifest
from melanoma_tf.data.rescue import index_rescued
from melanoma_tf.errors import UserError


@dataclass(frozen=True)
class ImageSet:
    """Shards and table of one set (train or test), row-aligned.

    Attributes:
      index: what the shards hold. table: one row an image. meta: float32[N, METADATA_WIDTH].
      target: float32[N]; 0 where the truth is unknown. has_target: whether it is known.
      labels: float32[N,C], what training aims at where that is not the target itself.
      pixels: by side S, what `cache.hold_decoded` put there: uint8[records + 1,S,S,3] in the order of the index.
    """

    index: ShardIndex
    table: pd.DataFrame
    meta: np.ndarray
    target: np.ndarray
    has_target: bool
    pixels: dict[int, np.ndarray] = field(default_factory=dict, compare=False, repr=False)
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.table)

    @property
    def names(self) -> np.ndarray:
        """Image names in the order of the table, object[N]."""
        return self.table["image_name"].to_numpy(object)

    @property
    def training_target(self) -> np.ndarray:
        """float32[N,C]: the labels, or the target as one column."""
        return self.target[:, None] if self.labels is None else self.labels

    @functools.cached_property
    def row_of_record(self) -> np.ndarray:
        """int32[records]: the row of the table that each record belongs to."""
        return pd.Index(self.names).get_indexer(np.asarray(self.index.names, object)).astype(np.int32)


def load_image_set(
    data_dir: str | os.PathLike, csv: str | os.PathLike, prefix: str, *, target: bool, salvage: bool = False
) -> ImageSet:
    """Reads the table and every record's name once.

    Args:
      data_dir: folder with `prefix*.tfrec`, or with a subfolder `tfrecords` that has them.
      csv: the table. prefix: `train` or `test`. target: whether the table must know the truth.
      salvage: lose damaged records and their rows, and say which, instead of refusing the shard.

    Raises: UserError naming the file, record or image: nothing there, damage, a count that the name contradicts,
      names other than the manifest's, images in the shards that the table lacks, or the other way round. Rows that the
      table itself marks as dropped (`tfrecord` -1, as the well-known re-made sets mark duplicates) may lack an image;
      they are left out then.
    """
    paths = shards.list_shards(data_dir, prefix)
    table = tables.read_table(csv, target=target)
    index, lost = index_rescued(paths) if salvage else (index_shards(paths), 0)
    table = _without_dropped(table, index)
    if lost:
        table = _without_lost(table, index, lost)
    else:
        require_as_in_manifest(index, prefix)
    _require_same_images(index, table, str(csv), os.path.dirname(paths[0]))
    values = table["target"].to_numpy(np.float32) if target else np.zeros(len(table), np.float32)
    return ImageSet(index, table, tables.metadata_features(table), values, target)


def join_image_sets(first: ImageSet, second: ImageSet) -> ImageSet:
    """Both as one set, the rows of `second` behind those of `first`, without labels. Raises UserError for an image that
    is in both."""
    table = pd.concat([first.table, second.table], ignore_index=True)
    meta, target = (np.concatenate([getattr(one, name) for one in (first, second)]) for name in ("meta", "target"))
    return ImageSet(join_indices(first.index, second.index), table, meta, target, first.has_target)


def _without_lost(table: pd.DataFrame, index: ShardIndex, lost: int) -> pd.DataFrame:
    """Leaves out rows without an image, unless they are more than the lost records explain."""
    there = table["image_name"].isin(index.names)
    return table[there].reset_index(drop=True) if (~there).sum() <= lost else table


def _without_dropped(table: pd.DataFrame, index: ShardIndex) -> pd.DataFrame:
    without = tables.dropped(table) & ~table["image_name"].isin(index.names)
    return table[~without].reset_index(drop=True)


def _require_same_images(index: ShardIndex, table: pd.DataFrame, csv: str, folder: str) -> None:
    in_table, in_shards = pd.Index(table["image_name"]), pd.Index(index.names)
    unknown = in_shards.difference(in_table)
    if len(unknown):
        raise UserError(f"{unknown[0]} is in the shards of {folder} but not in {csv} ({len(unknown)} such images)")
    absent = in_table.difference(in_shards)
    if len(absent):
        raise UserError(f"{absent[0]} is in {csv} but not in the shards of {folder} ({len(absent)} such images)")
