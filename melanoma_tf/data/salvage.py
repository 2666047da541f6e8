"""Reading on behind damage: the records of a shard that are whole, and what can be told of the others."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import google_crc32c
import numpy as np

from melanoma_tf import schema
from melanoma_tf.data import shards

LENGTH_DAMAGED = "damaged: the checksum of its length does not fit"
DATA_DAMAGED = "damaged: the checksum of its data does not fit"
CUT = "cut: the file ends before it does"
DAMAGES = (LENGTH_DAMAGED, DATA_DAMAGED, CUT)

_WINDOW_BYTES = 1 << 20
_NAME_BYTES = 127  # a longer name has a length of two bytes
# The map entry of a serialized Example: key, Feature, BytesList, each with its length, then the name itself.
_NAME = re.compile(re.escape(schema.IMAGE_NAME.encode()) + rb"\x12(.)\n(.)\n(.)", re.DOTALL)
_LENGTH_BYTES, _LOW_BYTES = 8, 4  # of a length, and those of them that are not 0 in any that is taken


@dataclass(frozen=True)
class Record:
    """A whole record: its number in the file as far as that is known, its offset in bytes, its data."""

    number: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Loss:
    """A damaged stretch of a shard: one record, or several that nothing tells apart.

    Attributes:
      number: of its first record; offset, size: of the stretch in bytes; reason: for a person.
      image_names: as they can still be read in it, which damage may have altered; more than one where several
        records were hit.
    """

    number: int
    offset: int
    size: int
    reason: str
    image_names: tuple[str, ...]

    @property
    def records(self) -> int:
        """How many records it stands for, as far as can be told."""
        return max(1, len(self.image_names))


def salvage_records(path: str | os.PathLike) -> Iterator[Record | Loss]:
    """Yields everything in a shard in the order of the file; both checksums of every `Record` fit.

    Behind damage it goes on at the next length whose checksum fits, so that a record is lost only if its own frame
    was touched. A shard within a shard, which no picture is, would be taken apart.

    Args: path: local or remote shard; at most one record of it is in memory.
    Raises: UserError when the file cannot be read.
    """
    with shards.open_shard(path) as file:
        reader = _Reader(file)
        offset = number = 0
        while offset < reader.size:
            found = reader.frame_at(offset)
            if isinstance(found, bytes):
                yield Record(number, offset, found)
                offset += shards.HEADER_BYTES + len(found) + shards.FOOTER_BYTES
                number += 1
            else:
                end, names = reader.damage_at(offset)
                loss = Loss(number, offset, end - offset, found, names)
                yield loss
                offset, number = end, number + loss.records


class _Reader:
    """Looks into a shard at any place. `size`: of the file in bytes."""

    def __init__(self, file: BinaryIO):
        self.file = file
        file.seek(0, os.SEEK_END)
        self.size = file.tell()

    def read(self, offset: int, size: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(size)

    def frame_at(self, offset: int) -> bytes | str:
        """Data of the record that starts at `offset`, or the reason why there is none."""
        header = self.read(offset, shards.HEADER_BYTES)
        length = shards.parse_length(header)
        if length is None:
            return CUT if len(header) < shards.HEADER_BYTES else LENGTH_DAMAGED
        if offset + shards.HEADER_BYTES + length + shards.FOOTER_BYTES > self.size:
            return CUT
        data, footer = self.file.read(length), self.file.read(shards.FOOTER_BYTES)
        return data if shards.is_intact(data, footer) else DATA_DAMAGED

    def damage_at(self, offset: int) -> tuple[int, tuple[str, ...]]:
        """(end, image names) of the damage that starts at `offset`.

        It ends at the next header, or where its own header says if names on both sides tell that two records were hit.
        """
        end = self.next_header(offset + 1)
        own_length = shards.parse_length(self.read(offset, shards.HEADER_BYTES))
        own_end = offset + shards.HEADER_BYTES + (own_length or 0) + shards.FOOTER_BYTES
        if own_length is not None and own_end < end:
            names, others = self.names_between(offset, own_end), self.names_between(own_end, end)
            if names and others:
                return own_end, names
        return end, self.names_between(offset, end)

    def next_header(self, start: int) -> int:
        """Offset of the first header at or behind `start` whose checksum fits; `size` where there is none."""
        for offset in range(start, self.size, _WINDOW_BYTES):
            window = self.read(offset, _WINDOW_BYTES + shards.HEADER_BYTES - 1)
            for place in header_places(window):
                # Whether its data fit as well is asked later: a second damaged record is a loss of its own.
                if shards.parse_length(window[place : place + shards.HEADER_BYTES]) is not None:
                    return offset + int(place)
        return self.size

    def names_between(self, start: int, end: int) -> tuple[str, ...]:
        """Image names in a damaged stretch, each once, in order."""
        names: dict[str, None] = {}
        overlap = len(schema.IMAGE_NAME) + 6 + _NAME_BYTES
        for offset in range(start, end, _WINDOW_BYTES):
            names.update(dict.fromkeys(_names_in(self.read(offset, min(_WINDOW_BYTES + overlap, end - offset)))))
        return tuple(names)


def _names_in(content: bytes) -> Iterator[str]:
    for match in _NAME.finditer(content):
        feature, values, length = (group[0] for group in match.groups())
        name = content[match.end() : match.end() + length]
        # The three lengths hold each other, so that a damaged one does not cut a name short.
        if (feature, values) == (length + 4, length + 2) and 0 < length <= _NAME_BYTES and len(name) == length:
            text = name.decode(errors="replace")
            if text.isprintable() and "\N{REPLACEMENT CHARACTER}" not in text:
                yield text


def header_places(window: bytes) -> np.ndarray:
    """Where in `window` a length below 4 GiB with its checksum stands: int64[n], ascending."""
    content = np.frombuffer(window, np.uint8)
    if not content.any():  # a hole of 200 MB, where every place is plausible, took 19 s
        return np.empty(0, np.int64)
    plausible = np.ones(max(0, len(content) - shards.HEADER_BYTES + 1), bool)
    for place in range(_LOW_BYTES, _LENGTH_BYTES):
        plausible &= content[place : place + len(plausible)] == 0
    places = np.flatnonzero(plausible)
    shares, checksum_of_zero = _checksum_shares()
    checksum = np.full(len(places), checksum_of_zero, np.uint32)
    for place in range(_LOW_BYTES):
        checksum ^= shares[place, content[places + place]]
    masked = (checksum >> np.uint32(15) | checksum << np.uint32(17)) + np.uint32(0xA282EAD8)
    stored = content[places[:, None] + np.arange(_LENGTH_BYTES, shards.HEADER_BYTES)].view("<u4")[:, 0]
    return places[masked == stored]


@functools.cache
def _checksum_shares() -> tuple[np.ndarray, int]:
    """uint32[4, 256], the share of every low byte of a length in its CRC-32C, and that of the length 0.

    The CRC is linear: of the exclusive or of two lengths it is that of their CRCs and of the CRC of 0.
    """
    zero = google_crc32c.value(bytes(_LENGTH_BYTES))
    shares = [
        [google_crc32c.value((byte << 8 * place).to_bytes(_LENGTH_BYTES, "little")) ^ zero for byte in range(256)]
        for place in range(_LOW_BYTES)
    ]
    return np.array(shares, np.uint32), zero
