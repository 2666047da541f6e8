"""One photograph: source bytes -> RGB -> geometry -> JPEG. Pure functions, the same bytes for the same input."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from melanoma_tf.errors import RejectError
from tfrecord_tools import jpeg, png

FITS = ("crop", "squash", "pad")
FULL_CHROMA_QUALITY = 90

# A large JPEG is decoded at M/8 scale in the DCT domain, the least M that leaves this many times the target. M below 3
# saves little and loses colour and detail; 7 costs more than 8, for which libjpeg-turbo has vector code. Small ones
# have their detail in few pixels and are quick to decode. Photographs of 6000x4000 rendered to 1024 (M = 4, 1.95 times
# the target) against full decode and area resize: PSNR 45-46 dB, and 0.1 dB farther from the original, where small
# ones had been enlarged; 38-46 dB, and 0.6 dB at most, where they had been tiled, as fine as texture can be.
SMALL_PIXELS = 2_000_000
EIGHTHS = (3, 4, 5, 6, 8)
MARGIN = 1.9
# The filter nearest to an area average over any distance between pixels; below this reduction the sharper bicubic is
# as near to it and nearer to the original, and it enlarges.
HAMMING_REDUCTION = 1.5

ORIENTATION = 0x0112  # of EXIF
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, 3),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}
TURNED = (5, 6, 7, 8)  # by 90 degrees


@dataclass(frozen=True)
class Rendering:
    """How a photograph becomes the image of a record.

    Attributes:
      size: side of the square in pixels; 0 keeps the original, a JPEG's bitstream untouched.
      fit: `crop` (short side to `size`, then the centre), `squash` (both sides to `size`) or `pad` (long side to
        `size`, black around).
      quality: of the JPEG, 1-100. From 90 on chroma is kept at full resolution (4:4:4): colour is evidence in these
        images, and 4:2:0 would throw away three quarters of it just after the resize has made every pixel count.
        Below 90 the user wants small files and gets 4:2:0.
      frame: the wanted frame of a DICOM file, from 0; None rejects a file of several.
      allow_burned_in: take DICOM files that are marked as having text burned into the picture.
    """

    size: int = 1024
    fit: str = "crop"
    quality: int = 95
    frame: int | None = None
    allow_burned_in: bool = False


@dataclass(frozen=True)
class RenderedImage:
    """`jpeg` bytes, and (width, height) in pixels of the original as a viewer shows it."""

    jpeg: bytes
    original_size: tuple[int, int]


def render(source: bytes, rendering: Rendering) -> RenderedImage:
    """Turns a DICOM, JPEG or PNG file into the JPEG of a record.

    EXIF orientation is applied (and EXIF dropped), but not inside of DICOM, whose viewers leave it alone. Small
    originals are scaled up; grey, CMYK, palette and alpha become RGB (transparent parts black, as padding is); colour
    profiles are ignored, as TensorFlow does. With `size=0` a JPEG that decodes to its last byte is copied bit for bit,
    its EXIF included; CMYK alone is encoded anew as RGB, as decoders differ about which end of it is black.

    Raises: RejectError with code empty, not_an_image, truncated, undecodable, unsupported, too_large or one of
      `tfrecord_tools.dicom`.
    """
    content, orientation = _photograph(source, rendering)
    if rendering.size == 0 and isinstance(content, bytes) and content.startswith(jpeg.START):
        header = jpeg.read_header(content)
        if header.components != jpeg.CMYK:
            jpeg.decode(content, header, 1)  # reads all of the scans as well, but computes few pixels
            return RenderedImage(content, _upright_size((header.width, header.height), orientation))
    pixels, size, eighths = _decoded(content, rendering)
    if rendering.size:
        pixels = _fitted(pixels, size, eighths, rendering)
    if orientation in UPRIGHT:  # now that it is small; all three fits are symmetric
        pixels = np.ascontiguousarray(UPRIGHT[orientation](pixels))
    if rendering.size and rendering.fit == "pad":
        pixels = _padded(pixels, rendering.size)
    encoded = jpeg.encode(pixels, rendering.quality, rendering.quality >= FULL_CHROMA_QUALITY)
    return RenderedImage(encoded, _upright_size(size, orientation))


def _photograph(source: bytes, rendering: Rendering) -> tuple[bytes | np.ndarray, int]:
    """JPEG or PNG bytes, or uint8[H,W,3] of a DICOM file that holds no JPEG; and the orientation."""
    if not source:
        raise RejectError("empty", "the file has no bytes")
    if source.startswith((jpeg.START, png.START)):
        return source, _orientation(source)
    from tfrecord_tools import dicom  # pydicom is an extra; folders of JPEG do without

    if not dicom.looks_like_dicom(source):
        raise RejectError("not_an_image", "neither DICOM nor JPEG nor PNG by its first bytes")
    photograph = dicom.read_photograph(source, frame=rendering.frame, allow_burned_in=rendering.allow_burned_in)
    content = photograph.pixels if photograph.jpeg is None else photograph.jpeg
    assert content is not None  # one of the two is there
    return content, 1


def _orientation(source: bytes) -> int:
    """Of EXIF, 1-8."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            orientation = open_image(source).getexif().get(ORIENTATION)
            return orientation if orientation in UPRIGHT else 1
    except Exception:  # damaged EXIF; if more is damaged, decoding will tell
        return 1


