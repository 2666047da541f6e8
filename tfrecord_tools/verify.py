"""Is a folder of shards whole, and does it agree with itself, its manifest and its table?"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from melanoma_tf import files, schema, tables
from melanoma_tf.data import shards as shard_files
from melanoma_tf.data.salvage import Loss, salvage_records
from melanoma_tf.errors import RejectError, UserError
from tfrecord_tools import manifest
from tfrecord_tools.images import check_jpeg
from tfrecord_tools.sets import find_sets, find_table
from tfrecord_tools.workers import ordered_workers, worker_count


@dataclass(frozen=True)
class Problem:
    """Something wrong with `file`, in words; with the record's number, offset in bytes and image where it has them."""

    file: str
    problem: str
    record: int | None = None
    offset: int | None = None
    image_name: str = ""

    def line(self) -> str:
        place = "" if self.record is None else f"record {self.record} at byte {self.offset}"
        named = f"({self.image_name})" if place else self.image_name
        where = " ".join(part for part in (place, named if self.image_name else "") if part)
        return ": ".join(part for part in (self.file, where, self.problem) if part)


@dataclass(frozen=True)
class VerifyReport:
    """Attributes: problems, every one that was found; shards, and whole records in them."""

    problems: tuple[Problem, ...]
    shards: int
    records: int

    def line(self) -> str:
        found = f"{len(self.problems)} problems" if self.problems else "all whole"
        return f"{self.records} records in {self.shards} shards: {found}"

    def as_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class CheckedRecord:
    """Of one readable record: number in its shard, offset in bytes, and what it holds (target None where absent)."""

    number: int
    offset: int
    image_name: str
    target: int | None


@dataclass(frozen=True)
class ShardFindings:
    """Of one shard: how many whole `records` it holds, those `named` by their image, and its `problems`."""

    path: str
    records: int
    named: tuple[CheckedRecord, ...]
    problems: tuple[Problem, ...]


def verify(data_dir: str | os.PathLike, *, workers: int = 1) -> VerifyReport:
    """Checks framing and checksums, counts against names and manifest, hashes against the manifest, every JPEG by
    decoding it, names for doubles, and names and targets against `train.csv` or `test.csv` beside the shards.

    Args:
      data_dir: folder with *.tfrec, or with a subfolder `tfrecords`; may be remote.
      workers: processes, 0 for all cores.

    Raises: UserError when the folder holds no shards, or when a file in it cannot be read.
    """
    sets = find_sets(data_dir)
    problems: list[Problem] = []
    shards = records = 0
    with ordered_workers(worker_count(workers)) as ordered_map:
        for prefix, paths in sets.items():
            findings = list(ordered_map(verify_shard, paths))
            table = find_table(data_dir, prefix, paths)
            problems += [problem for found in findings for problem in found.problems]
            problems += _manifest_problems(prefix, findings, table)
            problems += _double_problems(findings)
            problems += _table_problems(table, prefix, findings) if table else ()
            shards += len(paths)
            records += sum(found.records for found in findings)
    problems += _without_shards(data_dir, sets)
    return VerifyReport(tuple(problems), shards, records)


def verify_shard(path: str) -> ShardFindings:
    """Reads one shard, past any damage, to its end; runs in a worker process."""
    problems: list[Problem] = []
    named: list[CheckedRecord] = []
    whole = lost = 0
    for found in salvage_records(path):
        if isinstance(found, Loss):
            lost += found.records
            problems.append(Problem(path, found.reason, found.number, found.offset, ", ".join(found.image_names)))
            continue
        whole += 1
        record, problem = check_record(found.data)
        name, target = record.get(schema.IMAGE_NAME, ""), record.get(schema.TARGET)
        if target not in (None, 0, 1):
            problem = problem or f"target {target}, must be 0 or 1"
        if problem:
            problems.append(Problem(path, problem, found.number, found.offset, name))
        if record:
            named.append(CheckedRecord(found.number, found.offset, name, target))
    promised = shard_files.count_in_name(path)
    if promised not in (None, whole + lost):
        problems.append(Problem(path, f"holds {whole} whole records but its name promises {promised}"))
    return ShardFindings(path, whole, tuple(named), tuple(problems))


def check_record(data: bytes) -> tuple[dict[str, Any], str]:
    """The decoded record ({} if it is none) and what is wrong with it or with its picture, "" if nothing is."""
    try:
        record = schema.decode_record(data)
    except ValueError as error:
        return {}, f"no melanoma record, {error}"
    try:
        check_jpeg(record[schema.IMAGE])
    except RejectError as error:
        return record, f"its JPEG is {error.code}: {error.detail}"
    return record, ""


