"""PNG: whether a file holds all of the picture that its header promises (ISO/IEC 15948)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from melanoma_tf.errors import RejectError

START = b"\x89PNG\r\n\x1a\n"
MAX_PIXELS = 40_000_000  # 6000x4000 has 24 million; decoded whole, with 7 bytes a pixel at the peak
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # a pixel, by colour type
# First column and row, and step, of the passes of an interlaced picture.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
INFLATED_AT_ONCE = 1 << 20  # bytes


def require_whole(png: bytes) -> None:
    """Refuses a picture too large before anything is allocated, then checks the checksum of every chunk and inflates
    the picture, without keeping it: Pillow takes one with some of its rows missing.

    Raises: RejectError with code truncated, undecodable or too_large.
    """
    chunks = _chunks(png)
    kind, header = next(chunks, (b"", b""))
    if kind != b"IHDR" or len(header) != 13:
        raise RejectError("undecodable", "the PNG does not start with its header")
    expected = _inflated_bytes(header)
    inflater, inflated = zlib.decompressobj(), 0
    for kind, content in chunks:
        while kind == b"IDAT" and content and inflated < expected:
            try:
                inflated += len(inflater.decompress(content, INFLATED_AT_ONCE))
            except zlib.error:
                raise RejectError("undecodable", "the compressed pixels are damaged") from None
            content = inflater.unconsumed_tail
    if kind != b"IEND" or inflated < expected:
        raise RejectError("truncated", "the PNG ends before its picture does")


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, content) of all whole chunks."""
    position = len(START)
    while position + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, position)
        end = position + 8 + length
        if end + 4 > len(png):
            return
        kind, content = png[position + 4 : position + 8], png[position + 8 : end]
        if zlib.crc32(content, zlib.crc32(kind)) != struct.unpack_from(">I", png, end)[0]:
            raise RejectError("undecodable", "a checksum of the PNG is wrong")
        yield kind, content
        if kind == b"IEND":
            return
        position = end + 4


def _inflated_bytes(header: bytes) -> int:
    """Bytes of the picture before compression: each row has one more, that names its filter."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if not width or not height or colour not in SAMPLES:
        raise RejectError("undecodable", "the header of the PNG makes no sense")
    if width * height > MAX_PIXELS:
        raise RejectError("too_large", f"{width}x{height} pixels; the limit is {MAX_PIXELS} in a PNG")
    bits = depth * SAMPLES[colour]
    total = 0
    for left, top, step_x, step_y in PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // step_x), -(-(height - top) // step_y)
        total += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
    return total
