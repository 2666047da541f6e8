"""A folder of photographs and a table -> shards. Which shard an image is in, and where, depends on the table alone."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma_tf import files, tables
from melanoma_tf.data import shards as shard_files
from melanoma_tf.errors import UserError, nearest
from tfrecord_tools import manifest, records, sources
from tfrecord_tools.images import FITS, Rendering
from tfrecord_tools.progress import Progress
from tfrecord_tools.workers import ordered_workers, worker_count

PREFIXES = ("train", "test")


@dataclass(frozen=True)
class ConvertSummary:
    """What a conversion did.

    Attributes:
      prefix: `train` or `test`; out: the folder; shards: names of its shards, in order.
      images: records in them; rejects: images of the table that they lack.
      made: shards written by this run, the others were there already.
      bytes_read, bytes_written: by this run; seconds: wall clock; rate: images/s of this run.
    """

    prefix: str
    out: Path
    shards: tuple[str, ...]
    images: int
    rejects: tuple[records.Reject, ...]
    made: int
    bytes_read: int
    bytes_written: int
    seconds: float
    rate: float

    def line(self) -> str:
        kept = len(self.shards) - self.made
        rejected = f"{len(self.rejects)} rejects"
        if self.rejects:
            rejected += f" (in {self.prefix}.rejects.csv; left out of {self.prefix}.csv too)"
        return (
            f"{self.prefix}: {self.images} images in {len(self.shards)} shards ({self.made} made, {kept} kept) in "
            f"{self.out}, {rejected}; read {self.bytes_read / 1e6:.1f} MB, wrote {self.bytes_written / 1e6:.1f} MB "
            f"in {self.seconds:.1f} s, {self.rate:.0f} images/s"
        )


@dataclass(frozen=True)
class _Job:
    """One call of `convert`, checked: `items` of every shard, `table` bytes of the CSV."""

    out: Path
    prefix: str
    rendering: Rendering
    settings: dict[str, Any]
    table: bytes
    items: tuple[list[records.Item], ...]
    max_rejects: int | None


def convert(
    images: str | os.PathLike,
    csv: str | os.PathLike,
    out: str | os.PathLike,
    size: int = 1024,
    *,
    fit: str = "crop",
    quality: int = 95,
    shards: int = 16,
    prefix: str | None = None,
    workers: int = 0,
    max_rejects: int | None = None,
    overwrite: bool = False,
) -> ConvertSummary:
    """Writes `<prefix>NN-COUNT.tfrec`, `<prefix>.csv`, `<prefix>.rejects.csv` if any, `<prefix>.manifest.json` last.

    Called again with the same arguments it keeps the shards that are whole and makes the others. The bytes are the
    same for any number of workers.

    Args:
      images: folder with `image_name` + .jpg, .jpeg, .dcm or .png.
      csv: table with `image_name`, and `target` for a train set.
      size: side of the square in pixels; 0 keeps the original, JPEG bit for bit.
      fit, quality: see `images.Rendering`.
      shards: number of files; row i goes to shard i modulo `shards`.
      prefix: `train` or `test`; None takes `train` when the table has a target. Test records carry no target.
      workers: processes, 0 for all cores. In a script guard the call by `if __name__ == "__main__"` unless 1.
      max_rejects: give up when more images are rejected; None never gives up.
      overwrite: delete `<prefix>*.tfrec` of another origin or other settings first.

    Raises: UserError that names the argument, the file or the image.
    """
    _check_arguments(size, fit, quality, shards, prefix, max_rejects)
    workers = worker_count(workers)
    job = _make_job(images, csv, out, Rendering(size, fit, quality), shards, prefix, max_rejects)
    _require_tolerable(job, [item.source for items in job.items for item in items if item.source.path is None])
    finished = _finished_shards(job, overwrite)
    todo = [number for number in range(len(job.items)) if number not in finished]
    progress = Progress(sum(len(job.items[number]) for number in todo), f"{job.prefix}:")
    made: dict[int, manifest.ShardEntry] = {}
    chunks = {number: records.make_chunks(job.items[number], job.rendering) for number in todo}
    flat = [chunk for number in todo for chunk in chunks[number]]
    with ordered_workers(min(workers, max(1, len(flat)))) as ordered_map, _cleared(progress):
        # One stream for all shards, so that no worker waits for the last image of a shard.
        stream = ordered_map(records.make_outcomes, flat)
        for number in todo:
            outcomes = itertools.chain.from_iterable(itertools.islice(stream, len(chunks[number])))
            made[number] = _make_shard(job, number, outcomes, progress, finished | made)
    return _finish(job, finished, made, progress)


def _check_arguments(size: int, fit: str, quality: int, shards: int, prefix: str | None, max_rejects: int | None):
    if not (size == 0 or 16 <= size <= 8192):
        raise UserError(f"--size is {size}; it must be 0 (keep the original) or 16-8192 pixels")
    if fit not in FITS:
        raise UserError(f"--fit is {fit!r}; {nearest(fit, FITS)}")
    if not 1 <= quality <= 100:
        raise UserError(f"--quality is {quality}; it must be 1-100")
    if not 1 <= shards <= 10_000:
        raise UserError(f"--shards is {shards}; it must be 1-10000")
    if prefix not in (None, *PREFIXES):
        raise UserError(f"--prefix is {prefix!r}; {nearest(str(prefix), PREFIXES)}")
    if max_rejects is not None and max_rejects < 0:
        raise UserError(f"--max_rejects is {max_rejects}; it must be 0 or more, or left out for no limit")


def _make_job(images, csv, out, rendering: Rendering, shards: int, prefix: str | None, max_rejects: int | None) -> _Job:
    """Reads the table and the folder's listing; writes nothing yet."""
    if prefix is None:
        prefix = "train" if "target" in tables.read_csv(csv) else "test"
    table = tables.read_table(csv, target=prefix == "train")
    with files.open_read(csv) as file:
        content = file.read()
    if files.is_remote(out):
        raise UserError(f"--out={out} is remote; convert into a local folder and copy that when it is whole")
    out = Path(out)
    if (out / f"{prefix}.csv").exists() and not files.is_remote(csv) and os.path.samefile(out / f"{prefix}.csv", csv):
        raise UserError(f"--out={out} is where --csv={csv} lies, which would be replaced; choose another --out")
    targets = table["target"].tolist() if prefix == "train" else [None] * len(table)
    found = sources.find_sources(images, table["image_name"])
    items = [records.Item(source, target) for source, target in zip(found, targets)]
    shards = min(shards, len(items))  # no empty shards for a small table
    settings = {
        "prefix": prefix,
        **dataclasses.asdict(rendering),
        "shards": shards,
        "csv_sha256": files.sha256(content),
    }
    return _Job(out, prefix, rendering, settings, content, tuple(items[k::shards] for k in range(shards)), max_rejects)


