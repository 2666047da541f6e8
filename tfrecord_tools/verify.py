"""Is a folder of shards whole, and does it agree with itself, its manifest and its table?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from melanoma_tf import files, schema, tables
from melanoma_tf.data import shards as shard_files
from melanoma_tf.errors import RejectError, UserError
from tfrecord_tools import manifest
from tfrecord_tools.images import check_jpeg
from tfrecord_tools.inspection import find_sets
from tfrecord_tools.workers import ordered_workers, worker_count


@dataclass(frozen=True)
class VerifyReport:
    """Attributes: problems, one line each with file, record and offset where they have one; shards and records read."""

    problems: tuple[str, ...]
    shards: int
    records: int

    def line(self) -> str:
        found = f"{len(self.problems)} problems" if self.problems else "all whole"
        return f"{self.records} records in {self.shards} shards: {found}"


@dataclass(frozen=True)
class ShardFindings:
    """Of one shard: its path, `problems`, and name -> target (None where absent) of its readable records."""

    path: str
    records: int
    targets: tuple[tuple[str, int | None], ...]
    problems: tuple[str, ...]


def verify(data_dir: str | os.PathLike, *, workers: int = 1) -> VerifyReport:
    """Checks framing and checksums, counts against names and manifest, hashes against the manifest, every JPEG by
    decoding it, names for doubles, and names and targets against `train.csv` or `test.csv` beside the shards.

    Args:
      data_dir: folder with *.tfrec, or with a subfolder `tfrecords`; may be remote.
      workers: processes, 0 for all cores.

    Raises: UserError when the folder holds no shards or its manifest or table cannot be read.
    """
    sets = find_sets(data_dir)
    problems: list[str] = []
    shards = records = 0
    with ordered_workers(worker_count(workers)) as ordered_map:
        for prefix, paths in sets.items():
            findings = list(ordered_map(verify_shard, paths))
            problems += [problem for found in findings for problem in found.problems]
            problems += _manifest_problems(prefix, paths, findings)
            problems += _double_problems(findings)
            problems += _table_problems(data_dir, prefix, findings)
            shards += len(paths)
            records += sum(found.records for found in findings)
    return VerifyReport(tuple(problems), shards, records)


def verify_shard(path: str) -> ShardFindings:
    """Reads one shard to its end or to the first record that cannot be framed; runs in a worker process."""
    problems: list[str] = []
    targets: list[tuple[str, int | None]] = []
    count, damaged = 0, False
    try:
        for offset, data in shard_files.read_records(path):
            name, target, problem = _check_record(data)
            if problem:
                named = f" ({name})" if name else ""
                problems.append(f"{path}: record {count} at byte {offset}{named}: {problem}")
            if name:
                targets.append((name, target))
            count += 1
    except UserError as error:
        damaged = True
        problems.append(f"{error}; the records after it were not read")
    promised = shard_files.count_in_name(path)
    if not damaged and promised not in (None, count):
        problems.append(f"{path}: holds {count} records but its name promises {promised}")
    return ShardFindings(path, count, tuple(targets), tuple(problems))


def _check_record(data: bytes) -> tuple[str, int | None, str]:
    """(image name, target, what is wrong or "")."""
    try:
        record = schema.decode_record(data)
    except ValueError as error:
        return "", None, f"no melanoma record, {error}"
    name, target = record[schema.IMAGE_NAME], record[schema.TARGET]
    try:
        check_jpeg(record[schema.IMAGE])
    except RejectError as error:
        return name, target, f"its JPEG is {error.code}: {error.detail}"
    return name, target, "" if target in (None, 0, 1) else f"target {target}, must be 0 or 1"


def _manifest_problems(prefix: str, paths: list[str], findings: list[ShardFindings]) -> Iterator[str]:
    folder = os.path.dirname(paths[0])
    path = f"{folder}/{prefix}.manifest.json"
    content = manifest.read_manifest(path)
    if content is None:
        if os.path.exists(manifest.journal_path(folder, prefix)):
            yield f"{folder}: the conversion of {prefix} is not finished; run tfrecord-tools convert again"
        return
    entries = {entry.file: entry for entry in content["shards"].values()}
    found = {os.path.basename(shard.path): shard for shard in findings}
    for name in sorted(entries.keys() - found.keys()):
        yield f"{path}: names {name}, which is not there"
    for name in sorted(found.keys() - entries.keys()):
        yield f"{folder}/{name}: not in {prefix}.manifest.json"
    for name in sorted(entries.keys() & found.keys()):
        yield from _entry_problems(entries[name], found[name])


def _entry_problems(entry: manifest.ShardEntry, found: ShardFindings) -> Iterator[str]:
    if manifest.sha256_of_file(found.path) != entry.sha256:
        yield f"{found.path}: its SHA-256 is not the one in the manifest"
    if found.records != entry.count and not found.problems:
        yield f"{found.path}: holds {found.records} records, the manifest says {entry.count}"


def _double_problems(findings: list[ShardFindings]) -> Iterator[str]:
    first_seen: dict[str, str] = {}
    for shard in findings:
        for name, _ in shard.targets:
            if name in first_seen:
                yield f"{shard.path}: {name} is in the set twice, also in {first_seen[name]}"
            first_seen.setdefault(name, shard.path)


def _table_problems(data_dir: str | os.PathLike, prefix: str, findings: list[ShardFindings]) -> Iterator[str]:
    """The table lies beside the shards, or above them in the official layout; without one there is nothing to say."""
    folders = dict.fromkeys((os.path.dirname(findings[0].path), str(data_dir).rstrip("/")))
    path = next((path for folder in folders for path in files.list_folder(folder, f"{prefix}.csv")), None)
    if path is None:
        return
    table = tables.read_table(path, target=prefix == "train")
    expected = dict(zip(table["image_name"], table["target"] if prefix == "train" else [None] * len(table)))
    stored = {name: (target, shard.path) for shard in findings for name, target in shard.targets}
    unknown = [name for name in stored if name not in expected]
    if unknown:
        yield f"{stored[unknown[0]][1]}: {unknown[0]} is not in {path} ({len(unknown)} such images)"
    missing = [name for name in expected if name not in stored]
    if missing:
        yield f"{path}: {missing[0]} is in no readable record ({len(missing)} such images)"
    for name, (target, shard) in stored.items():
        if None not in (target, expected.get(name)) and target != expected[name]:
            yield f"{shard}: {name} has target {target}, {path} says {expected[name]}"
