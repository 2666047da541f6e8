"""One photograph: source bytes -> RGB -> geometry -> JPEG. Pure functions, the same bytes for the same input."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from melanoma_tf.errors import RejectError

FITS = ("crop", "squash", "pad")
FULL_CHROMA_QUALITY = 90

# A JPEG is decoded at 1/2, 1/4 or 1/8 as long as that leaves this many times the target: libjpeg's scaled block is an
# area average for a fraction of the price. Against a full decode of a 24-megapixel image with texture near the finest
# that the target can show, 1.5 costs 0-1.4 dB of PSNR and a margin of 1 up to 4 dB. That is for light and dark: where
# the source keeps colour at half the width (4:2:2, as the challenge's DICOM), colour alone that alternates as finely,
# an extreme drawn texture, lost up to 6 dB.
DRAFT_MARGIN = 1.5
_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"


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
    """

    size: int = 1024
    fit: str = "crop"
    quality: int = 95


@dataclass(frozen=True)
class RenderedImage:
    """`jpeg` bytes, and (width, height) in pixels of the original as a viewer shows it."""

    jpeg: bytes
    original_size: tuple[int, int]


def render(source: bytes, rendering: Rendering) -> RenderedImage:
    """Turns a DICOM, JPEG or PNG file into the JPEG of a record.

    EXIF orientation is applied (and EXIF dropped), small originals are scaled up, grey, CMYK, palette and alpha become
    RGB (transparent parts black, as padding is). With `size=0` a JPEG is copied bit for bit, its EXIF included.

    Raises: RejectError with code empty, not_an_image, truncated, undecodable, too_large or one of `melanoma_tf.dicom`.
    """
    content = _photograph(source)
    if rendering.size == 0 and isinstance(content, bytes) and content.startswith(_JPEG_START):
        return RenderedImage(content, check_jpeg(content))
    image = Image.fromarray(content) if isinstance(content, np.ndarray) else open_image(content)
    try:
        original_size = _upright_size(image)
        fitted = fit_image(image, rendering)
    except Exception as error:
        raise _as_reject(error) from error
    return RenderedImage(encode_jpeg(fitted, rendering.quality), original_size)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    turned = image.getexif().get(0x0112) in (5, 6, 7, 8)  # the orientations that turn by 90 degrees
    width, height = image.size
    return (height, width) if turned else (width, height)


def _photograph(source: bytes) -> bytes | np.ndarray:
    """JPEG or PNG bytes, or uint8[H,W,3] pixels of a DICOM file that holds no JPEG."""
    if not source:
        raise RejectError("empty", "the file has no bytes")
    if source.startswith((_JPEG_START, _PNG_START)):
        return source
    if source[128:132] != b"DICM":
        raise RejectError("not_an_image", "neither DICOM nor JPEG nor PNG by its first bytes")
    from melanoma_tf import dicom  # pydicom is an extra; folders of JPEG do without

    photograph = dicom.read_photograph(source)
    if photograph.jpeg is not None:
        return photograph.jpeg
    assert photograph.pixels is not None  # DicomImage holds one of the two
    return photograph.pixels


def open_image(source: bytes) -> Image.Image:
    """Opens JPEG or PNG bytes without decoding the pixels yet. Raises RejectError."""
    if source.startswith(_JPEG_START) and source.rfind(_JPEG_END) < source.rfind(_JPEG_SCAN):
        # Pillow itself takes a file that lacks its last bytes; EXIF thumbnails end before the scan starts.
        raise RejectError("truncated", "no end-of-image marker after the JPEG scan")
    try:
        return Image.open(io.BytesIO(source), formats=("JPEG", "PNG"))
    except Exception as error:
        raise _as_reject(error) from error


def _as_reject(error: Exception) -> RejectError:
    """Pillow raises nearly anything on damaged bytes (OSError, SyntaxError, ValueError, struct.error, ...)."""
    if isinstance(error, MemoryError | RejectError):
        raise error
    detail = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError):
        return RejectError("too_large", detail)
    if isinstance(error, Image.UnidentifiedImageError):
        return RejectError("undecodable", "the header is damaged")
    return RejectError("truncated" if "truncated" in detail else "undecodable", detail)


def check_jpeg(jpeg: bytes) -> tuple[int, int]:
    """(width, height) in pixels of a JPEG whose every byte decodes. Raises RejectError if it is none or cut."""
    if not jpeg.startswith(_JPEG_START):
        raise RejectError("not_an_image", "no JPEG by its first bytes")
    image = open_image(jpeg)
    size = image.size
    try:
        image.draft(None, (1, 1))  # at 1/8 all entropy-coded bytes are still read, but few pixels are computed
        image.load()
    except Exception as error:
        raise _as_reject(error) from error
    return size


def fit_image(image: Image.Image, rendering: Rendering) -> Image.Image:
    """An opened image as upright RGB: [size, size] pixels, or its own size for `size=0`."""
    size, fit = rendering.size, rendering.fit
    if size == 0:
        return ImageOps.exif_transpose(as_rgb(image))
    target = _target_size(image.size, fit, size)
    # The box is the original's edge in scaled pixels, which may fall inside a pixel.
    drafted = image.draft(None, _drafted_size(image.size, fit, size))
    width, height = drafted[1][2:] if drafted else image.size
    # Lanczos keeps the most detail of the few pixels that are left. The reducing gap spares time on large PNG and raw
    # pixels (box average down to 3 times the target first); after a draft the factor is below 3 already.
    fitted = as_rgb(image).resize(target, Image.Resampling.LANCZOS, box=_region(width, height, fit), reducing_gap=3.0)
    fitted = ImageOps.exif_transpose(fitted)  # after the resize, on few pixels; all three fits are symmetric
    return ImageOps.pad(fitted, (size, size)) if fit == "pad" else fitted


def _target_size(original: tuple[int, int], fit: str, size: int) -> tuple[int, int]:
    if fit != "pad":
        return size, size
    width, height = (max(1, round(side * size / max(original))) for side in original)
    return width, height


def _drafted_size(original: tuple[int, int], fit: str, size: int) -> tuple[int, int]:
    """The least size at which to decode the whole image, `DRAFT_MARGIN` times what the target needs."""
    if fit == "squash":
        scales = (size / original[0], size / original[1])
    else:
        scales = (size / (min(original) if fit == "crop" else max(original)),) * 2
    width, height = (math.ceil(DRAFT_MARGIN * side * scale) for side, scale in zip(original, scales))
    return width, height


def _region(width: float, height: float, fit: str) -> tuple[float, float, float, float]:
    if fit != "crop":
        return 0, 0, width, height
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def as_rgb(image: Image.Image) -> Image.Image:
    """Any mode as 8-bit RGB; EXIF stays attached. ICC profiles are ignored, as every TensorFlow decoder does."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        grey = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
        grey.info = {key: value for key, value in image.info.items() if key != "transparency"}
        return grey.convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        black = Image.new("RGB", image.size)
        black.paste(rgba, mask=rgba.getchannel("A"))
        black.info = {key: value for key, value in image.info.items() if key != "transparency"}
        return black
    return image.convert("RGB")


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """Baseline JPEG without metadata; see `Rendering.quality` for the chroma."""
    image.info = {}  # Pillow would carry comments and profiles over
    buffer = io.BytesIO()
    subsampling = "4:4:4" if quality >= FULL_CHROMA_QUALITY else "4:2:0"
    image.save(buffer, "JPEG", quality=quality, subsampling=subsampling, optimize=True)
    return buffer.getvalue()
