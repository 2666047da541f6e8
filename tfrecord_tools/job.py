"""One conversion, planned: which image goes into which shard is a function of the table alone."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma_tf import files
from melanoma_tf.balance import balanced_bins
from melanoma_tf.errors import UserError
from tfrecord_tools import manifest, records, rows, sources
from tfrecord_tools.settings import Settings


@dataclass(frozen=True)
class Job:
    """A conversion, checked.

    Attributes: table; items of every shard; making; prefix; described: settings as the manifest holds them.
    """

    table: rows.Rows
    items: tuple[list[records.Item], ...]
    making: records.Making
    prefix: str
    described: dict[str, Any]

    def shard_name(self, number: int, count: int) -> str:
        return f"{self.prefix}{number:02}-{count}.tfrec"


def plan(
    images: str | os.PathLike, csv: str | os.PathLike, settings: Settings,
    listed: Iterable[sources.Source] | None = None,
) -> Job:  # fmt: skip
    """Reads the table and lists the images, unless `listed`; writes nothing. Raises UserError."""
    table = rows.read_rows(csv, settings)
    found, without_row = sources.find_sources(images, table.image_name, listed)
    notes = [rows.Note(name, "no_row", "there is an image of this name, but no row in the table")
             for name in without_row]  # fmt: skip
    table = dataclasses.replace(table, notes=[*table.notes, *notes])
    targets: Sequence[int | None] = table.target or [None] * len(found)
    items = [
        records.Item(records.Row(source.image_name, target, codes), source)
        for source, target, codes in zip(found, targets, table.codes)
    ]
    shard_of = _assign(table, settings)
    split: tuple[list[records.Item], ...] = tuple([] for _ in range(max(shard_of) + 1))
    for item, shard in zip(items, shard_of):
        split[shard].append(item)
    described = settings.as_json() | {"prefix": table.prefix, "table_sha256": files.sha256(csv_bytes(table.cells))}
    return Job(table, split, records.Making(settings.rendering, settings.dialect), table.prefix, described)


def _assign(table: rows.Rows, settings: Settings) -> Sequence[int]:
    """Shard of every row. Fewer shards than asked for where there are fewer rows, so that none is empty."""
    if not settings.group_by_patient:
        shards = min(settings.shards, len(table.image_name))
        return [row % shards for row in range(len(table.image_name))]
    # numbered as they come, so that hashed ids give the same shards
    patient = pd.factorize(pd.Series(table.patient))[0]
    images, melanoma = np.bincount(patient), np.bincount(patient, weights=table.target or np.zeros(len(patient)))
    counts = np.stack([images, melanoma.astype(int), np.ones_like(images)], axis=1)
    return balanced_bins(counts, min(settings.shards, len(counts)))[patient].tolist()


def csv_bytes(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, lineterminator="\n").encode()


@dataclass(frozen=True)
class Summary:
    """What a conversion did.

    Attributes:
      prefix: `train` or `test`; out: the folder; shards: names of its shards, in order; images: records in them.
      rejects: images of the table that they lack; notes: odd cells and images without a row; left_out: names of
        columns that were not copied. made: shards written by this run, the others were there already.
      bytes_read, bytes_written: by this run; seconds: wall clock; rate: images/s of this run.
    """

    prefix: str
    out: str
    shards: tuple[str, ...]
    images: int
    rejects: tuple[records.Reject, ...]
    notes: tuple[rows.Note, ...]
    left_out: tuple[str, ...]
    made: int
    bytes_read: int
    bytes_written: int
    seconds: float
    rate: float

    def lines(self) -> list[str]:
        """For a person."""
        kept = len(self.shards) - self.made
        lines = [
            f"{self.prefix}: {self.images} images in {len(self.shards)} shards ({self.made} made, {kept} kept) in "
            f"{self.out}, {len(self.rejects)} rejects; read {self.bytes_read / 1e6:.1f} MB, wrote "
            f"{self.bytes_written / 1e6:.1f} MB in {self.seconds:.1f} s, {self.rate:.0f} images/s"
        ]
        if self.rejects:
            lines.append(f"rejects: {_count(self.rejects)} (named in {self.prefix}.rejects.csv, left out of "
                         f"{self.prefix}.csv too)")  # fmt: skip
        if self.notes:
            lines.append(f"notes: {_count(self.notes)} (named in {self.prefix}.notes.csv)")
        if self.left_out:
            lines.append(f"columns not copied: {', '.join(self.left_out)}")
        return lines

    def as_json(self) -> dict[str, Any]:
        """Plain values; rejects and notes as counts by code."""
        counted = {name: dict(Counter(one.code for one in getattr(self, name))) for name in ("rejects", "notes")}
        return dataclasses.asdict(self) | counted


def _count(found: Iterable[records.Reject | rows.Note]) -> str:
    return ", ".join(f"{count} {code}" for code, count in Counter(one.code for one in found).most_common())


def require_tolerable(max_rejects: int | None, rejects: Sequence[records.Item | records.Reject]) -> None:
    """Raises UserError where there are more than `max_rejects`, None for no limit; an item is one without an image."""
    if max_rejects is None:
        return
    if max_rejects < 0:
        raise UserError(f"--max_rejects is {max_rejects}; it must be 0 or more, or left out for no limit")
    if len(rejects) <= max_rejects:
        return
    last = rejects[-1]
    name, reason = (last.image_name, f"{last.code}: {last.detail}") if isinstance(last, records.Reject) else (
        last.row.image_name, "no such file in --images")  # fmt: skip
    raise UserError(
        f"{len(rejects)} images cannot be used, --max_rejects={max_rejects} tolerates fewer; "
        f"the last is {name} ({reason})"
    )


def summarize(
    job: Job, out: str | os.PathLike, entries: dict[int, manifest.ShardEntry], made: Iterable[int], *, images: int,
    bytes_read: int, seconds: float,
) -> Summary:  # fmt: skip
    """Args: made: numbers of the shards of this run; images, bytes_read: what it read for them; seconds: it took."""
    made = list(made)
    return Summary(
        job.prefix, str(out), tuple(entry.file for entry in entries.values()),
        sum(entry.count for entry in entries.values()),
        tuple(reject for entry in entries.values() for reject in entry.rejects), tuple(job.table.notes),
        tuple(job.table.left_out), len(made), bytes_read, sum(entries[number].bytes for number in made), seconds,
        images / max(seconds, 1e-6),
    )  # fmt: skip


def finish(
    job: Job, out: Path, entries: dict[int, manifest.ShardEntry], versions: dict[str, str] | None = None
) -> None:
    """Table, rejects and notes beside the shards, then the manifest, then the journal goes.

    Args: versions: those of the earlier run that made all shards, where this one made none.
    """
    rejects = [reject for number in sorted(entries) for reject in entries[number].rejects]
    rejected = {reject.image_name for reject in rejects}
    cells = job.table.cells
    table = csv_bytes(cells[~cells["image_name"].isin(rejected)])
    files.write_whole(out / f"{job.prefix}.csv", table)
    _write_list(out / f"{job.prefix}.rejects.csv", rejects)
    _write_list(out / f"{job.prefix}.notes.csv", job.table.notes)
    manifest.write_manifest(
        manifest.manifest_path(out, job.prefix), job.described, entries,
        images=sum(entry.count for entry in entries.values()), rejects=len(rejects), table_sha256=files.sha256(table),
        **({"versions": versions} if versions else {}),
    )  # fmt: skip
    manifest.journal_path(out, job.prefix).unlink(missing_ok=True)


def _write_list(path: Path, found: Sequence[records.Reject | rows.Note]) -> None:
    path.unlink(missing_ok=True)  # none of an earlier run may stay
    if found:
        files.write_whole(path, csv_bytes(pd.DataFrame([dataclasses.asdict(one) for one in found])))
