"""A folder on any file system: local, gs://, hdfs:// and what else Apache Beam has a client for."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from melanoma_tf import files
from melanoma_tf.errors import UserError

BLOCK_BYTES = 1 << 20


@contextlib.contextmanager
def _required(action: str) -> Iterator[None]:
    """Whatever goes wrong becomes a UserError: every file system has exceptions of its own."""
    try:
        yield
    except Exception as error:
        raise UserError(f"cannot {action}: {getattr(error, 'strerror', None) or error}") from error


@contextlib.contextmanager
def told_of(copy: str | os.PathLike, original: str | os.PathLike) -> Iterator[None]:
    """A UserError about a local copy names the original."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(str(copy), str(original))) from error


@dataclass(frozen=True)
class Folder:
    """A folder whose files are read and written by whole. What cannot be done in it raises UserError.

    Attributes: path: without a slash at its end; systems: the class `apache_beam.io.filesystems.FileSystems`.
    """

    path: str
    systems: Any

    def __post_init__(self) -> None:
        if re.search(r"[*?\[]", self.path):
            raise UserError(f"{self.path} has a *, ? or [ in it, which Beam takes for a pattern; name it otherwise")

    def at(self, name: str) -> str:
        return f"{self.path}/{name}"

    def sizes(self) -> dict[str, int]:
        """Bytes of every file in it, by name."""
        with _required(f"list {self.path}"):
            (found,) = self.systems.match([self.at("*")])
        return {os.path.basename(file.path): file.size_in_bytes for file in found.metadata_list}

    def make(self) -> None:
        with contextlib.suppress(Exception):  # it is there; or it cannot be, which whoever uses it will be told
            self.systems.mkdirs(self.path)

    def read(self, name: str) -> bytes:
        with _required(f"read {self.at(name)}"), self._open(name) as file:
            return file.read()

    def sha256(self, name: str) -> str:
        digest = hashlib.sha256()
        with _required(f"read {self.at(name)}"), self._open(name) as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def _open(self, name: str) -> BinaryIO:
        return self.systems.open(self.at(name), compression_type="uncompressed")  # a name decides about nothing

    def write(self, name: str, parts: Iterable[bytes]) -> None:
        """Writes in place: for a name that nobody reads before something else says that the file is whole."""
        with _required(f"write {self.at(name)}"):
            with self.systems.create(self.at(name), compression_type="uncompressed") as file:
                for part in parts:
                    file.write(part)
                if not files.is_remote(self.path):
                    file.flush()
                    os.fsync(file.fileno())

    def write_whole(self, name: str, data: bytes) -> None:
        """Writes a file that appears when it is whole, in the place of an earlier one."""
        beside = f".{name.lstrip('.')}.{uuid.uuid4().hex}.part"
        try:
            self.write(beside, [data])
            self.rename(beside, self, name)
        except UserError:
            with contextlib.suppress(UserError):
                self.remove([beside])
            raise

    def rename(self, name: str, folder: Folder, new_name: str) -> None:
        """Moves a file, into the place of an earlier one."""
        source, target = [self.at(name)], [folder.at(new_name)]
        with _required(f"write {target[0]}"):
            try:
                self.systems.rename(source, target)
            except OSError:
                if not self.systems.exists(target[0]):
                    raise
                self.systems.delete(target)  # hdfs:// renames onto nothing that is there
                self.systems.rename(source, target)

    def remove(self, names: Iterable[str]) -> None:
        with _required(f"delete files in {self.path}"):
            self.systems.delete([self.at(name) for name in names])

    def remove_itself(self) -> None:
        self.remove(self.sizes())
        if self.systems.exists(self.path):  # on gs:// a folder is but a part of names
            with _required(f"delete {self.path}"):
                self.systems.delete([self.path])
