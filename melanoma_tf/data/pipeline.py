"""From shards to batches of uint8 images: two functions, one for training and one for evaluation.

Shuffling moves encoded records; decoding comes after it. Augmentation is not here: it runs on the device.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from melanoma_tf import schema
from melanoma_tf.data.image_set import ImageSet

READERS = 8  # shards read at once; more only helps remote storage
DCT_RATIOS = (1, 2, 4, 8)  # scales at which libjpeg can decode in the frequency domain


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
) -> tf.data.Dataset:
    """One epoch of shuffled batches, a pure function of (seed, epoch); the rest that fills no batch is left out.

    Args:
      images: the set. rows: int[n], rows of the table to use. start_step: batches to pass over, to continue an epoch.
      shuffle_memory_mb: size of the buffer of encoded records.

    Returns: dataset of `{"image": uint8[B,S,S,3], "meta": float32[B,M], "row": int32[B], "target": float32[B,1],
      "weight": float32[B]}`.
    """
    random = np.random.default_rng([seed, epoch])
    paths = random.permutation(np.asarray(images.index.paths))
    mean_bytes = max(images.index.bytes_total // max(len(images.index.names), 1), 1)
    buffer = min(len(rows), max(shuffle_memory_mb * 2**20 // mean_bytes, 1))
    dataset = _records(images, rows, paths)
    dataset = dataset.shuffle(buffer, seed=int(random.integers(2**31)), reshuffle_each_iteration=False)
    dataset = dataset.skip(start_step * batch_size)  # before decoding, so that continuing costs little
    dataset = _decoded(dataset, image_size).batch(batch_size, drop_remainder=True)
    return _finished(dataset, images)


def eval_dataset(images: ImageSet, rows: np.ndarray, *, image_size: int, batch_size: int) -> tf.data.Dataset:
    """Every image of `rows` once, in the order of the shards; the last batch is padded with weight 0 and row -1.

    Elements as in `train_dataset`.
    """
    dataset = _decoded(_records(images, rows, np.asarray(images.index.paths)), image_size)
    padding = tf.data.Dataset.from_tensors(
        {"row": tf.constant(-1), "image": tf.zeros([image_size] * 2 + [3], tf.uint8)}
    )
    dataset = dataset.concatenate(padding.repeat(-len(rows) % batch_size))
    return _finished(dataset.batch(batch_size, drop_remainder=True), images)


def _records(images: ImageSet, rows: np.ndarray, paths: np.ndarray) -> tf.data.Dataset:
    """(row, JPEG bytes) of the wanted rows, in an order that depends on `paths` alone."""
    names = tf.constant(images.names[rows].astype(str))
    lookup = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(names, tf.constant(rows, tf.int32)), default_value=-1
    )

    def parse(serialized):
        fields = tf.io.parse_single_example(serialized, schema.feature_spec())
        return {"row": lookup.lookup(fields[schema.IMAGE_NAME]), "jpeg": fields[schema.IMAGE]}

    dataset = tf.data.Dataset.from_tensor_slices(paths.astype(str)).interleave(
        lambda path: tf.data.TFRecordDataset(path, buffer_size=8 << 20),
        cycle_length=READERS, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True,
    )  # fmt: skip
    dataset = dataset.map(parse)  # not in parallel: cheap, and op determinism would refuse it (the lookup is stateful)
    return dataset.filter(lambda record: record["row"] >= 0)


def _decoded(dataset: tf.data.Dataset, image_size: int) -> tf.data.Dataset:
    def decode(record):
        return {"row": record["row"], "image": decode_jpeg(record["jpeg"], image_size)}

    return dataset.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def decode_jpeg(jpeg: tf.Tensor, image_size: int) -> tf.Tensor:
    """uint8[S,S,3] of JPEG bytes: decoded at 1/8 to 1/1 in the DCT domain, the smallest that covers S, then resized.

    An image that is not square is squeezed: nothing of the lesion is cut away.
    """
    side = tf.reduce_min(tf.image.extract_jpeg_shape(jpeg)[:2])
    branches = [lambda ratio=ratio: _decode_at(jpeg, ratio) for ratio in DCT_RATIOS]
    covers = [tf.cast(side >= image_size * ratio, tf.int32) for ratio in DCT_RATIOS[1:]]
    image = tf.switch_case(tf.add_n(covers), branches)
    same = tf.reduce_all(tf.shape(image)[:2] == image_size)
    image = tf.cond(same, lambda: image, lambda: _resized(image, image_size))
    return tf.ensure_shape(image, [image_size, image_size, 3])


def _decode_at(jpeg: tf.Tensor, ratio: int) -> tf.Tensor:
    return tf.io.decode_jpeg(jpeg, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")


def _resized(image: tf.Tensor, image_size: int) -> tf.Tensor:
    resized = tf.image.resize(image, [image_size, image_size], antialias=True)
    return tf.saturate_cast(tf.round(resized), tf.uint8)


def _finished(dataset: tf.data.Dataset, images: ImageSet) -> tf.data.Dataset:
    """Adds what the table knows to a batch, then prefetches; workers share the work by element, never by file."""
    meta, target = tf.constant(images.meta), tf.constant(images.target[:, None])

    def join(batch):
        row = tf.maximum(batch["row"], 0)
        weight = tf.cast(batch["row"] >= 0, tf.float32)
        return batch | {"meta": tf.gather(meta, row), "target": tf.gather(target, row), "weight": weight}

    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.map(join).with_options(options).prefetch(tf.data.AUTOTUNE)
