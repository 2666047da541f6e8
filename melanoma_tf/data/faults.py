"""TensorFlow's errors about input, which name no file, as one line that does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from melanoma_tf import schema
from melanoma_tf.data import shards
from melanoma_tf.data.image_set import ImageSet
from melanoma_tf.errors import UserError

INPUT_ERRORS = (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError)


@contextlib.contextmanager
def named_faults(images: ImageSet) -> Iterator[None]:
    """Within it an error while batches are read becomes a UserError that names shard, record and image.

    The shards are read again to find it; an error that they do not explain stays as it is.
    """
    try:
        yield
    except INPUT_ERRORS as error:
        _find_fault(images, decode=isinstance(error, tf.errors.InvalidArgumentError))
        if isinstance(error, tf.errors.DataLossError):
            raise UserError(
                "a shard was damaged when it was read and is whole now: the disk, the network or the memory is at fault"
            ) from error
        raise


def _find_fault(images: ImageSet, decode: bool) -> None:
    """Raises UserError for the first record that is not as it was when the set was opened, or is no picture."""
    index = images.index
    bounds = index.bounds
    for number, path in enumerate(index.paths):
        names = index.names[bounds[number] : bounds[number + 1]]
        found = 0
        for offset, data in shards.read_records(path):
            where = f"{path}: record {found} at byte {offset}"
            record = schema.decode_record(data)
            if found >= len(names) or record[schema.IMAGE_NAME] != names[found]:
                raise UserError(f"{where} is another one than when the shard was opened; let nobody write to it")
            if decode:
                _require_decodable(record[schema.IMAGE], f"{where}, {names[found]}")
            found += 1
        if found < len(names):
            raise UserError(f"{path} holds {found} records and held {len(names)} when it was opened")


def _require_decodable(jpeg: bytes, where: str) -> None:
    try:
        tf.io.decode_jpeg(jpeg, channels=3)
    except tf.errors.OpError as error:
        raise UserError(f"{where}: its JPEG cannot be decoded; make the shard again without it") from error