def _finished_shards(job: _Job, overwrite: bool) -> dict[int, manifest.ShardEntry]:
    """Shards of earlier runs that can stay; what cannot is removed, and a set that is not whole loses its manifest."""
    try:
        earlier = manifest.read_finished(job.out, job.prefix, job.settings)
    except UserError:
        if not overwrite:
            raise
        earlier = {}
    files.make_folder(job.out)
    finished = {
        number: entry
        for number, entry in earlier.items()
        if manifest.is_intact(job.out, entry, manifest.fingerprint(job.items[number]))
    }
    if len(finished) < len(job.items):
        manifest.write_manifest(manifest.journal_path(job.out, job.prefix), job.settings, finished)
        manifest.manifest_path(job.out, job.prefix).unlink(missing_ok=True)
    kept = {entry.file for entry in finished.values()}
    for pattern in (f"{job.prefix}*.tfrec", f"{job.prefix}*.building", f".{job.prefix}*.part"):
        for path in files.list_folder(job.out, pattern):
            if os.path.basename(path) not in kept:
                os.unlink(path)
    return finished


@contextlib.contextmanager
def _cleared(progress: Progress) -> Iterator[None]:
    try:
        yield
    finally:
        progress.clear()


def _make_shard(
    job: _Job,
    number: int,
    outcomes: Iterable[records.Outcome],
    progress: Progress,
    finished: dict[int, manifest.ShardEntry],
) -> manifest.ShardEntry:
    """Writes one shard; its name, which tells the count, is known only at the end."""
    building = job.out / f"{job.prefix}{number:02}.building"
    names: list[str] = []
    rejects: list[records.Reject] = []
    before = [reject for entry in finished.values() for reject in entry.rejects]

    def accepted() -> Iterator[bytes]:
        for outcome in outcomes:
            progress.add(outcome.bytes_read, outcome.reject is not None)
            if outcome.record is not None:
                names.append(outcome.image_name)
                yield outcome.record
            elif outcome.reject is not None:
                rejects.append(outcome.reject)
                _require_tolerable(job, before + rejects)

    count = shard_files.write_shard(building, accepted())
    entry = manifest.ShardEntry(
        f"{job.prefix}{number:02}-{count}.tfrec", count, building.stat().st_size, manifest.sha256_of_file(building),
        manifest.fingerprint(job.items[number]), tuple(names), tuple(rejects),
    )  # fmt: skip
    # The journal first: a shard that it does not know would be taken for someone else's after a kill between the two.
    manifest.write_manifest(manifest.journal_path(job.out, job.prefix), job.settings, finished | {number: entry})
    os.replace(building, job.out / entry.file)
    return entry


