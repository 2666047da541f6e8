"""Shards made by workers far away: collected in a hidden folder of `out`, and shown all at once.

A worker leaves two files of one name: a shard, and after it a manifest of this shard alone. Names are new at every
attempt, so that two attempts at one shard never write into the same file; any of the two is as good.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import hashlib
import json
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from melanoma_tf.data import shards as shard_files
from melanoma_tf.errors import UserError
from tfrecord_tools import job as jobs
from tfrecord_tools import manifest, records
from tfrecord_tools.folders import Folder, told_of

Entries = dict[int, manifest.ShardEntry]


def staging_folder(out: Folder, prefix: str) -> Folder:
    return Folder(out.at(f".{prefix}.entries"), out.systems)


def stage_shard(
    folder: Folder, described: dict[str, Any], sources: str, number: int, made: Sequence[records.Record],
    rejects: Sequence[records.Reject],
) -> None:  # fmt: skip
    """Writes one shard and its manifest. Args: described, sources: as in `Job` and `ShardEntry`."""
    attempt, digest, size = f"{number:05}-{uuid.uuid4().hex}", hashlib.sha256(), 0

    def frames() -> Iterator[bytes]:
        nonlocal size
        for record in made:
            frame = shard_files.frame(record.data)
            digest.update(frame)
            size += len(frame)
            yield frame

    folder.write(f"{attempt}.tfrec", frames())
    entry = manifest.ShardEntry(
        f"{attempt}.tfrec", len(made), size, digest.hexdigest(), sources, tuple(record.image_name for record in made),
        tuple(record.fingerprint for record in made), tuple(rejects),
    )  # fmt: skip
    folder.write(f"{attempt}.json", [json.dumps(manifest.as_json(described, {number: entry})).encode()])


@dataclass
class Staging:
    """What there is of a job.

    Attributes: earlier: shards of earlier runs; kept: those of them that can stay; staged: shards under the names of
    an attempt.
    """

    job: jobs.Job
    out: Folder
    earlier: Entries = field(default_factory=dict)
    kept: Entries = field(default_factory=dict)
    staged: Entries = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = staging_folder(self.out, self.job.prefix)
        self.fingerprints = {number: manifest.fingerprint(items) for number, items in enumerate(self.job.items)}

    def find_earlier(self, overwrite: bool) -> None:
        """Takes in what earlier runs, of any kind, left whole. Raises UserError where they had other settings."""
        self.out.make()
        try:
            self._find_finished()
        except UserError:
            if not overwrite:
                raise
        self.folder.make()
        present = self.folder.sizes()
        self.staged = {
            number: entry
            for number, entry in self._entries(present)
            if self._is_whole(self.folder, present, number, entry)
        }
        used = {entry.file for entry in self.staged.values()}
        self.folder.remove(name for name in present if name.rpartition(".")[0] + ".tfrec" not in used)

    def missing(self) -> list[int]:
        """Numbers of the shards that are yet to make."""
        return [number for number in self.fingerprints if number not in self.kept | self.staged]

    def find_made(self) -> None:
        """Takes in what a pipeline made. Raises UserError where not all shards are there."""
        self.staged |= dict(self._entries(self.folder.sizes()))
        if self.missing():
            raise UserError(
                f"the pipeline ended, but {len(self.missing())} of {len(self.job.items)} shards are not in "
                f"{self.folder.path}; --out must be a folder that all workers and this machine share"
            )

    def entries(self) -> Entries:
        """Of all shards, under their final names."""
        named = {number: dataclasses.replace(entry, file=self.job.shard_name(number, entry.count))
                 for number, entry in self.staged.items()}  # fmt: skip
        return dict(sorted((self.kept | named).items()))

    def publish(self) -> None:
        """Shards, table, rejects and notes, and the manifest last. Called again after a kill it ends the same."""
        entries, prefix = self.entries(), self.job.prefix
        if self.staged:
            # At any moment the journal knows every shard that lies there: another one would be taken for someone
            # else's. And no manifest says that a set is whole while its shards are replaced.
            self._write_journal(self.earlier)
            self._remove(manifest.manifest_path("", prefix).name)
        self._remove_stale()
        if self.staged:
            self._write_journal(entries)
        for number, entry in self.staged.items():
            self.folder.rename(entry.file, self.out, entries[number].file)
        with tempfile.TemporaryDirectory() as desk:
            jobs.finish(self.job, Path(desk), entries, None if self.staged else self.recorded)
            self._show(Path(desk))
        self._remove(manifest.journal_path("", prefix).name)
        self.folder.remove_itself()

    def _write_journal(self, entries: Entries) -> None:
        content = json.dumps(manifest.as_json(self.job.described, entries))
        self.out.write_whole(manifest.journal_path("", self.job.prefix).name, content.encode())

    def _find_finished(self) -> None:
        """Shards that lie whole under their final names, as a manifest or a journal of `convert` knows them."""
        prefix, present = self.job.prefix, self.out.sizes()
        with tempfile.TemporaryDirectory() as desk, told_of(desk, self.out.path):
            self._mirror(present, Path(desk))
            earlier = manifest.read_finished(Path(desk), prefix, self.job.described)
            kept = {number: entry for number, entry in earlier.items()
                    if self._is_whole(self.out, present, number, entry)}  # fmt: skip
            if kept and len(kept) < len(self.job.items):
                manifest.require_same_versions(Path(desk), prefix, self.job.items)
            self.recorded = manifest.recorded_versions(Path(desk), prefix)
        self.earlier, self.kept = earlier, kept

    def _mirror(self, present: dict[str, int], desk: Path) -> None:
        """Manifests are read from local folders; of shards their names are enough."""
        notes = {path("", self.job.prefix).name for path in (manifest.manifest_path, manifest.journal_path)}
        for name in present:
            if name in notes or fnmatch.fnmatch(name, f"{self.job.prefix}*.tfrec"):
                (desk / name).write_bytes(self.out.read(name) if name in notes else b"")

    def _is_whole(self, folder: Folder, present: dict[str, int], number: int, entry: manifest.ShardEntry) -> bool:
        current = number in self.fingerprints and manifest.is_current(entry, self.fingerprints[number])
        return current and present.get(entry.file) == entry.bytes and folder.sha256(entry.file) == entry.sha256

    def _entries(self, present: dict[str, int]) -> Iterator[tuple[int, manifest.ShardEntry]]:
        """What attempts with these settings, versions and sources left in the hidden folder."""
        with tempfile.TemporaryDirectory() as desk:
            for name in (name for name in sorted(present) if name.endswith(".json")):
                Path(desk, name).write_bytes(self.folder.read(name))
                with contextlib.suppress(UserError):  # raised for one that a kill has cut
                    attempt = manifest.read_manifest(Path(desk, name)) or {}
                    same = attempt.get("settings") == self.job.described
                    if same and not manifest.other_version(attempt.get("versions", {})):
                        yield from (pair for pair in attempt["shards"].items() if self._is_wanted(present, *pair))

    def _is_wanted(self, present: dict[str, int], number: int, entry: manifest.ShardEntry) -> bool:
        return number not in self.kept and entry.sources == self.fingerprints.get(number) and entry.file in present

    def _remove_stale(self) -> None:
        """Files that `convert` and this would leave in the way, or that are damaged."""
        prefix, kept = self.job.prefix, {entry.file for entry in self.kept.values()}
        patterns = (f"{prefix}*.tfrec", f"{prefix}*.building", f".{prefix}*.part")
        self.out.remove(
            name for name in self.out.sizes()
            if name not in kept and any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
        )  # fmt: skip

    def _remove(self, name: str) -> None:
        self.out.remove([name] if name in self.out.sizes() else [])

    def _show(self, desk: Path) -> None:
        """Moves what `jobs.finish` wrote; what it did not write is of an earlier run."""
        last = manifest.manifest_path("", self.job.prefix).name
        for name in (*(f"{self.job.prefix}{kind}.csv" for kind in ("", ".rejects", ".notes")), last):
            if (desk / name).exists():
                self.out.write_whole(name, (desk / name).read_bytes())
            else:
                self._remove(name)
