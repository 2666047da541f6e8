"""The bytes of one frame: a piece of the uncompressed pixels, or the codestream among encapsulated ones (PS3.5 A.4)."""

from __future__ import annotations

import itertools
import struct

import numpy as np

from melanoma_tf.errors import RejectError
from tfrecord_tools.dicom.elements import ITEM, SEQUENCE_END, Structure
from tfrecord_tools.dicom.header import Header, value_of
from tfrecord_tools.dicom.syntaxes import EXPLICIT_BIG, RLE_LOSSLESS

END_OF_CODESTREAM, ITEM_TAG = b"\xff\xd9", b"\xfe\xff\x00\xe0"
ITEM_HEAD = struct.Struct("<HHL")  # encapsulated pixels are little endian


def encapsulated_frame(structure: Structure, header: Header) -> bytes:
    """The codestream of the wanted frame; the others are not touched.

    Frames are told apart by the extended offset table, the basic one, their being as many as fragments, or the end
    markers of JPEG, JPEG-LS and JPEG 2000, in this order.

    Raises: RejectError with code contradiction or no_pixels.
    """
    if not structure.source.startswith(ITEM_TAG, header.pixel_data.value):
        raise RejectError("contradiction", "the transfer syntax is a compressed one, the pixels are not encapsulated")
    table, fragments = _items(structure, header)
    if not fragments:
        raise RejectError("no_pixels", "the encapsulated pixel data has no fragment")
    bounds = _frame_bounds(structure, header, table, fragments)
    if len(bounds) != header.frames:
        raise RejectError("contradiction", "the number of frames is another than that of the encapsulated ones")
    first, stop = bounds[header.frame]
    pieces = [structure.source[start:end] for start, end in fragments[first:stop]]
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _items(structure: Structure, header: Header) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
    """(basic offset table, (start, end) in the source of every fragment)."""
    items = []
    position = header.pixel_data.value
    while position + ITEM_HEAD.size <= header.pixel_data.end:  # against the standard some writers give the length
        group, number, length = ITEM_HEAD.unpack_from(structure.source, position)
        position += ITEM_HEAD.size
        if group << 16 | number == SEQUENCE_END:
            break
        if group << 16 | number != ITEM or position + length > header.pixel_data.end:
            raise RejectError("contradiction", "the encapsulated pixel data holds something else than fragments")
        items.append((position, position + length))
        position += length
    if not items:
        return (), []
    start, end = items[0]
    count = (end - start) // 4
    return struct.unpack_from(f"<{count}L", structure.source, start), items[1:]


def _frame_bounds(
    structure: Structure, header: Header, table: tuple[int, ...], fragments: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """(first fragment, fragment after the last one) of every frame."""
    extended = value_of(header.dataset, "ExtendedOffsetTable")
    if isinstance(extended, bytes) and extended:
        table = struct.unpack(f"<{len(extended) // 8}Q", extended[: len(extended) // 8 * 8])
    if table:
        firsts = _fragments_at(table, fragments)
    elif len(fragments) == header.frames:
        firsts = list(range(header.frames))
    else:
        ends = [
            number
            for number, (start, end) in enumerate(fragments)
            if structure.syntax != RLE_LOSSLESS  # which has no end marker
            and END_OF_CODESTREAM in structure.source[max(start, end - 10) : end]  # padding may follow
        ]
        firsts = [0, *(number + 1 for number in ends if number + 1 < len(fragments))]
    return list(zip(firsts, [*firsts[1:], len(fragments)]))


def _fragments_at(table: tuple[int, ...], fragments: list[tuple[int, int]]) -> list[int]:
    """The number of the fragment that starts at each offset, counted from the first fragment's item."""
    origin = fragments[0][0]
    numbers = {start - origin: number for number, (start, _) in enumerate(fragments)}
    firsts = [numbers.get(offset, -1) for offset in table]
    if firsts[0] != 0 or any(first >= second for first, second in itertools.pairwise(firsts)):
        raise RejectError("contradiction", "the offset table points to where no frame starts")
    return firsts


def native_frame(structure: Structure, header: Header) -> np.ndarray:
    """The samples of an uncompressed frame as they lie in the file, as a view of it where that can be.

    Returns: uint8 or uint16 [rows, columns] or [rows, columns, 3], colour differences of YBR_FULL_422 doubled.

    Raises: RejectError with code truncated or contradiction when there are fewer or more bytes than the header says.
    """
    if header.pixel_data.undefined_length:
        raise RejectError("contradiction", "the transfer syntax is a plain one, the pixels are encapsulated")
    subsampled = header.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422")
    if subsampled and (header.columns % 2 or header.planar or header.bits_allocated != 8):
        raise RejectError("contradiction", "these pixels cannot have halved colour differences")
    samples = header.rows * header.columns * (2 if subsampled else header.samples)
    frame_bytes = samples * header.bits_allocated // 8
    _require_length(structure, header, frame_bytes * header.frames, frame_bytes)
    start = header.pixel_data.value + header.frame * frame_bytes
    flat = _samples(structure, header, start, samples)
    if subsampled:
        return _undo_subsampling(flat.reshape(header.rows, header.columns // 2, 4))
    if header.samples == 1:
        return flat.reshape(header.rows, header.columns)
    if header.planar:
        return flat.reshape(header.samples, header.rows, header.columns).transpose(1, 2, 0)
    return flat.reshape(header.rows, header.columns, header.samples)


def _require_length(structure: Structure, header: Header, expected: int, frame_bytes: int) -> None:
    """The bytes must be as many as the picture needs; zeros may fill up after them, but no whole frame of them."""
    surplus = header.pixel_data.end - header.pixel_data.value - expected
    if surplus < 0:
        raise RejectError("truncated", "fewer bytes of pixels than rows, columns and frames need")
    padding = structure.source[header.pixel_data.end - surplus : header.pixel_data.end] if surplus else b""
    if surplus > 1 and (surplus >= frame_bytes or padding.strip(b"\x00")):
        raise RejectError("contradiction", "more bytes of pixels than rows, columns and frames need")


def _samples(structure: Structure, header: Header, start: int, count: int) -> np.ndarray:
    source = structure.source
    if header.bits_allocated == 16:
        return np.frombuffer(source, structure.layout.order + "u2", count, start)
    if structure.syntax != EXPLICIT_BIG or header.pixel_data.value_representation != b"OW":
        return np.frombuffer(source, np.uint8, count, start)
    if (header.pixel_data.end - header.pixel_data.value) % 2:
        raise RejectError("contradiction", "words of pixels that end in half a word")
    # Two 8-bit samples make a big-endian word, so every pair is swapped; a frame may start in the middle of one.
    first = start - header.pixel_data.value
    even = header.pixel_data.value + first - first % 2
    pairs = np.frombuffer(source, ">u2", (count + first % 2 + 1) // 2, even)
    return pairs.astype("<u2").view(np.uint8)[first % 2 : first % 2 + count]


def _undo_subsampling(pairs: np.ndarray) -> np.ndarray:
    """uint8[rows, columns, 3] of [rows, columns / 2, 4], where two pixels share their colour (PS3.3 C.7.6.3.1.2)."""
    rows, half, _ = pairs.shape
    pixels = np.empty((rows, half, 2, 3), np.uint8)
    pixels[..., 0] = pairs[..., :2]
    pixels[..., 1:] = pairs[:, :, None, 2:]
    return pixels.reshape(rows, 2 * half, 3)
