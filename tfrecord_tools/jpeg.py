"""JPEG: what the headers promise, and a decoder that gives back whole pictures alone.

When a scan ends early libjpeg paints the rest grey and warns, and hardly any program listens. Here every warning of
libjpeg-turbo is a reject. Of what it does not warn of, a progressive picture cut between two of its scans is found by
the scan headers. Damage that leaves a legal stream as long as before, as three of four single flipped bits do, can be
found by no decoder.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image

from melanoma_tf.errors import RejectError

START = b"\xff\xd8\xff"
MAX_SIDE = 65_500  # of libjpeg
MAX_PIXELS = 100_000_000  # four times the 24 million of 6000x4000
# A block of 8x8 pixels has one code at least, that of its mean, and a Huffman code has one bit at least.
MAX_PIXELS_PER_BYTE = 8 * 64
CMYK = 4  # components
STRIP_ROWS = 256  # converted from CMYK at once, as copies of a whole large picture add up

PROGRESSIVE, START_OF_SCAN, END_OF_IMAGE, JFIF, PROFILE = 0xC2, 0xDA, 0xD9, 0xE0, 0xE2
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # those three are tables
DECODED = (0xC0, 0xC1, PROGRESSIVE)
# After the end of an arithmetic-coded scan zeros are read without a warning, as encoders may leave them out.
ARITHMETIC = "an arithmetic-coded JPEG, of which nobody can tell whether it is whole"
UNSUPPORTED = {0xC3: "a lossless JPEG", 0xC9: ARITHMETIC, 0xCA: ARITHMETIC}
COEFFICIENTS = 64  # of a block
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")  # no stuffed FF 00, no restart marker, no fill byte FF

# Part of a message of libjpeg-turbo (jerror.h, turbojpeg.c) -> code; all else is undecodable.
CODES = {
    "premature end": "truncated",
    "found marker 0xd9 instead of": "truncated",
    "subsampling level": "unsupported",
}


@dataclass(frozen=True)
class Header:
    """Of a JPEG.

    Attributes: width, height in pixels as stored, before EXIF turns them; components: 1, 3 or `CMYK`; progressive:
    whether the coefficients come in several scans.
    """

    width: int
    height: int
    components: int
    progressive: bool


def read_header(jpeg: bytes) -> Header:
    """Reads the headers of picture and scans. What is too large is refused here, before anything is allocated.

    Raises: RejectError with code not_an_image, truncated, undecodable, unsupported or too_large.
    """
    if not jpeg.startswith(START):
        raise RejectError("not_an_image", "no JPEG by its first bytes")
    frames = ((marker, content) for marker, content, _ in _segments(jpeg) if marker in FRAME_MARKERS)
    marker, content = next(frames, (0, b""))
    if not marker:
        raise RejectError("truncated", "it ends before its frame header")
    header = _read_frame(marker, content)
    pixels = header.width * header.height
    if pixels > MAX_PIXELS:
        raise RejectError("too_large", f"{header.width}x{header.height} pixels; the limit is {MAX_PIXELS} in all")
    if pixels > MAX_PIXELS_PER_BYTE * len(jpeg):
        raise RejectError("truncated", f"{len(jpeg)} bytes cannot hold {header.width}x{header.height} pixels")
    _require_all_scans(jpeg, content[6::3][: header.components], header.progressive)
    return header


def _segments(jpeg: bytes) -> Iterator[tuple[int, bytes, int]]:
    """(marker, content, place of the marker) of all segments up to the end marker."""
    position = 2
    while found := _MARKER.search(jpeg, position):  # a scan lies between the header of it and the next marker
        marker = found[1][0]
        length = int.from_bytes(jpeg[found.end() : found.end() + 2], "big") if marker != END_OF_IMAGE else 0
        position = found.end() + length
        yield marker, jpeg[found.end() + 2 : position], found.start()
        if marker == END_OF_IMAGE:
            return


def _read_frame(marker: int, content: bytes) -> Header:
    if marker not in DECODED:
        raise RejectError("unsupported", UNSUPPORTED.get(marker, "a JPEG of a process without decoders"))
    try:
        precision, height, width, components = struct.unpack_from(">BHHB", content)
    except struct.error:
        raise RejectError("truncated", "it ends within its frame header") from None
    if precision != 8:
        raise RejectError("unsupported", f"a JPEG of {precision} bits a sample")
    if components not in (1, 3, CMYK):
        raise RejectError("unsupported", f"a JPEG of {components} components")
    if not width or not height:
        raise RejectError("undecodable", "its frame header gives no size")
    return Header(width, height, components, marker == PROGRESSIVE)


def _require_all_scans(jpeg: bytes, names: bytes, progressive: bool) -> None:
    """Every bit of every coefficient of the components, whose `names` have a byte each, must be in some scan."""
    lowest_bit = np.full((len(names), COEFFICIENTS), COEFFICIENTS)
    for marker, content, _ in _segments(jpeg):
        if marker != START_OF_SCAN or not content or len(content) != 2 * content[0] + 4:
            continue
        members = [names.find(name) for name in content[1:-3:2]]
        first, last, bits = content[-3:] if progressive else (0, COEFFICIENTS - 1, 0)
        lowest_bit[[member for member in members if member >= 0], first : last + 1] = bits & 15
        if not lowest_bit.any():
            return
    raise RejectError("truncated", "it ends before the last of its scans")


def decode(jpeg: bytes, header: Header, eighths: int = 8, *, spare_byte: bool = False) -> np.ndarray:
    """Decodes a whole JPEG, at M/8 of its size in the DCT domain; the last row and column may be covered in part.

    Args: header: of `read_header`; eighths: M, 1-8; spare_byte: give each pixel a fourth byte, which Pillow wants.
    Returns: uint8[ceil(H*M/8), ceil(W*M/8), 3] RGB, or [..., 4] RGBX except for CMYK.
    Raises: RejectError with code truncated, undecodable or unsupported.
    """
    options = {
        "colorspace": "CMYK" if header.components == CMYK else "RGBX" if spare_byte else "RGB",
        "min_width": -(-header.width * eighths // 8),
        "min_height": -(-header.height * eighths // 8),
        # Colour stored at half the width is repeated, not blended: the resize that follows blends enough.
        "fastupsample": eighths < 8,
    }
    try:
        pixels = simplejpeg.decode_jpeg(jpeg, strict=True, **options)
    except ValueError as error:
        pixels = _decode_mended(jpeg, header, options, str(error))
    return _rgb_of_cmyk(pixels) if header.components == CMYK else pixels


def _decode_mended(jpeg: bytes, header: Header, options: dict, message: str) -> np.ndarray:
    """Decodes again, as strictly, where the fault may lie beside the picture."""
    mended = _mended(jpeg, header.progressive)
    try:
        if mended != jpeg:
            return simplejpeg.decode_jpeg(mended, strict=True, **options)
    except ValueError as error:
        message = str(error)
    code = next((code for part, code in CODES.items() if part in message.lower()), "undecodable")
    raise RejectError(code, message.removeprefix("tjDecompressHeader3(): ")) from None


def _mended(jpeg: bytes, progressive: bool) -> bytes:
    """The same picture without what libjpeg warns of although it does no harm.

    That is an incomplete colour profile, another version of JFIF, parameters of progressive scans in a picture that
    has none, and zeros before the end marker. Of these all go, so that a scan whose rest was zeroed still ends early.
    """
    kept, position = [], 0
    for marker, content, start in _segments(jpeg):
        before, position = jpeg[position:start], start + 4 + len(content)
        kept.append(before.rstrip(b"\0") if marker == END_OF_IMAGE else before)
        if marker == END_OF_IMAGE:
            position = start
        elif marker != PROFILE:
            kept += [jpeg[start : start + 4], _mended_content(marker, content, progressive)]
    return b"".join([*kept, jpeg[position:]])


def _mended_content(marker: int, content: bytes, progressive: bool) -> bytes:
    if marker == JFIF and content.startswith(b"JFIF\0"):
        return content[:5] + b"\1" + content[6:]
    if marker == START_OF_SCAN and not progressive:
        return content[:-3] + bytes((0, COEFFICIENTS - 1, 0))
    return content


def _rgb_of_cmyk(pixels: np.ndarray) -> np.ndarray:
    """uint8[H,W,4], inverted as Adobe stores them -> uint8[H,W,3]."""
    rgb = np.empty((*pixels.shape[:2], 3), np.uint8)
    for top in range(0, len(pixels), STRIP_ROWS):
        strip = ~pixels[top : top + STRIP_ROWS]
        image = Image.frombuffer("CMYK", (strip.shape[1], strip.shape[0]), strip, "raw", "CMYK", 0, 1)
        rgb[top : top + STRIP_ROWS] = image.convert("RGB")
    return rgb


def encode(pixels: np.ndarray, quality: int, full_chroma: bool) -> bytes:
    """uint8[H,W,3] RGB -> baseline JPEG without metadata, 4:4:4 or 4:2:0, the same bytes for the same pixels.

    Raises: RejectError with code too_large for a side of more than `MAX_SIDE` pixels.
    """
    if max(pixels.shape) > MAX_SIDE:
        raise RejectError("too_large", f"a JPEG has at most {MAX_SIDE} pixels a side")
    return simplejpeg.encode_jpeg(pixels, quality, "RGB", "444" if full_chroma else "420", fastdct=False)
