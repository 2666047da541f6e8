"""Files that become visible only when they are whole, and the few places that know of remote folders."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from melanoma_tf.errors import UserError

RUN_RECORD = "run.json"  # in the folder of a training run: its command, versions, data


@contextlib.contextmanager
def open_whole(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A binary file for writing that appears under `path` only after it was closed without an error.

    Written beside, flushed to the disk, renamed (atomic on POSIX). After an error or a kill nothing, or the former
    file, is there. Raises UserError when the folder cannot be written or the disk is full.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name.lstrip('.')}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def write_whole(path: str | os.PathLike, data: bytes | str) -> None:
    """Writes `data` (text as UTF-8) as one whole file; see `open_whole`."""
    with open_whole(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` as JSON, indented, keys in the order given."""
    write_whole(path, json.dumps(value, indent=2) + "\n")


@contextlib.contextmanager
def locked(path: str | os.PathLike, message: str) -> Iterator[None]:
    """Holds a lock file, gone afterwards; the lock ends with the process, however that ends.

    Where the system (Windows) or the file system has no POSIX locks nothing is locked. Raises UserError with `message`
    where another process holds it, and where the file cannot be written.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        opened = open(path, "wb")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(message) from error
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
                raise UserError(f"cannot lock {path}: {error.strerror or error}") from error
        # Whoever held it may have removed the file between our opening and our locking: then it is not ours.
        if not os.path.exists(path) or not os.path.samestat(os.stat(path), os.fstat(file.fileno())):
            raise UserError(message)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)


def refuse_overwrite(path: str | os.PathLike, overwrite: bool, flag: str = "--out") -> None:
    """Raises UserError where `path`, which `flag` named, exists and may not be replaced."""
    if not overwrite and os.path.lexists(path):
        raise UserError(f"{path} exists already; give --overwrite to replace it or another {flag}")


def refuse_run(folder: str | os.PathLike) -> None:
    """Raises UserError for the folder of a training run, whose predictions another command would replace or remove."""
    if os.path.lexists(os.path.join(folder, RUN_RECORD)):
        raise UserError(f"{folder} is the folder of a training run; give another --out")


def make_folder(path: str | os.PathLike) -> Path:
    """Creates a folder with its parents. Raises UserError where that is not possible."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create the folder {path}: {error.strerror or error}") from error
    if not os.access(path, os.W_OK):
        raise UserError(f"the folder {path} is not writable")
    return path


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def is_remote(path: str | os.PathLike) -> bool:
    """True for `gs://bucket/...` and the like, which only TensorFlow's file system can read."""
    return "://" in str(path)


def open_read(path: str | os.PathLike) -> BinaryIO:
    """Opens a local or remote file for reading bytes."""
    if not is_remote(path):
        return open(path, "rb")
    import tensorflow as tf  # heavy, and only needed for remote folders

    return tf.io.gfile.GFile(str(path), "rb")


def list_folder(folder: str | os.PathLike, pattern: str) -> list[str]:
    """Full paths, sorted, of the files of `folder` whose name matches the shell `pattern`; [] without the folder."""
    if is_remote(folder):
        import tensorflow as tf

        names = (
            [name.rstrip("/") for name in tf.io.gfile.listdir(str(folder))] if tf.io.gfile.isdir(str(folder)) else []
        )
    else:
        names = os.listdir(folder) if os.path.isdir(folder) else []
    return [f"{str(folder).rstrip('/')}/{name}" for name in sorted(names) if fnmatch.fnmatch(name, pattern)]