def _upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return (size[1], size[0]) if orientation in TURNED else size


def _decoded(content: bytes | np.ndarray, rendering: Rendering) -> tuple[np.ndarray, tuple[int, int], int]:
    """uint8[h,w,3] or [h,w,4] pixels, (width, height) of the original, and the scale of the pixels in eighths."""
    if isinstance(content, bytes) and content.startswith(jpeg.START):
        header = jpeg.read_header(content)
        size = header.width, header.height
        eighths = _eighths(size, rendering)
        return jpeg.decode(content, header, eighths, spare_byte=rendering.size > 0), size, eighths
    pixels = _decode_png(content) if isinstance(content, bytes) else content
    return pixels, (pixels.shape[1], pixels.shape[0]), 8


def _eighths(size: tuple[int, int], rendering: Rendering) -> int:
    """The scale at which to decode a JPEG of this size."""
    if rendering.size == 0 or size[0] * size[1] <= SMALL_PIXELS:
        return 8
    reduction = (max(size) if rendering.fit == "pad" else min(size)) / rendering.size
    return next((eighths for eighths in EIGHTHS if eighths / 8 * reduction >= MARGIN), 8)


def _fitted(pixels: np.ndarray, size: tuple[int, int], eighths: int, rendering: Rendering) -> np.ndarray:
    """The wanted region of the picture at its final size, but not padded yet, nor turned."""
    # The picture may end inside the last pixel.
    left, top, right, bottom = _region(size[0] * eighths / 8, size[1] * eighths / 8, rendering.fit)
    target = _target_size(size, rendering)
    reduction = min((right - left) / target[0], (bottom - top) / target[1])
    kind = Image.Resampling.HAMMING if reduction >= HAMMING_REDUCTION else Image.Resampling.BICUBIC
    if pixels.shape[2] == 4:  # taken as it lies: a copy of the pixels costs a sixth of the whole rendering
        image = Image.frombuffer("RGBX", (pixels.shape[1], pixels.shape[0]), pixels, "raw", "RGBX", 0, 1)
        return np.ascontiguousarray(np.asarray(image.resize(target, kind, (left, top, right, bottom)))[..., :3])
    x, y = int(left), int(top)
    image = Image.fromarray(pixels[y : math.ceil(bottom), x : math.ceil(right)])  # a copy, so of no more than needed
    return np.asarray(image.resize(target, kind, (left - x, top - y, right - x, bottom - y)))


def _target_size(original: tuple[int, int], rendering: Rendering) -> tuple[int, int]:
    if rendering.fit != "pad":
        return rendering.size, rendering.size
    width, height = (max(1, round(side * rendering.size / max(original))) for side in original)
    return width, height


def _region(width: float, height: float, fit: str) -> tuple[float, float, float, float]:
    if fit != "crop":
        return 0, 0, width, height
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _padded(pixels: np.ndarray, size: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    top, left = (size - height) // 2, (size - width) // 2
    square = np.zeros((size, size, 3), np.uint8)
    square[top : top + height, left : left + width] = pixels
    return square


def check_jpeg(source: bytes) -> tuple[int, int]:
    """(width, height) in pixels of a JPEG that decodes to its last byte.

    Raises: RejectError with code not_an_image, truncated, undecodable, unsupported or too_large.
    """
    header = jpeg.read_header(source)
    jpeg.decode(source, header, 1)
    return header.width, header.height


def open_image(source: bytes) -> Image.Image:
    """Opens JPEG or PNG bytes without decoding the pixels yet; what is damaged behind the header is not noticed.

    Raises: RejectError with code undecodable, truncated or too_large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures and odd EXIF
            image = Image.open(io.BytesIO(source), formats=("JPEG", "PNG"))
    except Exception as error:
        raise _as_reject(error) from error
    if image.width * image.height > jpeg.MAX_PIXELS:
        raise RejectError("too_large", f"{image.width}x{image.height} pixels; the limit is {jpeg.MAX_PIXELS} in all")
    return image


def _as_reject(error: Exception) -> RejectError:
    """Pillow raises nearly anything on damaged bytes (OSError, SyntaxError, ValueError, struct.error, ...)."""
    if isinstance(error, MemoryError | RejectError):
        raise error
    detail = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError):
        return RejectError("too_large", detail)
    if isinstance(error, Image.UnidentifiedImageError):
        return RejectError("undecodable", "the header is damaged")
    return RejectError("truncated" if "truncated" in detail.lower() else "undecodable", detail)


def _decode_png(source: bytes) -> np.ndarray:
    """uint8[H,W,3] RGB."""
    png.require_whole(source)
    try:
        return np.asarray(as_rgb(open_image(source)))
    except Exception as error:
        raise _as_reject(error) from error


def as_rgb(image: Image.Image) -> Image.Image:
    """Any mode as 8-bit RGB, transparent parts black. Colour profiles are ignored, as every TensorFlow decoder does."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        black = Image.new("RGB", image.size)
        black.paste(rgba, mask=rgba.getchannel("A"))
        return black
    return image.convert("RGB")
