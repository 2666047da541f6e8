"""Where the elements of a DICOM file lie (PS3.5 section 7, PS3.10 section 7).

pydicom takes a file that is cut, keeps what it got and recurses into nested sequences. So the structure is walked here
first: no length may reach past the end of the file and no depth uses up the stack. No value is looked at but the
transfer syntax.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from melanoma_tf.errors import RejectError
from tfrecord_tools.dicom.syntaxes import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE

PREFIX, PREFIX_AT = b"DICM", 128
TRANSFER_SYNTAX, PIXEL_DATA = 0x00020010, 0x7FE00010
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED_LENGTH = 0xFFFFFFFF
FOUR_BYTE_LENGTHS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())

MAX_DEPTH = 64  # of nested sequences; structured reports reach about 10
MAX_ELEMENTS = 1_000_000
MAX_INFLATED_BYTES = 300_000_000  # as much as a source may have; 6000x4000 with 16 bits a sample takes 144 MB
INFLATE_STEP = 1 << 20


@dataclass(frozen=True)
class Layout:
    """How elements are written: with or without their value representation, and the byte order as `struct` has it."""

    explicit: bool
    order: str


@dataclass(frozen=True)
class Element:
    """Offsets of an element: its tag, its value and its end, which after an undefined length is the delimiter's.

    `value_representation` is empty where the file does not give it.
    """

    value_representation: bytes
    start: int
    value: int
    end: int
    undefined_length: bool


@dataclass(frozen=True)
class Structure:
    """A whole file. Attributes:

    source: its bytes; of a deflated data set those that came out.
    syntax: UID of the transfer syntax; without meta information the plain one that fits.
    layout: of the data set.
    elements: tag -> element, top level alone.
    """

    source: bytes
    syntax: str
    layout: Layout
    elements: dict[int, Element]


def looks_like_dicom(source: bytes) -> bool:
    """Whether the first bytes are those of DICOM: the prefix, or for want of a preamble an element of group 2 or 8."""
    return source[PREFIX_AT : PREFIX_AT + 4] == PREFIX or _is_first_element(source, 0)


def _is_first_element(source: bytes, position: int) -> bool:
    """Whether group length, character set or the like stand here; their element numbers are below 0x100."""
    group = source[position : position + 2]
    number = source[position + 2 : position + 4]
    if group in (b"\x02\x00", b"\x08\x00"):
        return len(number) == 2 and number[1] == 0
    return group == b"\x00\x08" and number[:1] == b"\x00"


def read_structure(source: bytes) -> Structure:
    """Walks a whole file.

    Raises: RejectError with code not_dicom, truncated, too_large or undecodable.
    """
    start = PREFIX_AT + 4 if source[PREFIX_AT : PREFIX_AT + 4] == PREFIX else 0
    if not _is_first_element(source, start) and (start == 0 or len(source) > start):
        raise RejectError("not_dicom", "neither a DICOM prefix nor a first element at the start of the file")
    position, syntax = _read_meta(source, start)
    if syntax == DEFLATED:
        source, position = _inflate(source, position), 0
    layout = _layout_at(source, position, syntax)
    elements = _Walk(source, layout).top_level(position)
    return Structure(source, syntax or _plain_syntax(layout), layout, elements)


def _read_meta(source: bytes, position: int) -> tuple[int, str]:
    """(offset of the data set, UID of the transfer syntax or "")."""
    walk = _Walk(source, Layout(explicit=True, order="<"))
    syntax = ""
    while source[position : position + 2] == b"\x02\x00":
        tag, element = walk.element(position)
        if tag == TRANSFER_SYNTAX:
            syntax = source[element.value : element.end].strip(b"\x00 ").decode("ascii", "replace")
        position = element.end
    return position, syntax


def _layout_at(source: bytes, position: int, syntax: str) -> Layout:
    """The layout of the data set: what stands there is believed before what the meta information promises."""
    explicit = _is_value_representation(source[position + 4 : position + 6])
    if syntax:
        big = syntax == EXPLICIT_BIG
    else:
        big = source[position : position + 1] == b"\x00"  # group 8 is 00 08 there
    return Layout(explicit, ">" if big else "<")


def _plain_syntax(layout: Layout) -> str:
    if layout.order == ">":
        return EXPLICIT_BIG
    return EXPLICIT_LITTLE if layout.explicit else IMPLICIT_LITTLE


def _is_value_representation(two_bytes: bytes) -> bool:
    return len(two_bytes) == 2 and two_bytes.isalpha() and two_bytes.isupper()


def _truncated() -> RejectError:
    return RejectError("truncated", "the file ends within an element")


class _Walk:
    """A walk over the elements of `source`, which counts them."""

    def __init__(self, source: bytes, layout: Layout):
        self.source = source
        self.layout = layout
        self.seen = 0

    def top_level(self, position: int) -> dict[int, Element]:
        """Tag -> element from `position` to the end of the file."""
        elements: dict[int, Element] = {}
        while position < len(self.source):
            if PIXEL_DATA in elements and self._only_zeros_follow(position):
                break  # some writers fill the last block of the disk
            tag, element = self.element(position)
            elements.setdefault(tag, element)
            position = element.end
        return elements

    def _only_zeros_follow(self, position: int) -> bool:
        return not self.source[position : position + 8].strip(b"\x00") and not self.source[position:].strip(b"\x00")

    def element(self, position: int) -> tuple[int, Element]:
        """(tag, element) at an offset."""
        tag, representation, length, value = self._head(position, self.layout)
        if length == UNDEFINED_LENGTH:
            end = self._end_of_sequence(value)
        else:
            end = self._within(value + length)
        return tag, Element(representation, position, value, end, length == UNDEFINED_LENGTH)

    def _within(self, position: int) -> int:
        if position > len(self.source):
            raise _truncated()
        return position

    def _head(self, position: int, layout: Layout) -> tuple[int, bytes, int, int]:
        """(tag, value representation, length of the value, offset of the value)."""
        self.seen += 1
        if self.seen > MAX_ELEMENTS:
            raise RejectError("not_dicom", f"more than {MAX_ELEMENTS} elements, which no photograph has")
        value = self._within(position + 8)
        group, number = struct.unpack_from(layout.order + "HH", self.source, position)
        representation = self.source[position + 4 : position + 6]
        if not layout.explicit or group == 0xFFFE or not _is_value_representation(representation):
            # Some writers fall into implicit elements in the middle of explicit ones.
            (length,) = struct.unpack_from(layout.order + "L", self.source, position + 4)
            return group << 16 | number, b"", length, value
        if representation not in FOUR_BYTE_LENGTHS:
            (length,) = struct.unpack_from(layout.order + "H", self.source, position + 6)
            return group << 16 | number, representation, length, value
        value = self._within(position + 12)
        (length,) = struct.unpack_from(layout.order + "L", self.source, position + 8)
        return group << 16 | number, representation, length, value

    def _end_of_sequence(self, position: int) -> int:
        """The offset after the delimiter of a sequence, or of encapsulated pixels, whose first item is here."""
        open_levels: list[Layout | None] = [None]  # None is a sequence, a layout is an item of one
        while open_levels:
            level = open_levels[-1]
            tag, _, length, value = self._head(position, level or self.layout)
            if tag == (SEQUENCE_END if level is None else ITEM_END):
                open_levels.pop()
                position = value
            elif level is None and tag != ITEM:
                raise RejectError("undecodable", "a sequence holds something that is no item")
            elif length != UNDEFINED_LENGTH:
                position = self._within(value + length)
            else:
                open_levels.append(None if level is not None else self._layout_of_item(value))
                position = value
            if len(open_levels) > 2 * MAX_DEPTH:
                raise RejectError("not_dicom", f"sequences nested deeper than {MAX_DEPTH}")
        return position

    def _layout_of_item(self, position: int) -> Layout:
        """Items may be written without value representations where the rest has them (PS3.5 6.2.2, note 2)."""
        explicit = self.layout.explicit and _is_value_representation(self.source[position + 4 : position + 6])
        return Layout(explicit, self.layout.order)


def _inflate(source: bytes, position: int) -> bytes:
    """What a deflated data set holds. It is measured before memory is taken for it."""
    deflated = memoryview(source)[position:]
    try:
        size = _inflated_size(deflated)
        return zlib.decompress(deflated, -zlib.MAX_WBITS, max(size, 1))
    except zlib.error:
        raise RejectError("undecodable", "the deflated data set is damaged") from None


def _inflated_size(deflated: memoryview) -> int:
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    for start in range(0, len(deflated), INFLATE_STEP):
        waiting: bytes | memoryview = deflated[start : start + INFLATE_STEP]
        piece = None
        while waiting or piece:
            piece = decompressor.decompress(waiting, INFLATE_STEP)
            waiting = decompressor.unconsumed_tail
            size += len(piece)
            if size > MAX_INFLATED_BYTES:
                raise RejectError("too_large", f"the deflated data set holds more than {MAX_INFLATED_BYTES} bytes")
        if decompressor.eof:
            return size
    raise RejectError("truncated", "the deflated data set has no end")
