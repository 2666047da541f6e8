"""What a set of shards holds, found by reading every record once before anything is trained."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from melanoma_tf import files, schema
from melanoma_tf.data import shards
from melanoma_tf.errors import UserError

READERS = 8  # shards read at once; more only helps remote storage

_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_TABLES = {0xC4, 0xC8, 0xCC}  # among the markers C0 to CF, all others of which begin a frame
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_START_OF_SCAN = 0xDA


@dataclass(frozen=True)
class ShardIndex:
    """What a set of shards holds, in the order of the files and of the records in them.

    Attributes:
      paths: the shards; names: image name of every record; shard_of: index into `paths` of every record;
      bytes_total: size of all records; sizes: int32[N,2] height and width of every image in pixels;
      fingerprint: SHA-256 of names, lengths and checksums, the same for a copy of the shards elsewhere.
    """

    paths: tuple[str, ...]
    names: tuple[str, ...]
    shard_of: tuple[int, ...]
    bytes_total: int
    sizes: np.ndarray
    fingerprint: str

    @property
    def bounds(self) -> np.ndarray:
        """int64[shards + 1]: shard k holds the records bounds[k] to bounds[k + 1]."""
        return np.searchsorted(self.shard_of, np.arange(len(self.paths) + 1))


@dataclass(frozen=True)
class Surveyed:
    """One record: name of its image, bytes and CRC-32C of the record, height and width of the image."""

    name: str
    bytes: int
    checksum: int
    height: int
    width: int


def index_shards(paths: Iterable[str]) -> ShardIndex:
    """Reads every record once: checks checksums, counts against names, and that each holds the beginning and end of a
    JPEG.

    Raises: UserError naming the shard, the record or the doubled image.
    """
    paths = tuple(paths)
    pool = ThreadPoolExecutor(READERS)
    try:
        return make_index(paths, list(pool.map(lambda path: list(survey_shard(path)), paths)))
    finally:
        pool.shutdown(cancel_futures=True)  # after an error nobody waits for the other shards


def make_index(paths: tuple[str, ...], surveyed: list[list[Surveyed]]) -> ShardIndex:
    """The index of shards whose records are known. Raises UserError for an image that is there twice."""
    records = [record for shard in surveyed for record in shard]
    names = tuple(record.name for record in records)
    shard_of = tuple(number for number, shard in enumerate(surveyed) for _ in shard)
    _require_unique(names, shard_of, paths)
    sizes = np.array([(record.height, record.width) for record in records], np.int32).reshape(-1, 2)
    content = json.dumps([(record.name, record.bytes, record.checksum) for record in records])
    total = sum(record.bytes for record in records)
    return ShardIndex(paths, names, shard_of, total, sizes, files.sha256(content.encode()))


def join_indices(first: ShardIndex, second: ShardIndex) -> ShardIndex:
    """The index of both sets of shards. Raises UserError for an image that is in both."""
    paths, names = first.paths + second.paths, first.names + second.names
    shard_of = first.shard_of + tuple(len(first.paths) + number for number in second.shard_of)
    _require_unique(names, shard_of, paths)
    return ShardIndex(
        paths, names, shard_of, first.bytes_total + second.bytes_total, np.concatenate([first.sizes, second.sizes]),
        files.sha256(f"{first.fingerprint} {second.fingerprint}".encode()),
    )  # fmt: skip


def survey_shard(path: str) -> Iterator[Surveyed]:
    """Every record of a shard. Raises UserError at the first that is damaged, and for a count that the name denies."""
    number = 0
    for number, (offset, data) in enumerate(shards.read_records(path), start=1):
        try:
            yield survey_record(data)
        except ValueError as error:
            raise UserError(f"{path}: record {number - 1} at byte {offset} {error}") from error
    promised = shards.count_in_name(path)
    if promised is not None and promised != number:
        raise UserError(f"{path} holds {number} records but its name promises {promised}")


def survey_record(data: bytes) -> Surveyed:
    """What is in a record. Raises ValueError, whose text goes on behind the name of the record."""
    try:
        fields = schema.decode_record(data)
    except ValueError as error:
        raise ValueError(f"is not a melanoma record: {error}") from error
    name, jpeg = fields[schema.IMAGE_NAME], fields[schema.IMAGE]
    try:
        height, width = jpeg_size(jpeg)
    except ValueError as error:
        raise ValueError(f"has an image that cannot be used, {name}: {error}") from error
    return Surveyed(name, len(data), shards.masked_crc(data), height, width)


def jpeg_size(jpeg: bytes) -> tuple[int, int]:
    """Height and width in pixels that a JPEG's header tells (ITU-T T.81, B.1.1.3 and B.2.2).

    Raises: ValueError where it is none or is cut, all of which TensorFlow's decoder would refuse later.
    """
    if not jpeg.startswith(_JPEG_START):
        raise ValueError(f"it is no JPEG but begins with {jpeg[:4].hex() or 'nothing'}")
    if jpeg.rfind(_JPEG_END) < 0:
        raise ValueError("its JPEG is cut")
    for marker, place in _segments(jpeg):
        if 0xC0 <= marker <= 0xCF and marker not in _TABLES and len(jpeg) > place + 7:
            height, width = (int.from_bytes(jpeg[place + at : place + at + 2], "big") for at in (3, 5))
            if height and width:
                return height, width
    raise ValueError("its JPEG tells no size")


def _segments(jpeg: bytes) -> Iterator[tuple[int, int]]:
    """(marker, place behind it) of what stands before the first scan."""
    place = 2
    while place + 4 <= len(jpeg) and jpeg[place] == 0xFF and jpeg[place + 1] != _START_OF_SCAN:
        marker, place = jpeg[place + 1], place + 2
        if marker == 0xFF:  # a fill byte, behind which the marker may stand
            place -= 1
        elif marker not in _WITHOUT_LENGTH:
            yield marker, place
            place += int.from_bytes(jpeg[place : place + 2], "big")


def _require_unique(names: tuple[str, ...], shard_of: tuple[int, ...], paths: tuple[str, ...]) -> None:
    first_seen: dict[str, int] = {}
    for name, shard in zip(names, shard_of):
        if name in first_seen:
            raise UserError(f"{name} is in the shards twice: {paths[first_seen[name]]} and {paths[shard]}")
        first_seen[name] = shard


def require_as_in_manifest(index: ShardIndex, prefix: str) -> None:
    """Compares the shards with `PREFIX.manifest.json` of tfrecord-tools, where one is beside them.

    Raises: UserError naming a shard that is missing or holds other images than were written.
    """
    folder = os.path.dirname(index.paths[0])
    found = files.list_folder(folder, f"{prefix}.manifest.json")
    if not found:
        return
    there = {os.path.basename(path): number for number, path in enumerate(index.paths)}
    bounds = index.bounds
    for file, names in _names_in_manifest(found[0]).items():
        if file not in there:
            raise UserError(f"{found[0]} lists {file}, which is not in {folder}; copy or make the file again")
        start, end = bounds[there[file]], bounds[there[file] + 1]
        if index.names[start:end] != names:
            raise UserError(f"{folder}/{file} holds other images than {found[0]} lists; copy or make the file again")


def _names_in_manifest(path: str) -> dict[str, tuple[str, ...]]:
    try:
        with files.open_read(path) as file:
            shards_listed = json.loads(file.read())["shards"].values()
        return {entry["file"]: tuple(entry["names"]) for entry in shards_listed}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no manifest that this version can read; remove it or convert again") from error
