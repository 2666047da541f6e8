"""What a compressed frame says of itself: ITU-T T.81 (JPEG), T.87 (JPEG-LS) and T.800 (JPEG 2000) headers."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from melanoma_tf.errors import RejectError
from tfrecord_tools.dicom.frames import END_OF_CODESTREAM
from tfrecord_tools.dicom.header import Header
from tfrecord_tools.dicom.syntaxes import DCT, JPEG_2000, JPEG_LS, LOSSLESS

START_OF_JPEG, START_OF_JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"
SYCC = b"colr\x01\x00\x00" + (18).to_bytes(4, "big")  # of a JP2 file: luminance and colour differences
JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "
KIND_OF_FRAME_MARKER = {0xC0: DCT, 0xC1: DCT, 0xC2: DCT, 0xC3: LOSSLESS, 0xF7: JPEG_LS}
FRAME_MARKERS = frozenset([*range(0xC0, 0xD0), 0xF7]) - {0xC4, 0xC8, 0xCC}
APP0, APP14, SCAN = 0xE0, 0xEE, 0xDA
DECODING_MARKERS = FRAME_MARKERS | {0xC4, 0xDB, 0xDD}  # with tables and the restart interval
MARKERS_WITHOUT_BODY = frozenset([0x00, 0x01, *range(0xD0, 0xDA)])
ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64" + bytes(5)
CODING_STYLE, TILE_PART, DATA = 0x52, 0x90, 0x93  # of JPEG 2000
# After FF a packet never has a byte above 8F, so that markers can be found; SOP and EPH (91, 92) are allowed in it.
NO_PACKET = re.compile(rb"\xff[\x90\x93-\xff]")
SOP_OR_EPH = 0x06  # bits of the coding style


@dataclass(frozen=True)
class Stream:
    """The header of a codestream. Attributes:

    kind: one of DCT, LOSSLESS, JPEG_LS, JPEG_2000.
    codestream: the bytes without what follows the end marker.
    rows, columns: pixels. components: a pixel. precision: bits a sample.
    marked: JPEG: whether JFIF or Adobe say what the colours are.
    ycbcr: JPEG: whether markers, component names or sampling say luminance and colour differences (True) or red,
      green and blue (False); None where nothing speaks. JPEG 2000: False where it transforms the colours itself.
    """

    kind: str
    codestream: bytes
    rows: int
    columns: int
    components: int
    precision: int
    marked: bool = False
    ycbcr: bool | None = None


@dataclass(frozen=True)
class Tiles:
    """Of JPEG 2000: offset of the first tile-part, number of tiles, whether markers may stand among the packets."""

    position: int
    count: int
    markers_in_packets: bool


def read_stream(codestream: bytes, kind: str, header: Header) -> Stream:
    """Reads the header of a codestream and checks that it agrees with the file's and that its end is there.

    Args:
      kind: what the transfer syntax stores, one of DCT, LOSSLESS, JPEG_LS and JPEG_2000.

    Raises: RejectError with code truncated, undecodable, unsupported or contradiction.
    """
    try:
        if codestream.startswith(START_OF_JPEG):
            stream = _read_jpeg(codestream)
            _require_agreement(stream, kind, header)
            return stream
        if codestream.startswith((START_OF_JPEG_2000, JP2_SIGNATURE)):
            stream, tiles = _read_jpeg_2000(codestream)
            _require_agreement(stream, kind, header)
            _require_tiles(stream.codestream, tiles)
            return stream
    except (struct.error, IndexError):
        raise RejectError("truncated", "the compressed picture ends within its header") from None
    raise RejectError("undecodable", "the compressed picture has no start marker")


def _read_jpeg(codestream: bytes) -> Stream:
    segments, scan = _segments(codestream, 2, SCAN)
    frames = [(marker, body) for marker, body in segments if marker in FRAME_MARKERS]
    if len(frames) != 1 or frames[0][0] not in KIND_OF_FRAME_MARKER:
        raise RejectError("unsupported", "a JPEG that is neither Huffman-coded nor JPEG-LS")
    end = codestream.rfind(END_OF_CODESTREAM)
    if end < scan:  # a thumbnail's end comes before the scan
        raise RejectError("truncated", "the compressed picture has no end marker")
    kind, frame = KIND_OF_FRAME_MARKER[frames[0][0]], frames[0][1]
    precision, rows, columns, components = struct.unpack_from(">BHHB", frame)
    if kind == DCT and precision not in (8, 12):
        raise RejectError("undecodable", "the header of the compressed picture is damaged")
    names = frame[6 : 6 + 3 * components : 3]
    if kind != DCT:  # JFIF is a format of DCT; in lossless streams its marker comes from writers that store RGB
        segments = [segment for segment in segments if segment[0] != APP0]
    marked, ycbcr = _jpeg_colours(segments, names, frame[7 : 7 + 3 * components : 3])
    return Stream(kind, codestream[: end + 2], rows, columns, components, precision, marked=marked, ycbcr=ycbcr)


def _jpeg_colours(segments: list[tuple[int, bytes]], names: bytes, sampling: bytes) -> tuple[bool, bool | None]:
    """`Stream.marked` and `Stream.ycbcr` of a JPEG with these component names and sampling factors."""
    if len(names) != 3:
        return False, None
    if any(marker == APP0 and body.startswith(b"JFIF\x00") for marker, body in segments):
        return True, True
    for marker, body in segments:
        if marker == APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            return True, body[11] != 0
    if names in (b"RGB", b"rgb"):
        return names == b"RGB", False
    return False, True if len(set(sampling)) > 1 else None  # nobody halves red or blue


def _segments(codestream: bytes, position: int, last: int) -> tuple[list[tuple[int, bytes]], int]:
    """((marker, body) of every segment from `position` to the marker `last`, offset of that one)."""
    segments: list[tuple[int, bytes]] = []
    while True:
        marker = codestream[position + 1]
        if codestream[position] != 0xFF or marker in MARKERS_WITHOUT_BODY:
            raise RejectError("undecodable", "a header within the compressed picture is damaged")
        if marker == last:
            return segments, position
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        (length,) = struct.unpack_from(">H", codestream, position + 2)
        segments.append((marker, codestream[position + 4 : position + 2 + length]))
        position += 2 + length


def _read_jpeg_2000(codestream: bytes) -> tuple[Stream, Tiles]:
    start = codestream.find(START_OF_JPEG_2000)  # some writers leave the boxes of a JP2 file around it
    if start < 0:
        raise RejectError("undecodable", "a JP2 file without a codestream")
    segments, position = _segments(codestream, start + 2, TILE_PART)
    end = codestream.rfind(END_OF_CODESTREAM)
    if end < position:
        raise RejectError("truncated", "the compressed picture has no end marker")
    size = segments[0][1]  # the first by its start
    style = next((body for marker, body in segments if marker == CODING_STYLE), b"")
    right, bottom, left, top, width, height, tiles_left, tiles_top, components = struct.unpack_from(">8LH", size, 2)
    depth = size[36]
    if not components or not width or not height or len(style) < 5:
        raise RejectError("undecodable", "the header of the compressed picture is damaged")
    # What comes out as RGB: colours transformed by JPEG 2000 itself, and, of openjpeg, halved or named sYCC ones.
    halved = components == 3 and len(size) >= 45 and size[40] != 1
    stream = Stream(
        JPEG_2000, codestream[: end + 2], bottom - top, right - left, components, (depth & 0x7F) + 1,
        ycbcr=False if style[4] or halved or SYCC in codestream[:start] else None,
    )  # fmt: skip
    count = -(-(right - tiles_left) // width) * -(-(bottom - tiles_top) // height)
    return stream, Tiles(position, count, bool(style[0] & SOP_OR_EPH))


def _require_tiles(codestream: bytes, tiles: Tiles) -> None:
    """Every tile must have a part, and the last part must end where the end marker stands."""
    position, end = tiles.position, len(codestream) - len(END_OF_CODESTREAM)
    seen = set()
    while position < end:
        marker, _, tile, length = struct.unpack_from(">HHHL", codestream, position)
        if marker != 0xFF00 | TILE_PART:
            raise RejectError("undecodable", "the compressed picture is damaged between its tiles")
        stop = position + length if length else end  # the last part may leave its length open
        if stop > end or stop < position + 14:
            raise RejectError("truncated", "a tile of the compressed picture is not whole")
        _, data = _segments(codestream, position + 12, DATA)
        if not tiles.markers_in_packets and NO_PACKET.search(codestream, data + 2, stop):
            raise RejectError("undecodable", "a tile of the compressed picture is damaged")
        seen.add(tile)
        position = stop
    if len(seen) != tiles.count:
        raise RejectError("truncated", "tiles of the compressed picture are missing")


def _require_agreement(stream: Stream, kind: str, header: Header) -> None:
    """Raises RejectError with code contradiction where the header or the transfer syntax's `kind` say otherwise."""
    if stream.kind != kind:
        raise RejectError("contradiction", f"the transfer syntax is for {kind}, the picture is {stream.kind}")
    if (stream.rows, stream.columns) != (header.rows, header.columns):
        raise RejectError("contradiction", "the compressed picture has another size than the file says")
    if stream.components != header.samples:
        raise RejectError("contradiction", "the compressed picture has another number of samples than the file says")
    if stream.precision > header.bits_allocated:
        raise RejectError("contradiction", "the compressed picture has more bits a sample than the file says")
    if header.photometric in ("YBR_ICT", "YBR_RCT") and kind != JPEG_2000:
        raise RejectError("contradiction", "the photometric interpretation is one of JPEG 2000 alone")


