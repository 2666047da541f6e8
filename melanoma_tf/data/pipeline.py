"""From shards to batches of uint8 images: two functions, one for training and one for evaluation.

Shuffling moves encoded records, or numbers where the images are held decoded (see `cache`); the order is the same.
Augmentation is not here: it runs on the device.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from melanoma_tf import files, schema
from melanoma_tf.data.decode import Decoder, decode_jpeg
from melanoma_tf.data.image_set import ImageSet
from melanoma_tf.data.index import READERS
from melanoma_tf.randomness import fold_in, uniform

__all__ = ["Share", "decode_jpeg", "distributed", "eval_dataset", "image_batches", "train_dataset"]

REMOTE_BUFFER = 8 << 20  # bytes asked for at once; TensorFlow's own choice suits local disks


class Share(NamedTuple):
    """What one host reads of every global batch: part `pipeline` of `pipelines`, in batches for one replica.

    Every host passes over all encoded records but decodes its own part alone. So a global batch holds the same images
    in the same order on one host or many, which sharding by file would not give.
    """

    pipeline: int = 0
    pipelines: int = 1
    replicas: int = 1

    def part(self, batch_size: int) -> int:
        """Images of a global batch that this host reads."""
        return batch_size // self.pipelines

    def missing(self, count: int, batch_size: int) -> int:
        """Images that this host's part of `count` images lacks to the end of the last global batch."""
        mine = np.arange(count) // self.part(batch_size) % self.pipelines == self.pipeline
        return -(-count // batch_size) * self.part(batch_size) - int(mine.sum())


WHOLE = Share()


def distributed(
    strategy: tf.distribute.Strategy, make: Callable[[Share], tf.data.Dataset]
) -> tf.distribute.DistributedDataset:
    """Batches for the replicas of `strategy`; `make` gets each host's share."""
    return strategy.distribute_datasets_from_function(
        lambda context: make(
            Share(context.input_pipeline_id, context.num_input_pipelines, context.num_replicas_in_sync)
        )
    )


def train_dataset(
    images: ImageSet,
    rows: np.ndarray,
    *,
    image_size: int,
    batch_size: int,
    seed: int,
    epoch: int,
    start_step: int = 0,
    shuffle_memory_mb: int = 1024,
    crop: float = 0.0,
    repeats: np.ndarray | None = None,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """One epoch of shuffled batches, a pure function of (seed, epoch); the rest that fills no batch is left out.

    Args:
      images: the set. rows: int[n], rows of the table to use. start_step: batches to pass over, to continue an epoch.
      shuffle_memory_mb: size of the buffer of encoded records.
      crop: 0, or the share of both sides that is kept, elsewhere in each image at each draw.
      repeats: int[n], how often each row comes, see `sampling`; without it once.
      batch_size: of the global batch. share: what this host reads of it; B below is one replica's part.

    Returns: dataset of `{"image": uint8[B,S,S,3], "meta": float32[B,M], "row": int32[B], "target": float32[B,C],
      "weight": float32[B]}`. Its errors are told better within `faults.named_faults`.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(np.arange(len(images.index.paths)))
    mean_bytes = max(images.index.bytes_total // max(len(images.index.names), 1), 1)
    total = len(rows) if repeats is None else int(repeats.sum())
    buffer = min(total, max(shuffle_memory_mb * 2**20 // mean_bytes, 1))
    held = None if crop else _held(images, image_size)
    dataset = _records(images, rows if repeats is None else rows[repeats > 0], order, encoded=held is None)
    if repeats is not None and repeats.max() > 1:
        dataset = _repeated(dataset, images, rows, repeats)
    dataset = dataset.shuffle(buffer, seed=int(random.integers(2**31)), reshuffle_each_iteration=False)
    # Before decoding, so that continuing costs little and a host decodes nothing that it does not use.
    dataset = dataset.take(total // batch_size * batch_size).skip(start_step * batch_size)
    dataset = _shared(dataset, batch_size, share)
    if held is None:
        decoder = Decoder(images.index.sizes, image_size, crop)
        dataset = _decoded(dataset, images, decoder, _crop_draw(seed, epoch) if crop else None)
    return _batched(dataset, images, held, batch_size // share.replicas)


def eval_dataset(
    images: ImageSet,
    rows: np.ndarray,
    *,
    image_size: int,
    batch_size: int,
    crop: float = 0.0,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """Every image of `rows` once, in the order of the shards; the last batch is padded with weight 0 and row -1.

    Elements and arguments as in `train_dataset`; a crop is the central one.
    """
    held = None if crop else _held(images, image_size)
    dataset = _records(images, rows, np.arange(len(images.index.paths)), encoded=held is None)
    dataset = _shared(dataset, batch_size, share)
    if held is None:
        dataset = _decoded(dataset, images, Decoder(images.index.sizes, image_size, crop))
        last = {"row": tf.constant(-1), "image": tf.zeros([image_size] * 2 + [3], tf.uint8)}
    else:
        last = {"row": tf.constant(-1), "position": tf.constant(len(images.index.names), tf.int64)}
    dataset = dataset.concatenate(tf.data.Dataset.from_tensors(last).repeat(share.missing(len(rows), batch_size)))
    return _batched(dataset, images, held, batch_size // share.replicas)


def image_batches(images: ImageSet, image_size: int, batch_size: int) -> tf.data.Dataset:
    """uint8[<=B,S,S,3] of every record, in the order of the index."""
    order = np.arange(len(images.index.paths))
    dataset = _records(images, np.arange(len(images)), order, encoded=True, readers=1)
    dataset = _decoded(dataset, images, Decoder(images.index.sizes, image_size))
    return dataset.batch(batch_size).map(lambda batch: batch["image"]).prefetch(tf.data.AUTOTUNE)


def _held(images: ImageSet, image_size: int) -> tf.Tensor | None:
    """The images that are held decoded at this size, not copied."""
    pixels = images.pixels.get(image_size)
    return None if pixels is None else tf.experimental.dlpack.from_dlpack(pixels.__dlpack__())


def _records(
    images: ImageSet, rows: np.ndarray, order: np.ndarray, *, encoded: bool, readers: int = READERS
) -> tf.data.Dataset:
    """{"row", "position" in the index, and "record" if encoded} of the wanted rows, in an order that depends on the
    `order` of the shards alone."""
    index = images.index
    row_of = np.where(np.isin(images.row_of_record, rows), images.row_of_record, -1)
    row_of_record, remote = tf.constant(row_of, tf.int32), any(map(files.is_remote, index.paths))

    def open_shard(path, start, end):
        parts = {
            "row": tf.data.Dataset.from_tensor_slices(row_of_record[start:end]),
            "position": tf.data.Dataset.range(start, end),
        }
        if encoded:
            parts["record"] = tf.data.TFRecordDataset(path, buffer_size=REMOTE_BUFFER if remote else None)
        return tf.data.Dataset.zip(parts)

    paths, bounds = np.asarray(index.paths).astype(str), index.bounds
    dataset = tf.data.Dataset.from_tensor_slices((paths[order], bounds[:-1][order], bounds[1:][order]))
    dataset = dataset.interleave(
        open_shard, cycle_length=readers, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    if (row_of < 0).any():
        dataset = dataset.filter(lambda record: record["row"] >= 0)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(rows)))


def _shared(dataset: tf.data.Dataset, batch_size: int, share: Share) -> tf.data.Dataset:
    """This host's part of every global batch."""
    if share.pipelines == 1:
        return dataset
    part = share.part(batch_size)
    numbered = dataset.enumerate().filter(lambda number, _: number // part % share.pipelines == share.pipeline)
    return numbered.map(lambda _, record: record)


def _repeated(dataset: tf.data.Dataset, images: ImageSet, rows: np.ndarray, repeats: np.ndarray) -> tf.data.Dataset:
    """Each record as often as `repeats` tells, numbered by "draw"."""
    of_row = np.zeros(len(images), np.int64)
    of_row[rows] = repeats
    repeats_of_row = tf.constant(of_row)

    def repeat(record):
        draws = tf.data.Dataset.range(repeats_of_row[record["row"]], output_type=tf.int64)
        return draws.map(lambda draw: record | {"draw": draw})

    return dataset.flat_map(repeat)


def _crop_draw(seed: int, epoch: int) -> Callable[[dict], tf.Tensor]:
    """float32[2] for each record, a function of (seed, epoch), its row and its draw."""
    base = tf.constant([zlib.crc32(f"crop {seed}".encode()) & 0x7FFFFFFF, epoch], tf.int32)

    def draw(record):
        own = fold_in(fold_in(base, record["row"]), tf.cast(record.get("draw", 0), tf.int32))
        return uniform([2], own)

    return draw


def _decoded(
    dataset: tf.data.Dataset, images: ImageSet, decoder: Decoder, draw: Callable[[dict], tf.Tensor] | None = None
) -> tf.data.Dataset:
    names = tf.constant(np.asarray(images.index.names).astype(str))

    def decode(record):
        fields = tf.io.parse_single_example(record["record"], schema.feature_spec())
        # A shard that is another one than was indexed must not be joined with the rows of that one: -1 is an error.
        same = tf.gather(names, record["position"]) == fields[schema.IMAGE_NAME]
        position = tf.where(same, record["position"], -1)
        image = decoder(fields[schema.IMAGE], position, (lambda: draw(record)) if draw else None)
        return {"row": record["row"], "image": image}

    return dataset.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _batched(dataset: tf.data.Dataset, images: ImageSet, held: tf.Tensor | None, batch_size: int) -> tf.data.Dataset:
    dataset = dataset.batch(batch_size, drop_remainder=True)
    if held is not None:
        dataset = dataset.map(
            lambda batch: {"row": batch["row"], "image": tf.gather(held, batch["position"])},
            num_parallel_calls=tf.data.AUTOTUNE, deterministic=True,
        )  # fmt: skip
    return _finished(dataset, images)


def _finished(dataset: tf.data.Dataset, images: ImageSet) -> tf.data.Dataset:
    """Adds what the table knows to a batch, then prefetches."""
    meta, target = tf.constant(images.meta), tf.constant(images.training_target)

    def join(batch):
        row = tf.maximum(batch["row"], 0)
        weight = tf.cast(batch["row"] >= 0, tf.float32)
        return batch | {"meta": tf.gather(meta, row), "target": tf.gather(target, row), "weight": weight}

    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF  # see Share
    return dataset.map(join).with_options(options).prefetch(tf.data.AUTOTUNE)