def _at(path: str, record: CheckedRecord, problem: str) -> Problem:
    return Problem(path, problem, record.number, record.offset, record.image_name)


def _without_shards(data_dir: str | os.PathLike, sets: dict[str, list[str]]) -> Iterator[Problem]:
    """Manifests and journals of sets of which no shard is there."""
    folders = dict.fromkeys([str(data_dir).rstrip("/") or "/", *(os.path.dirname(paths[0]) for paths in sets.values())])
    for folder in folders:
        for path in files.list_folder(folder, "*.manifest.json"):
            prefix = os.path.basename(path).removesuffix(".manifest.json")
            content = _manifest_of_ours(path) if prefix not in sets else None
            for entry in content["shards"].values() if content else ():
                yield Problem(path, f"names {entry.file}, which is not there")
        for path in files.list_folder(folder, ".*.progress.json"):
            prefix = os.path.basename(path).removesuffix(".progress.json").removeprefix(".")
            if prefix not in sets:
                yield Problem(folder, f"the conversion of {prefix} is not finished; run tfrecord-tools convert again")


def _manifest_of_ours(path: str) -> dict[str, Any] | None:
    """None for a file of another program that is named like a manifest."""
    try:
        return manifest.read_manifest(path)
    except UserError:
        return None


def _manifest_problems(prefix: str, findings: list[ShardFindings], table: str | None) -> Iterator[Problem]:
    folder = os.path.dirname(findings[0].path)
    path = f"{folder}/{prefix}.manifest.json"
    content = manifest.read_manifest(path)
    if content is None:
        if os.path.exists(manifest.journal_path(folder, prefix)):
            yield Problem(folder, f"the conversion of {prefix} is not finished; run tfrecord-tools convert again")
        return
    entries = {entry.file: entry for entry in content["shards"].values()}
    found = {os.path.basename(shard.path): shard for shard in findings}
    for name in sorted(entries.keys() - found.keys()):
        yield Problem(path, f"names {name}, which is not there")
    for name in sorted(found.keys() - entries.keys()):
        yield Problem(f"{folder}/{name}", f"not in {prefix}.manifest.json")
    for name in sorted(entries.keys() & found.keys()):
        yield from _entry_problems(entries[name], found[name])
    if table and content.get("table_sha256") not in (None, manifest.sha256_of_file(table)):
        yield Problem(table, "its SHA-256 is not the one in the manifest")


def _entry_problems(entry: manifest.ShardEntry, found: ShardFindings) -> Iterator[Problem]:
    if manifest.sha256_of_file(found.path) != entry.sha256:
        yield Problem(found.path, "its SHA-256 is not the one in the manifest")
    if found.records != entry.count and not found.problems:
        yield Problem(found.path, f"holds {found.records} records, the manifest says {entry.count}")


def _each(findings: Iterable[ShardFindings]) -> Iterator[tuple[str, CheckedRecord]]:
    return ((shard.path, record) for shard in findings for record in shard.named)


def _double_problems(findings: list[ShardFindings]) -> Iterator[Problem]:
    first_seen: dict[str, str] = {}
    for path, record in _each(findings):
        if record.image_name in first_seen:
            yield _at(path, record, f"is in the set twice, also in {first_seen[record.image_name]}")
        first_seen.setdefault(record.image_name, f"{path}, record {record.number}")


def _table_problems(path: str, prefix: str, findings: list[ShardFindings]) -> Iterator[Problem]:
    """Rows that the table itself marks as dropped need no record."""
    table = tables.read_table(path, target=prefix == "train")
    expected = dict(zip(table["image_name"], table["target"] if prefix == "train" else [None] * len(table)))
    for shard, record in _each(findings):
        if record.image_name not in expected:
            yield _at(shard, record, f"not in {path}")
        elif None not in (record.target, expected[record.image_name]):
            if record.target != expected[record.image_name]:
                yield _at(shard, record, f"target {record.target}, {path} says {expected[record.image_name]}")
    stored = {record.image_name for _, record in _each(findings)}
    needed = table[table[tables.SHARD_COLUMN] != -1] if tables.SHARD_COLUMN in table else table
    for name in needed["image_name"]:
        if name not in stored:
            yield Problem(path, "in no readable record", image_name=name)