def require_plain_colours(header: Header) -> None:
    """Raises RejectError where uncompressed or run-length coded pixels cannot have the photometric interpretation."""
    if header.photometric in ("YBR_ICT", "YBR_RCT"):
        raise RejectError("contradiction", "the photometric interpretation is one of JPEG 2000 alone")
    if header.photometric.startswith("YBR_PARTIAL"):
        raise RejectError("unsupported", "colour differences of the range of television, a retired interpretation")


def is_ycbcr(stream: Stream, header: Header) -> bool:
    """Whether three decoded components are luminance and colour differences.

    The stream is believed first: JFIF and Adobe markers, component names, sampling. Where it says nothing the
    photometric interpretation decides. RGB on a JFIF stream is common and means that some program names what a
    decoder gives, not what is stored.
    """
    if stream.components != 3:
        return False
    return header.photometric.startswith(("YBR_FULL", "YBR_PARTIAL")) if stream.ycbcr is None else stream.ycbcr


def mark_colours(stream: Stream, header: Header) -> bytes:
    """The JPEG for decoders that know nothing of DICOM: RGB that nothing marks gets an Adobe marker that does.

    libjpeg takes three unmarked components for luminance and colour differences unless they are called R, G and B.
    """
    if stream.marked or stream.components != 3 or is_ycbcr(stream, header):
        return stream.codestream
    return START_OF_JPEG + ADOBE_RGB + stream.codestream[2:]


def without_colours(stream: Stream) -> bytes:
    """The JPEG with what decodes it alone and marked as RGB, so that a decoder gives its components as they are."""
    segments, scan = _segments(stream.codestream, 2, SCAN)
    kept = [
        struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
        for marker, body in segments
        if marker in DECODING_MARKERS
    ]
    return b"".join([START_OF_JPEG, ADOBE_RGB, *kept, stream.codestream[scan:]])
