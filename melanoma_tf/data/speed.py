"""How fast each part of the input is on this machine: disk, records, decoding, the pipeline, images held decoded."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import tensorflow as tf

from melanoma_tf import files, schema
from melanoma_tf.config import DataConfig
from melanoma_tf.data import cache, shards
from melanoma_tf.data.decode import Decoder
from melanoma_tf.data.image_set import ImageSet
from melanoma_tf.data.index import READERS, index_shards
from melanoma_tf.data.pipeline import train_dataset
from melanoma_tf.errors import UserError
from melanoma_tf.tables import METADATA_WIDTH

BLOCK = 1 << 20


def sample_shards(data_dir: str, prefix: str, images: int) -> tuple[ImageSet, int | None]:
    """The first shards that hold `images` together, as a set without a table, and how many images all shards hold.

    The total is None where the names of the shards do not tell it. Raises: UserError as `index_shards`.
    """
    paths = shards.list_shards(data_dir, prefix)
    counts = [shards.count_in_name(path) for path in paths]
    index = index_shards(paths[:1])
    while len(index.names) < images and len(index.paths) < len(paths):
        index = index_shards(paths[: len(index.paths) + 1])
    total = None if None in counts else sum(count or 0 for count in counts)
    count = len(index.names)
    table = pd.DataFrame({"image_name": index.names})
    meta, target = np.zeros((count, METADATA_WIDTH), np.float32), np.zeros(count, np.float32)
    return ImageSet(index, table, meta, target, has_target=False), total


def stages(
    images: ImageSet, image_size: int, batch_size: int, *, shuffle_memory_mb: int = 1024, memory_mb: int = 0
) -> dict[str, Callable[[], object]]:
    """What can be timed, by name; each passes over all images once.

    Args: shuffle_memory_mb: of the pipeline, to be as small a share of the images as in training: nothing is decoded
      while the buffer is filled. memory_mb: what decoded images may take, 0 = half of what is free.

    disk: the files' bytes, dropped from the system's memory before where it allows. records: TensorFlow's reader with
    its checksums. decode: nothing but the scaled decode, on all cores, of bytes in memory. pipeline: `train_dataset`.
    memory cache: the same from decoded images; missing where they do not fit.
    """
    if len(images) < batch_size:
        raise UserError(f"train.batch_size is {batch_size} and the first shards hold {len(images)} images; take more")
    paths = images.index.paths
    jpegs = _read_jpegs(paths)
    chosen: dict[str, Callable[[], object]] = {
        "disk": lambda: _read_files(paths),
        "records": lambda: _consume(tf.data.TFRecordDataset(list(paths), num_parallel_reads=READERS).batch(batch_size)),
        "decode": lambda: decode_all(images, jpegs, image_size),
        "pipeline": lambda: _epoch(images, image_size, batch_size, shuffle_memory_mb),
    }
    held = ImageSet(images.index, images.table, images.meta, images.target, images.has_target)
    cache.hold_decoded(held, image_size, DataConfig(cache_memory_mb=memory_mb), "")
    if held.pixels:
        chosen["memory cache"] = lambda: _epoch(held, image_size, batch_size, shuffle_memory_mb)
    return chosen


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode_all(images: ImageSet, jpegs: Iterable[tf.Tensor], image_size: int) -> None:
    """A loop of nothing but the scaled decode, on as many threads as there are cores; no resize."""
    ratios = (1, 2, 4, 8)
    branch = Decoder(images.index.sizes, image_size).branch.numpy() % len(ratios)

    def decode(item: tuple[int, tf.Tensor]) -> None:
        position, jpeg = item
        tf.io.decode_jpeg(jpeg, channels=3, ratio=ratios[branch[position]], dct_method="INTEGER_ACCURATE")

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(decode, enumerate(jpegs)))


def measure(chosen: dict[str, Callable[[], object]], count: int, rounds: int = 3) -> dict[str, float]:
    """Images/s of each stage: the median of `rounds` after one that warms up, stages taking turns.

    Turns, so that a machine that slows down slows all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(rounds + 1):
        for name, stage in chosen.items():
            started = time.perf_counter()
            stage()
            seconds[name].append(time.perf_counter() - started)
    return {name: count / statistics.median(times[1:]) for name, times in seconds.items()}


def _read_jpegs(paths: Iterable[str]) -> list[tf.Tensor]:
    records = (data for path in paths for _, data in shards.read_records(path))
    return [tf.constant(schema.decode_record(data)[schema.IMAGE]) for data in records]


def _read_files(paths: Iterable[str]) -> None:
    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(_read_file, paths))


def _read_file(path: str) -> None:
    with files.open_read(path) as file:
        if not files.is_remote(path) and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while file.read(BLOCK):
            pass


def _epoch(images: ImageSet, image_size: int, batch_size: int, shuffle_memory_mb: int) -> None:
    rows = np.arange(len(images))
    batches = train_dataset(
        images, rows, image_size=image_size, batch_size=batch_size, seed=0, epoch=0, shuffle_memory_mb=shuffle_memory_mb
    )
    _consume(batches)


def _consume(dataset: tf.data.Dataset) -> None:
    for _ in dataset:
        pass
