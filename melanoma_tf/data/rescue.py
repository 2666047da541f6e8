"""Shards with damaged records, read all the same: those records are lost and named, the others are used."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from melanoma_tf import files
from melanoma_tf.data import shards
from melanoma_tf.data.index import ShardIndex, Surveyed, make_index, survey_record
from melanoma_tf.data.salvage import Loss, salvage_records
from melanoma_tf.errors import UserError


@dataclass(frozen=True)
class Lost:
    """One damaged stretch of a shard, for a person, and how many records it stands for."""

    line: str
    records: int


def index_rescued(paths: Iterable[str]) -> tuple[ShardIndex, int]:
    """As `index_shards`, but loses damaged records, says on standard error which, and returns how many.

    TensorFlow's reader cannot pass over damage, so a damaged shard is copied without it, into a folder that goes when
    the process ends.
    """
    read, surveyed, lost_records = [], [], 0
    for path in paths:
        records, losses = _survey(path)
        for loss in losses:
            print(f"data.salvage: {loss.line}", file=sys.stderr)
        lost_records += sum(loss.records for loss in losses)
        read.append(_copy_whole_records(path, len(records)) if losses else path)
        surveyed.append(records)
    if not any(surveyed):
        raise UserError(f"nothing can be salvaged from the shards of {os.path.dirname(read[0])}")
    return make_index(tuple(read), surveyed), lost_records


def _survey(path: str) -> tuple[list[Surveyed], list[Lost]]:
    found: dict[type, list] = {Surveyed: [], Lost: []}
    for part, _ in _parts(path):
        found[type(part)].append(part)
    return found[Surveyed], found[Lost]


def _parts(path: str) -> Iterator[tuple[Surveyed | Lost, bytes]]:
    """Everything in a shard in the order of the file; the bytes of a whole record."""
    for part in salvage_records(path):
        where = f"{path}: record {part.number} at byte {part.offset}"
        if isinstance(part, Loss):
            names = f" ({', '.join(part.image_names)})" if part.image_names else ""
            yield Lost(f"{where}{names} is lost: {part.reason}", part.records), b""
            continue
        try:
            yield survey_record(part.data), part.data
        except ValueError as error:
            yield Lost(f"{where} is lost: it {error}", 1), b""


def _copy_whole_records(path: str, count: int) -> str:
    folder = tempfile.mkdtemp(prefix="melanoma_tf_salvage_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    name = re.sub(r"-\d+(\.tfrec(ord)?)$", rf"-{count}\1", os.path.basename(path))
    copy = os.path.join(files.make_folder(folder), name)
    shards.write_shard(copy, (data for part, data in _parts(path) if isinstance(part, Surveyed)))
    return copy
