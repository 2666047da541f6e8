"""Photographs and a table -> shards, on this machine. Called again it keeps what is whole and makes the rest."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from melanoma_tf import files
from melanoma_tf.data import shards as shard_files
from melanoma_tf.errors import UserError
from tfrecord_tools import job as jobs
from tfrecord_tools import manifest, records
from tfrecord_tools.progress import Progress
from tfrecord_tools.settings import Settings
from tfrecord_tools.workers import ordered_workers, worker_count


def convert(
    images: str | os.PathLike,
    csv: str | os.PathLike,
    out: str | os.PathLike,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    *,
    workers: int = 0,
    max_rejects: int | None = None,
    overwrite: bool = False,
) -> jobs.Summary:
    """Writes `<prefix>NN-COUNT.tfrec`, `<prefix>.csv`, `<prefix>.rejects.csv` and `<prefix>.notes.csv` if there are
    any, and `<prefix>.manifest.json` last. The bytes are the same for any number of workers and any number of kills.

    Args:
      images: folder, zip or list (see `sources.find_sources`) with `image_name` + .jpg, .jpeg, .dcm or .png.
      csv: table with `image_name`, and `target` for a train set.
      workers: processes, 0 for all cores. In a script guard the call by `if __name__ == "__main__"` unless 1, which
        stays in this process: there a decoder that crashes takes all with it, while of a pool only that image is lost.
      max_rejects: give up when more images are rejected; None never gives up.
      overwrite: delete `<prefix>*.tfrec` of another origin or other settings first.

    Raises: UserError that names the argument, the file or the image.
    """
    if files.is_remote(out):
        raise UserError(f"--out={out} is remote; convert into a local folder and copy that when it is whole")
    count = worker_count(workers)
    job = jobs.plan(images, csv, settings)
    out = Path(out)
    if (
        (out / f"{job.prefix}.csv").exists()
        and not files.is_remote(csv)
        and os.path.samefile(out / f"{job.prefix}.csv", csv)
    ):
        raise UserError(f"--out={out} is where --csv={csv} lies, which would be replaced; choose another --out")
    missing = [item for items in job.items for item in items if item.source.path is None]
    jobs.require_tolerable(max_rejects, missing)
    files.make_folder(out)
    with files.locked(
        out / f".{job.prefix}.lock", f"another tfrecord-tools convert is writing {job.prefix} into {out}"
    ):
        return _Conversion(job, out, max_rejects, overwrite).run(1 if workers == 1 else count)


@dataclass
class _Conversion:
    """A job on its way into a folder that is ours alone."""

    job: jobs.Job
    out: Path
    max_rejects: int | None
    overwrite: bool

    def run(self, workers: int) -> jobs.Summary:
        job = self.job
        finished = self._finished_shards()
        todo = [number for number in range(len(job.items)) if number not in finished]
        progress = Progress(sum(len(job.items[number]) for number in todo), f"{job.prefix}:")
        made: dict[int, manifest.ShardEntry] = {}
        chunks = {number: records.make_chunks(job.items[number], job.making) for number in todo}
        flat = [chunk for number in todo for chunk in chunks[number]]
        with ordered_workers(workers, records.make_outcomes_apart) as ordered_map, _cleared(progress):
            # One stream for all shards, so that no worker waits for the last image of a shard.
            stream = ordered_map(records.make_outcomes, flat)
            for number in todo:
                outcomes = itertools.chain.from_iterable(itertools.islice(stream, len(chunks[number])))
                made[number] = self._make_shard(number, outcomes, progress, finished | made)
        entries = dict(sorted((finished | made).items()))
        jobs.finish(job, self.out, entries, None if made else manifest.recorded_versions(self.out, job.prefix))
        return jobs.summarize(
            job, self.out, entries, made, images=progress.images, bytes_read=progress.bytes_read,
            seconds=progress.seconds(),
        )  # fmt: skip

    def _finished_shards(self) -> dict[int, manifest.ShardEntry]:
        """Shards of earlier runs that can stay; what cannot is removed, and a set that is not whole has no manifest."""
        job, out = self.job, self.out
        earlier, finished = self._earlier_shards()
        if len(finished) < len(job.items):
            # The journal knows the stale shards until they are gone: killed in between, they are still ours.
            journal = manifest.journal_path(out, job.prefix)
            manifest.write_manifest(journal, job.described, earlier)
            manifest.manifest_path(out, job.prefix).unlink(missing_ok=True)
            self._remove_all_but(finished)
            manifest.write_manifest(journal, job.described, finished)
        else:
            self._remove_all_but(finished)
        return finished

    def _earlier_shards(self) -> tuple[dict[int, manifest.ShardEntry], dict[int, manifest.ShardEntry]]:
        """All that earlier runs made, and what of it can stay."""
        job, out = self.job, self.out
        try:
            earlier = manifest.read_finished(out, job.prefix, job.described)
            finished = {
                number: entry
                for number, entry in earlier.items()
                if manifest.is_intact(out, entry, manifest.fingerprint(job.items[number]))
            }
            if finished and len(finished) < len(job.items):
                manifest.require_same_versions(out, job.prefix, job.items)
        except UserError:
            if not self.overwrite:
                raise
            return {}, {}
        return earlier, finished

    def _remove_all_but(self, finished: dict[int, manifest.ShardEntry]) -> None:
        kept = {entry.file for entry in finished.values()}
        for pattern in (f"{self.job.prefix}*.tfrec", f"{self.job.prefix}*.building", f".{self.job.prefix}*.part"):
            for path in files.list_folder(self.out, pattern):
                if os.path.basename(path) not in kept:
                    os.unlink(path)

    def _make_shard(
        self,
        number: int,
        outcomes: Iterable[records.Outcome],
        progress: Progress,
        finished: dict[int, manifest.ShardEntry],
    ) -> manifest.ShardEntry:
        """Writes one shard; its name, which tells the count, is known only at the end."""
        job = self.job
        building = self.out / f"{job.prefix}{number:02}.building"
        made: list[records.Record] = []
        rejects: list[records.Reject] = []
        before = [reject for entry in finished.values() for reject in entry.rejects]

        def accepted() -> Iterator[bytes]:
            for outcome in outcomes:
                result = outcome.result
                progress.add(outcome.bytes_read, isinstance(result, records.Reject))
                if isinstance(result, records.Record):
                    made.append(records.Record(result.image_name, b"", result.fingerprint))
                    yield result.data
                else:
                    rejects.append(result)
                    jobs.require_tolerable(self.max_rejects, before + rejects)

        count = shard_files.write_shard(building, accepted())
        entry = manifest.ShardEntry(
            job.shard_name(number, count), count, building.stat().st_size, manifest.sha256_of_file(building),
            manifest.fingerprint(job.items[number]), tuple(record.image_name for record in made),
            tuple(record.fingerprint for record in made), tuple(rejects),
        )  # fmt: skip
        # The journal first: a shard that it does not know would be someone else's after a kill between the two.
        journal = manifest.journal_path(self.out, job.prefix)
        manifest.write_manifest(journal, job.described, finished | {number: entry})
        os.replace(building, self.out / entry.file)
        return entry


@contextlib.contextmanager
def _cleared(progress: Progress) -> Iterator[None]:
    try:
        yield
    finally:
        progress.clear()
