"""The whole records of damaged shards, in a new folder, and a list of the lost ones."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from melanoma_tf import files, schema, tables
from melanoma_tf.data import shards as shard_files
from melanoma_tf.data.salvage import DAMAGES, Loss, Record, salvage_records
from melanoma_tf.errors import UserError
from tfrecord_tools import manifest
from tfrecord_tools.sets import find_sets, find_table, prefix_of
from tfrecord_tools.verify import check_record
from tfrecord_tools.workers import ordered_workers, worker_count

LIST_COLUMNS = ("shard", "record", "offset", "image_name", "reason")
NO_ROWS = np.empty(0, bool)


@dataclass(frozen=True)
class Kept:
    """A record that goes into the new shard: where it is, and its image."""

    number: int
    offset: int
    image_name: str


@dataclass(frozen=True)
class Lost:
    """A record that does not, and why; None and "" where the file does not tell."""

    shard: str
    record: int | None
    offset: int | None
    image_name: str
    reason: str

    def line(self) -> str:
        place = "" if self.record is None else f"record {self.record} at byte {self.offset}"
        named = f"({self.image_name})" if place and self.image_name else self.image_name
        where = " ".join(part for part in (place, named) if part)
        return ": ".join(part for part in (self.shard, where, self.reason) if part)


@dataclass(frozen=True)
class ShardScan:
    """What can be kept of the shard at `path`, and what is lost."""

    path: str
    kept: tuple[Kept, ...]
    lost: tuple[Lost, ...]


@dataclass(frozen=True)
class SalvagedSet:
    """One set after salvage: `kept` records in `shards` files; `lost` in the order of the source."""

    prefix: str
    shards: int
    kept: int
    lost: tuple[Lost, ...]

    def line(self) -> str:
        lost = f"{len(self.lost)} losses, named in {self.prefix}.salvage.csv" if self.lost else "nothing was lost"
        return f"{self.prefix}: {self.kept} records in {self.shards} shards kept; {lost}"


def salvage(
    data_dir: str | os.PathLike,
    out: str | os.PathLike,
    *,
    prefix: str | None = None,
    workers: int = 1,
    overwrite: bool = False,
) -> list[SalvagedSet]:
    """Writes whole shards, `<prefix>.csv` without the rows that have no record, and `<prefix>.salvage.csv` last.

    A record is kept when its checksums fit, its JPEG decodes and its name was not there before. A shard of which
    all records are kept is copied bit for bit. Everything is read before anything is written.

    Args:
      data_dir: folder with *.tfrec, or with a subfolder `tfrecords`; may be remote. Nothing is written there.
      out: local folder, empty or new.
      prefix: only this set, such as `train`.
      workers: processes, 0 for all cores.
      overwrite: `out` may hold files; shards, table and list of the same sets are deleted first.

    Raises: UserError that names the folder or file; also when not one record can be kept.
    """
    sets = find_sets(data_dir, prefix)
    _require_other_folder(data_dir, out, overwrite)
    for paths in sets.values():
        _require_distinct_names(paths)
    with ordered_workers(worker_count(workers)) as ordered_map:
        scans = {name: list(ordered_map(scan_shard, paths)) for name, paths in sets.items()}
    plans = [_make_plan(data_dir, name, found) for name, found in scans.items()]
    lost = [one for plan in plans for one in plan.lost]
    if lost and not any(scan.kept for plan in plans for scan in plan.scans):
        raise UserError(f"{data_dir} holds no record that can be kept; {lost[0].line()}")
    folder = files.make_folder(out)
    return [_write_set(folder, plan) for plan in plans]


def _require_other_folder(data_dir: str | os.PathLike, out: str | os.PathLike, overwrite: bool) -> None:
    if files.is_remote(out):
        raise UserError(f"--out={out} is remote; salvage into a local folder and copy that")
    if not files.is_remote(data_dir):
        source, target = Path(data_dir).resolve(), Path(out).resolve()
        if target == source or source in target.parents or target in source.parents:
            raise UserError(f"--out={out} and --data_dir={data_dir} must lie apart: the source stays as it is")
    if os.path.isdir(out) and os.listdir(out) and not overwrite:
        raise UserError(f"--out={out} is not empty; choose another, or --overwrite the shards of the same sets in it")
    if os.path.exists(out) and not os.path.isdir(out):
        raise UserError(f"--out={out} is a file; it must be a new or an empty folder")


def _stem(path: str) -> str:
    """The name of a shard without its count: `train00` for `train00-2071.tfrec`."""
    return re.sub(r"(-\d+)?\.tfrec$", "", os.path.basename(path))


def _require_distinct_names(paths: list[str]) -> None:
    first_seen: dict[str, str] = {}
    for path in paths:
        other = first_seen.setdefault(_stem(path), path)
        if other != path:
            raise UserError(f"{other} and {path} differ in the count in their names alone; move one of them away")


def scan_shard(path: str) -> ShardScan:
    """Reads one shard to its end; runs in a worker process."""
    kept: list[Kept] = []
    lost: list[Lost] = []
    shard = os.path.basename(path)
    for found in salvage_records(path):
        if isinstance(found, Loss):
            for number, name in enumerate(found.image_names or ("",), start=found.number):
                lost.append(Lost(shard, number, found.offset, name, found.reason))
            continue
        checked = _check(shard, found)
        if isinstance(checked, Lost):
            lost.append(checked)
        else:
            kept.append(checked)
    promised = shard_files.count_in_name(path) or 0
    if promised > len(kept) + len(lost):
        rest = f"its name promises {promised} records, of {promised - len(kept) - len(lost)} nothing is to be seen"
        lost.append(Lost(shard, None, None, "", rest))
    return ShardScan(path, tuple(kept), tuple(lost))


def _check(shard: str, found: Record) -> Kept | Lost:
    record, problem = check_record(found.data)
    name = record.get(schema.IMAGE_NAME, "")
    return Lost(shard, found.number, found.offset, name, problem) if problem else Kept(found.number, found.offset, name)


@dataclass(frozen=True)
class _Plan:
    """What to write of a set: its shards, the losses, and of the table at `table` the rows that `stay` (bool each)."""

    prefix: str
    scans: tuple[ShardScan, ...]
    lost: tuple[Lost, ...]
    table: str | None
    stay: np.ndarray


def _make_plan(data_dir: str | os.PathLike, prefix: str, scans: Iterable[ShardScan]) -> _Plan:
    scans = tuple(_without_doubles(scans))
    lost = [lost for scan in scans for lost in scan.lost]
    kept = {record.image_name for scan in scans for record in scan.kept}
    path = find_table(data_dir, prefix, [scan.path for scan in scans])
    if path is None:
        return _Plan(prefix, scans, tuple(_if_credible(one, one.image_name not in kept) for one in lost), None, NO_ROWS)
    table = tables.read_table(path, target=False)
    stay = table["image_name"].isin(kept)
    if tables.SHARD_COLUMN in table:
        stay |= table[tables.SHARD_COLUMN] == -1  # rows that the table itself marks as dropped never had a record
    missing = dict.fromkeys(table["image_name"][~stay])
    lost = [_if_credible(one, one.image_name in missing) for one in lost]
    return _Plan(prefix, scans, tuple(_with_missing(lost, missing, os.path.basename(path))), path, stay.to_numpy())


def _without_doubles(scans: Iterable[ShardScan]) -> Iterator[ShardScan]:
    first_seen: dict[str, str] = {}
    for scan in scans:
        shard = os.path.basename(scan.path)
        kept, lost = [], list(scan.lost)
        for record in scan.kept:
            place = f"record {record.number} of {shard}"
            if first_seen.setdefault(record.image_name, place) == place:
                kept.append(record)
            else:
                reason = f"doubled name, kept is {first_seen[record.image_name]}"
                lost.append(Lost(shard, record.number, record.offset, record.image_name, reason))
        lost.sort(key=lambda one: (one.offset is None, one.offset or 0))
        yield ShardScan(scan.path, tuple(kept), tuple(lost))


def _if_credible(lost: Lost, credible: bool) -> Lost:
    """A name that was read from damaged bytes may be wrong."""
    return lost if credible or lost.reason not in DAMAGES else dataclasses.replace(lost, image_name="")


def _with_missing(lost: list[Lost], missing: Iterable[str], table: str) -> list[Lost]:
    """Names of the table that have no record; where one is missing and one has no name, they are the same."""
    named = {one.image_name for one in lost}
    unnamed = [number for number, one in enumerate(lost) if not one.image_name and one.record is not None]
    unrecorded = [name for name in missing if name not in named]
    if len(unnamed) == len(unrecorded) == 1:
        lost[unnamed[0]] = dataclasses.replace(lost[unnamed[0]], image_name=unrecorded[0])
        return lost
    return lost + [Lost("", None, None, name, f"in {table}, in no whole record") for name in unrecorded]


def _write_set(out: Path, plan: _Plan) -> SalvagedSet:
    _delete_earlier(out, plan.prefix)
    for scan in plan.scans:
        _write_shard(out / f"{_stem(scan.path)}-{len(scan.kept)}.tfrec", scan)
    if plan.table is not None:
        files.write_whole(out / f"{plan.prefix}.csv", _table_rows(plan.table, plan.stay))
    listed = pd.DataFrame([dataclasses.asdict(one) for one in plan.lost], columns=LIST_COLUMNS)
    listed = listed.astype({"record": "Int64", "offset": "Int64"})
    files.write_whole(out / f"{plan.prefix}.salvage.csv", listed.to_csv(index=False, lineterminator="\n"))
    return SalvagedSet(plan.prefix, len(plan.scans), sum(len(scan.kept) for scan in plan.scans), plan.lost)


def _delete_earlier(out: Path, prefix: str) -> None:
    """What a former salvage or conversion of the set left in `out`; there is something under --overwrite only."""
    for path in files.list_folder(out, "*.tfrec"):
        if prefix_of(path) == prefix:
            os.unlink(path)
    for suffix in ("manifest.json", "csv", "salvage.csv", "rejects.csv", "notes.csv"):
        (out / f"{prefix}.{suffix}").unlink(missing_ok=True)
    manifest.journal_path(out, prefix).unlink(missing_ok=True)


def _write_shard(target: Path, scan: ShardScan) -> None:
    with shard_files.open_shard(scan.path) as source:
        if not scan.lost:
            with files.open_whole(target) as copy:
                shutil.copyfileobj(source, copy)
            return
        data = (shard_files.read_record_at(source, record.offset, scan.path) for record in scan.kept)
        shard_files.write_shard(target, data)


def _table_rows(path: str, stay: np.ndarray) -> bytes:
    """The CSV as it is, or without the rows that do not stay; cells keep their spelling."""
    if stay.all():
        with files.open_read(path) as file:
            return file.read()
    return tables.read_csv(path, as_written=True)[stay].to_csv(index=False, lineterminator="\n").encode()
