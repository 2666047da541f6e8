"""What a DICOM file says of its picture. Of all elements pydicom is given those alone that decode or show pixels."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from melanoma_tf.dicom import import_pydicom
from melanoma_tf.errors import RejectError
from tfrecord_tools.dicom.elements import PIXEL_DATA, Element, Structure

if TYPE_CHECKING:
    from melanoma_tf.dicom import Dataset

MAX_PIXELS = 100_000_000  # of one frame; 6000x4000 has 24 million
MAX_DECODED_PIXELS = 40_000_000  # where all of it has to be decoded here, with up to 20 bytes a pixel at the peak

# Nothing that names a patient is among them. The functional groups give the window of one frame among many.
WANTED = (
    "BurnedInAnnotation", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames",
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "RescaleIntercept", "RescaleSlope", "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "VOILUTSequence", "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)  # fmt: skip
FLOAT_PIXEL_DATA = (0x7FE00008, 0x7FE00009)
PHOTOMETRIC_OF_SAMPLES = {
    1: ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"),
    3: ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"),
}


@dataclass(frozen=True)
class Header:
    """The image pixel module (PS3.3 C.7.6.3), checked. Attributes:

    rows, columns: pixels. samples: 1 or 3 a pixel. photometric: the interpretation, one of `PHOTOMETRIC_OF_SAMPLES`.
    planar: whether uncompressed pixels lie colour by plane.
    bits_allocated: 8 or 16 a sample. bits_stored: 1 to `bits_allocated`. high_bit: number of the highest one stored.
    signed: whether samples are two's complements.
    frames: number of frames; frame: the wanted one, from 0.
    pixel_data: the element. dataset: pydicom's, with what the file has of `WANTED`.
    """

    rows: int
    columns: int
    samples: int
    photometric: str
    planar: bool
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    frames: int
    frame: int
    pixel_data: Element
    dataset: Dataset


def read_header(structure: Structure, frame: int | None, allow_burned_in: bool) -> Header:
    """Reads and checks the header.

    Args:
      frame: the wanted one, from 0; None where there must be but one.
      allow_burned_in: whether the picture may have text burned in.

    Raises: RejectError with code no_pixels, burned_in_annotation, multi_frame, contradiction, unsupported, too_large
      or undecodable.
    """
    dataset = _dataset(structure)
    if not allow_burned_in and _text(dataset, "BurnedInAnnotation") == "YES":
        raise RejectError("burned_in_annotation", "the picture is marked as having text burned in")
    pixel_data = _pixel_data(structure)
    rows, columns = _integer(dataset, "Rows", 0), _integer(dataset, "Columns", 0)
    if rows < 1 or columns < 1:
        raise RejectError("no_pixels", "the file does not give the size of its picture")
    if rows * columns > MAX_PIXELS:
        raise RejectError("too_large", f"the picture has more than {MAX_PIXELS} pixels")
    frames = max(1, _integer(dataset, "NumberOfFrames", 1))
    samples = _integer(dataset, "SamplesPerPixel", 1)
    allocated = _integer(dataset, "BitsAllocated", 8)
    stored = _integer(dataset, "BitsStored", allocated)
    header = Header(
        rows, columns, samples, _text(dataset, "PhotometricInterpretation"),
        _integer(dataset, "PlanarConfiguration", 0) == 1, allocated, stored,
        _integer(dataset, "HighBit", stored - 1), _integer(dataset, "PixelRepresentation", 0) == 1,
        frames, _chosen_frame(frame, frames), pixel_data, dataset,
    )  # fmt: skip
    _require_sound(header)
    return header


@functools.cache
def _wanted_tags() -> frozenset[int]:
    return frozenset(import_pydicom().datadict.tag_for_keyword(keyword) for keyword in WANTED)


def _dataset(structure: Structure) -> Dataset:
    source, layout = structure.source, structure.layout
    wanted = sorted(structure.elements.keys() & _wanted_tags())
    spans = ((structure.elements[tag].start, structure.elements[tag].end) for tag in wanted)
    stream = io.BytesIO(b"".join(source[start:end] for start, end in spans))
    reader = import_pydicom().filereader
    try:
        return reader.read_dataset(stream, not layout.explicit, layout.order == "<")
    except Exception as error:  # a damaged element can fail anywhere in the parser
        raise RejectError("undecodable", f"the elements cannot be read ({type(error).__name__})") from None


def _pixel_data(structure: Structure) -> Element:
    pixel_data = structure.elements.get(PIXEL_DATA)
    if pixel_data is None and not structure.elements.keys().isdisjoint(FLOAT_PIXEL_DATA):
        raise RejectError("unsupported", "floating-point pixels, so no photograph")
    if pixel_data is None or pixel_data.end == pixel_data.value:
        raise RejectError("no_pixels", "the file has no pixel data, or ends before it")
    return pixel_data


def value_of(dataset: Dataset, keyword: str) -> Any:
    """A value, None where the element is absent or empty. Raises RejectError where it cannot be read."""
    try:
        return dataset.get(keyword)
    except Exception as error:  # pydicom converts values when they are asked for
        raise RejectError("undecodable", f"{keyword} cannot be read ({type(error).__name__})") from None


def _integer(dataset: Dataset, keyword: str, default: int) -> int:
    value = value_of(dataset, keyword)
    if value is None or value == "":
        return default
    try:
        return int(value)
    except (TypeError, ValueError):
        raise RejectError("undecodable", f"{keyword} is no number") from None


def _text(dataset: Dataset, keyword: str) -> str:
    return str(value_of(dataset, keyword) or "").strip(" \x00").upper()


def _chosen_frame(frame: int | None, frames: int) -> int:
    if frame is None and frames == 1:
        return 0
    if frame is None:
        raise RejectError("multi_frame", f"{frames} frames; say which one, 0-{frames - 1}")
    if not 0 <= frame < frames:
        raise RejectError("multi_frame", f"frame {frame} is not in the file; it has 0-{frames - 1}")
    return frame


def require_decodable(header: Header) -> None:
    """Raises RejectError with code too_large before memory is taken for the pixels."""
    if header.rows * header.columns > MAX_DECODED_PIXELS:
        raise RejectError("too_large", f"more than {MAX_DECODED_PIXELS} pixels in a picture that is no 8-bit JPEG")


def _require_sound(header: Header) -> None:
    """Refuses what contradicts itself and what cannot be a photograph."""
    if header.samples not in PHOTOMETRIC_OF_SAMPLES:
        raise RejectError("unsupported", "neither one nor three samples a pixel")
    if header.bits_allocated not in (8, 16):
        raise RejectError("unsupported", "neither 8 nor 16 bits allocated for a sample")
    if not any(header.photometric in known for known in PHOTOMETRIC_OF_SAMPLES.values()):
        raise RejectError("unsupported", "photometric interpretation missing or of another kind than photographs have")
    if header.photometric not in PHOTOMETRIC_OF_SAMPLES[header.samples]:
        raise RejectError("contradiction", "the photometric interpretation goes with another number of samples")
    if header.samples == 3 and header.signed:
        raise RejectError("unsupported", "colours below zero")
    if not 1 <= header.bits_stored <= header.bits_allocated or not (
        header.bits_stored - 1 <= header.high_bit < header.bits_allocated
    ):
        raise RejectError("contradiction", "the bits stored do not fit into the bits allocated")
