"""The conversion on Apache Beam: the bytes that `convert` writes, made by as many machines as a runner has.

The driver plans. Workers read and convert, and write whole shards into a hidden folder of `out`, each with a manifest
of its own beside it: there is nothing else through which a worker far away could answer. When all are there the driver
renames them, and writes table, rejects, notes and the manifest last. A bundle that a runner tries twice leaves two
files of equal content there, of which one is taken.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from melanoma_tf import files
from melanoma_tf.errors import RejectError, UserError
from tfrecord_tools import job as jobs
from tfrecord_tools import manifest, records, sources
from tfrecord_tools.folders import Folder, told_of
from tfrecord_tools.settings import Settings
from tfrecord_tools.staging import Staging, stage_shard

# Beam's own local runner in Python. Its DirectRunner first tries to download another one (Prism, since 2.68).
DEFAULT_RUNNER = "FnApiRunner"
RECORDS, REJECTS = "records", "rejects"


def convert_with_beam(
    images: str | os.PathLike,
    csv: str | os.PathLike,
    out: str | os.PathLike,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    *,
    pipeline_arguments: Sequence[str] = (),
    max_rejects: int | None = None,
    overwrite: bool = False,
) -> jobs.Summary:
    """What `convert.convert` does, by the workers of a Beam runner; each of the two continues what the other left.

    A worker holds the records of one shard while it writes it: 2,071 images of 1024 pixels take about 300 MB, more
    shards make it less. FnApiRunner and DirectRunner hold all records of a run. A decoder that takes its process down
    fails the pipeline, whereas `convert` rejects that image.

    Args:
      images, csv, out: as there, or on a file system of Beam (gs://, hdfs://, ...), where images are a folder. Workers
        must reach images and out under the same paths. A remote `out` is not locked: one run at a time.
      pipeline_arguments: of Beam, such as `--runner=DataflowRunner`; without a runner it is `DEFAULT_RUNNER`.
      max_rejects, overwrite: as there, but rejects are counted when all shards are made.

    Raises: UserError that names the argument, the file or the image; ModuleNotFoundError without apache_beam.
    """
    started = time.monotonic()
    options, systems = _read_options(pipeline_arguments)
    job = _plan(images, csv, settings, systems)
    jobs.require_tolerable(max_rejects, [item for items in job.items for item in items if item.source.path is None])
    staging = Staging(job, _out_folder(out, csv, job.prefix, systems))
    with _locked(staging.out, job.prefix):
        staging.find_earlier(overwrite)
        todo = staging.missing()
        if todo:
            _run_pipeline(options, staging, todo)
            staging.find_made()
        entries = staging.entries()
        jobs.require_tolerable(max_rejects, [reject for entry in entries.values() for reject in entry.rejects])
        staging.publish()
    made = [item for number in todo for item in job.items[number]]
    return jobs.summarize(
        job, out, entries, todo, images=len(made), bytes_read=sum(item.source.size for item in made),
        seconds=time.monotonic() - started,
    )  # fmt: skip


def _read_options(arguments: Sequence[str]) -> tuple[Any, Any]:
    """The `PipelineOptions`, and `FileSystems` that heed them. Raises UserError for values that Beam does not take."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # when imported it warns of every cloud whose client is not installed
    try:
        from apache_beam.io.filesystems import FileSystems
        from apache_beam.options import pipeline_options
    finally:
        logging.disable(before)
    options, said = pipeline_options.PipelineOptions(list(arguments)), io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options.get_all_options()
    except SystemExit as error:  # argparse prints what is wrong below a page of all that it knows, and leaves
        raise UserError(f"--beam: {said.getvalue().strip().rpartition('error: ')[2]}") from error
    standard = options.view_as(pipeline_options.StandardOptions)
    standard.runner = standard.runner or DEFAULT_RUNNER
    FileSystems.set_options(options)
    return options, FileSystems


def _plan(images: str | os.PathLike, csv: str | os.PathLike, settings: Settings, systems: Any) -> jobs.Job:
    """The job, with paths that every worker can use."""
    remote = files.is_remote(images)
    listed = _list_images(str(images).rstrip("/"), systems) if remote else None
    images = images if remote else os.path.abspath(images)
    if not files.is_remote(csv):
        return jobs.plan(images, csv, settings, listed)
    folder, _, name = str(csv).rpartition("/")
    with tempfile.TemporaryDirectory() as desk:
        copy = Path(desk, "table.csv")
        copy.write_bytes(Folder(folder, systems).read(name))
        with told_of(copy, csv):
            return jobs.plan(images, copy, settings, listed)


def _list_images(images: str, systems: Any) -> list[sources.Source]:
    folder = Folder(images, systems)
    return [sources.Source(os.path.splitext(name)[0], folder.at(name), size) for name, size in folder.sizes().items()]


def _out_folder(out: str | os.PathLike, csv: str | os.PathLike, prefix: str, systems: Any) -> Folder:
    folder = Folder(str(out).rstrip("/") if files.is_remote(out) else str(files.make_folder(out).resolve()), systems)
    if folder.at(f"{prefix}.csv") == (str(csv) if files.is_remote(csv) else str(Path(csv).resolve())):
        raise UserError(f"--out={out} is where --csv={csv} lies, which would be replaced; choose another --out")
    return folder


def _locked(out: Folder, prefix: str) -> contextlib.AbstractContextManager[None]:
    if files.is_remote(out.path):
        return contextlib.nullcontext()
    return files.locked(
        out.at(f".{prefix}.lock"), f"another tfrecord-tools convert is writing {prefix} into {out.path}"
    )


@dataclass(frozen=True)
class _Work:
    """What every worker is told.

    Attributes: staging: where the shards go; making; described: the settings; fingerprints: of the sources of every
    shard; versions: of the driver.
    """

    staging: Folder
    making: records.Making
    described: dict[str, Any]
    fingerprints: dict[int, str]
    versions: tuple[tuple[str, str], ...]


def _run_pipeline(options: Any, staging: Staging, numbers: Sequence[int]) -> Any:
    """Stages the shards of these numbers; returns the runner's `PipelineResult`.

    Raises: UserError for what is wrong with the options, and for what a worker raised as such.
    """
    import apache_beam as beam

    job, versions = staging.job, tuple(manifest.versions().items())
    work = _Work(staging.folder, job.making, job.described, staging.fingerprints, versions)
    items = [(number, index, item) for number in numbers for index, item in enumerate(job.items[number])]
    try:
        pipeline = beam.Pipeline(options=options)
        outcomes = (
            pipeline
            | "list" >> beam.Create(items)
            | "spread" >> beam.Reshuffle()
            | "convert" >> beam.FlatMap(_convert_item, work).with_outputs(REJECTS, main=RECORDS)
        )
        by_shard = {RECORDS: outcomes[RECORDS], REJECTS: outcomes[REJECTS]} | beam.CoGroupByKey()
        _ = by_shard | "write" >> beam.Map(_write, work)
        result = pipeline.run()
        result.wait_until_finish()
    except Exception as error:
        told = _as_user_error(error)
        if told is None:
            raise
        raise told from error
    return result


def _as_user_error(error: Exception) -> UserError | None:
    """What a runner raised, None for a bug; of a worker's exception some runners keep the type, others the text."""
    text = f"{type(error).__name__}: {error}"
    told = re.search(r"\bUserError: (.*?)(?: \[while running .*)?$", text, re.MULTILINE)
    if told:
        return UserError(told[1])
    if isinstance(error, ValueError | ImportError) and "[while running" not in text:
        return UserError(f"--beam: {error}")  # no such runner, or an option that it needs or does not know
    return None


def _convert_item(numbered: tuple[int, int, records.Item], work: _Work) -> Iterator[Any]:
    """Yields (shard, (index, Record)), or (shard, (index, Reject)) under the tag of rejects."""
    import apache_beam as beam
    from apache_beam.metrics import Metrics

    _require_versions(work.versions)
    shard, index, item = numbered
    outcome = records.make_outcome(item, work.making, functools.partial(_read_source, systems=work.staging.systems))
    rejected = isinstance(outcome.result, records.Reject)
    for name, count in (("images", 1), ("rejects", int(rejected)), ("bytes", outcome.bytes_read)):
        Metrics.counter("tfrecord_tools", name).inc(count)
    keyed = shard, (index, outcome.result)
    yield beam.pvalue.TaggedOutput(REJECTS, keyed) if rejected else keyed


@functools.cache
def _require_versions(driver: tuple[tuple[str, str], ...]) -> None:
    """Raises UserError where this worker may make other bytes than the manifest, which the driver writes, will say."""
    if name := manifest.other_version(dict(driver)):
        raise UserError(
            f"a worker has {name} {manifest.versions()[name]}, the driver {dict(driver).get(name)}, which may give "
            "other bytes; install the same on both"
        )


def _read_source(source: sources.Source, systems: Any) -> bytes:
    """As `sources.read_source`, from a remote folder too."""
    if source.path is None or not files.is_remote(source.path) or source.size > sources.MAX_SOURCE_BYTES:
        return sources.read_source(source)
    folder, _, name = source.path.rpartition("/")
    try:
        return Folder(folder, systems).read(name)
    except UserError as error:
        raise RejectError("unreadable", f"{name}: {type(error.__cause__).__name__}") from error


def _write(grouped: tuple[int, Any], work: _Work) -> None:
    """One shard, in the order of its items."""
    number, outcomes = grouped
    made, rejects = ([result for _, result in sorted(outcomes[tag], key=itemgetter(0))] for tag in (RECORDS, REJECTS))
    stage_shard(work.staging, work.described, work.fingerprints[number], number, made, rejects)
