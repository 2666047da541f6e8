"""Images decoded once: uint8 in memory or in a file, from where batches are gathered by number.

The order of an epoch and its pixels are those without a cache, so that it decides about speed alone.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import google_crc32c
import numpy as np
import tensorflow as tf

from melanoma_tf import files
from melanoma_tf.config import DataConfig
from melanoma_tf.data.faults import named_faults
from melanoma_tf.data.image_set import ImageSet
from melanoma_tf.data.pipeline import image_batches
from melanoma_tf.errors import Interrupted, UserError
from melanoma_tf.progress import Progress

FORMAT = 1
FILL_BATCH = 16
READ_BYTES = 16 << 20
MEMORY_SHARE = 0.5  # of the memory that is available, where data.cache_memory_mb is 0
CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def hold_decoded(
    images: ImageSet, image_size: int, config: DataConfig, folder: str | os.PathLike,
    stop_requested: Callable[[], bool] = lambda: False,
) -> None:  # fmt: skip
    """Decodes every image of the set once and keeps it in `images.pixels`, as `config.cache` tells.

    Args: folder: where a file goes unless `config.cache_dir` names another.
    Raises: UserError where the images do not fit or a file cannot be written; Interrupted.
    """
    if config.crop or image_size in images.pixels:
        return
    folder = config.cache_dir or folder
    if files.is_remote(folder):
        raise UserError(f"{folder} cannot hold decoded images; data.cache_dir must be a local folder")
    kind = choose(config, _bytes(images, image_size), folder)
    if kind == "memory":
        images.pixels[image_size] = _in_memory(images, image_size, stop_requested)
    elif kind == "disk":
        images.pixels[image_size] = _in_file(images, image_size, Path(folder), stop_requested)


def _bytes(images: ImageSet, image_size: int) -> int:
    return (len(images.index.names) + 1) * image_size**2 * 3  # one more, black, pads the last batch of an evaluation


def choose(config: DataConfig, need: int, folder: str | os.PathLike) -> str:
    """`memory`, `disk` or `none`: as the setting says or, with `auto`, the first of them that holds `need` bytes.

    Raises: UserError where the setting names one that does not.
    """
    if config.cache in ("memory", "auto"):
        budget = memory_budget(config)
        if need <= budget:
            return "memory"
        if config.cache == "memory":
            raise UserError(f"data.cache=memory: the decoded images need {_gb(need)} but may take {_gb(budget)}; "
                            f"raise data.cache_memory_mb, or take data.cache=disk")  # fmt: skip
    if config.cache == "auto":
        return "disk" if config.cache_dir and _has_room(folder, need) else "none"
    return config.cache


def memory_budget(config: DataConfig) -> int:
    """Bytes that decoded images may take: the setting, or half of what the machine has available, in a container at
    most half of its limit. 0 where the system does not tell (macOS, Windows)."""
    if config.cache_memory_mb:
        return config.cache_memory_mb << 20
    available = []
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available.append(int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) << 10)
    for path in CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
            available.append(int(Path(path).read_text()))
    return int(MEMORY_SHARE * min(available, default=0))


def _has_room(folder: str | os.PathLike, need: int) -> bool:
    existing = next(path for path in (Path(folder).absolute(), *Path(folder).absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free >= need


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _decoded(images: ImageSet, image_size: int, stop_requested: Callable[[], bool], where: str) -> Iterator[np.ndarray]:
    """uint8[B,S,S,3] of all records in order, and a black one behind the last."""
    progress = Progress(f"decoding to {image_size} px", len(images.index.names))
    done = 0
    with named_faults(images):
        for batch in image_batches(images, image_size, FILL_BATCH).as_numpy_iterator():
            if stop_requested():
                raise Interrupted("stopped while decoding images; the same command starts again")
            yield batch
            done += len(batch)
            progress.update(done)
    yield np.zeros((1, image_size, image_size, 3), np.uint8)
    progress.finish(f"{done:,} images, {_gb(_bytes(images, image_size))} in {where}")


def _in_memory(images: ImageSet, image_size: int, stop_requested: Callable[[], bool]) -> np.ndarray:
    try:
        memory = mmap.mmap(-1, _bytes(images, image_size))  # begins at a page, as TensorFlow's kernels want it
    except (OSError, ValueError) as error:
        raise UserError(f"data.cache=memory: no {_gb(_bytes(images, image_size))} of memory: {error}") from error
    pixels, place = _as_pixels(memory, image_size), 0
    for batch in _decoded(images, image_size, stop_requested, "memory"):
        pixels[place : place + len(batch)] = batch
        place += len(batch)
    return pixels


def _in_file(images: ImageSet, image_size: int, folder: Path, stop_requested: Callable[[], bool]) -> np.ndarray:
    """The file of these very images, made anew unless it is whole."""
    fingerprint = _fingerprint(images, image_size)
    path = files.make_folder(folder) / f"decoded-{image_size}px-{fingerprint[:16]}.uint8"
    if not _is_whole(path, fingerprint, _bytes(images, image_size)):
        with files.locked(f"{path}.lock", f"another process is making {path}; wait for it, or set data.cache_dir"):
            _write(path, images, image_size, fingerprint, stop_requested)
    with open(path, "rb") as file:  # copied on writing, as only an array that may be written can go to TensorFlow
        return _as_pixels(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), image_size)


def _as_pixels(memory: mmap.mmap, image_size: int) -> np.ndarray:
    return np.frombuffer(memory, np.uint8).reshape(-1, image_size, image_size, 3)


def _fingerprint(images: ImageSet, image_size: int) -> str:
    """Of everything that decides about the pixels and their order."""
    return files.sha256(json.dumps([FORMAT, images.index.fingerprint, image_size, tf.__version__]).encode())


def _write(path: Path, images: ImageSet, image_size: int, fingerprint: str, stop_requested: Callable[[], bool]) -> None:
    for leftover in path.parent.glob(f".{path.name}.*.part"):  # of a process that was killed
        leftover.unlink()
    path.unlink(missing_ok=True)
    need = _bytes(images, image_size)
    if not _has_room(path.parent, need):
        free = _gb(shutil.disk_usage(path.parent).free)
        raise UserError(f"{path.parent} has {free} free and the decoded images need {_gb(need)}; "
                        f"set data.cache_dir to another folder, or data.cache=none")  # fmt: skip
    checksum = 0
    with files.open_whole(path) as file:
        for batch in _decoded(images, image_size, stop_requested, str(path)):
            file.write(batch.data)
            checksum = google_crc32c.extend(checksum, batch.tobytes())
    files.write_json(_sidecar(path), {"fingerprint": fingerprint, "bytes": need, "crc32c": checksum,
                                      "images": len(images), "image_size": image_size})  # fmt: skip


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".json")


def _is_whole(path: Path, fingerprint: str, size: int) -> bool:
    """Whether the file is there and is, to the last byte, what was written of these images."""
    try:
        known = json.loads(_sidecar(path).read_text())
        expected = (known["fingerprint"], known["bytes"]) == (fingerprint, size) == (fingerprint, path.stat().st_size)
        whole = expected and _checksum(path) == known["crc32c"]
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if path.exists() and not whole:
        Progress("data.cache", 0).finish(f"{path} is cut, altered or of other images; it is made anew")
    return whole


def _checksum(path: Path) -> int:
    checksum = 0
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            checksum = google_crc32c.extend(checksum, block)
    return checksum
