"""TFRecord files without TensorFlow: framing, checksums, names and counts.

Format (tensorflow/core/lib/io/record_writer.h): uint64 length, uint32 masked CRC-32C of the length, the data,
uint32 masked CRC-32C of the data; little endian.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import google_crc32c

from melanoma_tf import files, schema
from melanoma_tf.errors import UserError

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = _LENGTH.size + _CHECKSUM.size
FOOTER_BYTES = _CHECKSUM.size
MAX_RECORD_BYTES = 1 << 30  # a damaged length must not become an allocation


class DamagedShard(UserError):
    """A shard that is cut or whose checksum fails: file, record number and offset are in the message."""


def masked_crc(data: bytes) -> int:
    """CRC-32C rotated and offset, as TFRecord files store it."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    """`data` as it stands in a TFRecord file."""
    length = _LENGTH.pack(len(data))
    return b"".join((length, _CHECKSUM.pack(masked_crc(length)), data, _CHECKSUM.pack(masked_crc(data))))


def write_shard(path: str | os.PathLike, records: Iterable[bytes]) -> int:
    """Writes a whole shard, visible when finished; returns the number of records."""
    count = 0
    with files.open_whole(path) as file:
        for record in records:
            file.write(frame(record))
            count += 1
    return count


def read_records(path: str | os.PathLike, *, check_data: bool = True) -> Iterator[tuple[int, bytes]]:
    """Yields (offset in bytes, data) of each record.

    Args:
      path: local or remote shard.
      check_data: also verify the checksum of the data (the one of the length is always verified).

    Raises: DamagedShard at the first bad record.
    """
    with open_shard(path) as file:
        offset = number = 0
        while header := file.read(HEADER_BYTES):
            data = _read_frame(file, header, check_data, f"{path}: record {number} at byte {offset}")
            yield offset, data
            offset += HEADER_BYTES + len(data) + FOOTER_BYTES
            number += 1


@contextlib.contextmanager
def open_shard(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """An opened local or remote shard. Raises UserError that names it when it cannot be opened or read."""
    try:
        with files.open_read(path) as file:
            yield file
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def read_record_at(file: BinaryIO, offset: int, path: str | os.PathLike) -> bytes:
    """Data of the record at `offset` bytes of an opened shard. Raises DamagedShard, which names `path`."""
    file.seek(offset)
    return _read_frame(file, file.read(HEADER_BYTES), True, f"{path}: the record at byte {offset}")


def parse_length(header: bytes) -> int | None:
    """Length in bytes of the data behind a header of HEADER_BYTES; None where it is cut or its checksum fails."""
    if len(header) < HEADER_BYTES:
        return None
    length_bytes, checksum = header[: _LENGTH.size], header[_LENGTH.size :]
    length = _LENGTH.unpack(length_bytes)[0]
    fits = masked_crc(length_bytes) == _CHECKSUM.unpack(checksum)[0] and length <= MAX_RECORD_BYTES
    return length if fits else None


def is_intact(data: bytes, footer: bytes) -> bool:
    """Whether the checksum behind a record, FOOTER_BYTES of it, is that of its data."""
    return masked_crc(data) == _CHECKSUM.unpack(footer)[0]


def _read_frame(file: BinaryIO, header: bytes, check_data: bool, where: str) -> bytes:
    if len(header) < HEADER_BYTES:
        raise DamagedShard(f"{where} is cut: the file ends before it does; copy or make the file again")
    length = parse_length(header)
    if length is None:
        raise DamagedShard(f"{where} is damaged (checksum of its length) or no TFRecord; copy or make the file again")
    data, footer = file.read(length), file.read(FOOTER_BYTES)
    if len(data) < length or len(footer) < FOOTER_BYTES:
        raise DamagedShard(f"{where} is cut: the file ends before it does; copy or make the file again")
    if check_data and not is_intact(data, footer):
        raise DamagedShard(f"{where} is damaged (checksum of its data); copy or make the file again")
    return data


def count_in_name(path: str | os.PathLike) -> int | None:
    """Number of records that the name promises: 2071 for `train00-2071.tfrec`, None where it promises nothing."""
    match = re.search(r"-(\d+)\.tfrec(ord)?$", os.path.basename(str(path)))
    return int(match.group(1)) if match else None


def list_shards(data_dir: str | os.PathLike, prefix: str) -> list[str]:
    """Shards `prefix*.tfrec` of a folder or of its `tfrecords/` subfolder, sorted by name.

    Raises: UserError that says what is in the folder instead.
    """
    folder = str(data_dir).rstrip("/")
    found = files.list_folder(folder, f"{prefix}*.tfrec") or files.list_folder(
        f"{folder}/tfrecords", f"{prefix}*.tfrec"
    )
    if found:
        return found
    if not files.is_remote(folder) and not os.path.isdir(folder):
        raise UserError(f"no such folder: {folder}")
    found = files.list_folder(folder, "*.tfrec") or files.list_folder(folder, "*")
    others = [os.path.basename(path) for path in found[:5]]
    raise UserError(
        f"no {prefix}*.tfrec in {folder} or {folder}/tfrecords; "
        f"it holds {', '.join(others) + ', ...' if others else 'nothing'} (make shards with tfrecord-tools convert)"
    )


def read_images(paths: Iterable[str], names: Iterable[str]) -> dict[str, bytes]:
    """JPEG bytes of the named images, for pictures in a report; stops reading when all are found."""
    wanted, found = set(names), {}
    for path in paths:
        for _, data in read_records(path, check_data=False):
            record = schema.decode_record(data)
            if record[schema.IMAGE_NAME] in wanted:
                found[record[schema.IMAGE_NAME]] = record[schema.IMAGE]
                if len(found) == len(wanted):
                    return found
    return found