def _require_tolerable(job: _Job, rejects: list[Any]) -> None:
    if job.max_rejects is not None and len(rejects) > job.max_rejects:
        last = rejects[-1]
        reason = f"{last.code}: {last.detail}" if isinstance(last, records.Reject) else "no such file in --images"
        raise UserError(
            f"{len(rejects)} images cannot be used, --max_rejects={job.max_rejects} tolerates fewer; "
            f"the last is {last.image_name} ({reason})"
        )


def _finish(
    job: _Job, finished: dict[int, manifest.ShardEntry], made: dict[int, manifest.ShardEntry], progress: Progress
) -> ConvertSummary:
    """Table and rejects beside the shards, then the manifest, then the journal goes."""
    entries = dict(sorted((finished | made).items()))
    rejects = tuple(reject for entry in entries.values() for reject in entry.rejects)
    table = _table_without(job.table, {reject.image_name for reject in rejects})
    files.write_whole(job.out / f"{job.prefix}.csv", table)
    _write_rejects(job.out / f"{job.prefix}.rejects.csv", rejects)
    images = sum(entry.count for entry in entries.values())
    manifest.write_manifest(
        manifest.manifest_path(job.out, job.prefix), job.settings, entries,
        images=images, rejects=len(rejects), table_sha256=files.sha256(table),
    )  # fmt: skip
    manifest.journal_path(job.out, job.prefix).unlink(missing_ok=True)
    seconds = progress.seconds()
    return ConvertSummary(
        job.prefix, job.out, tuple(entry.file for entry in entries.values()), images, rejects, len(made),
        progress.bytes_read, sum(entry.bytes for entry in made.values()), seconds, progress.images / max(seconds, 1e-6),
    )  # fmt: skip


def _table_without(table: bytes, rejected: set[str]) -> bytes:
    """The CSV as it is, or without the rejected rows so that shards and table agree; cells keep their spelling."""
    if not rejected:
        return table
    cells = pd.read_csv(io.BytesIO(table), dtype=str, keep_default_na=False, encoding="utf-8-sig")
    cells = cells.rename(columns=lambda name: str(name).strip())
    kept = cells[~cells["image_name"].str.strip().isin(rejected)]
    return kept.to_csv(index=False, lineterminator="\n").encode()


def _write_rejects(path: Path, rejects: tuple[records.Reject, ...]) -> None:
    path.unlink(missing_ok=True)  # none of an earlier run may stay
    if rejects:
        table = pd.DataFrame([dataclasses.asdict(reject) for reject in rejects])
        files.write_whole(path, table.to_csv(index=False, lineterminator="\n"))
