"""Samples to the RGB that a viewer shows (PS3.3 C.7.6.3, C.11.1, C.11.2), by bands, to make no second picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from melanoma_tf.dicom import import_pydicom
from melanoma_tf.errors import RejectError
from tfrecord_tools.dicom.header import Header, value_of

if TYPE_CHECKING:
    from melanoma_tf.dicom import Dataset

BAND_ROWS = 64
COLOURS = ("Red", "Green", "Blue")

# value, center, width -> 0 to 1, to be clipped; PS3.3 C.11.2.1.2.1 and C.11.2.1.3
WINDOWS: dict[str, Callable[[np.ndarray, float, float], np.ndarray]] = {
    "LINEAR": lambda value, center, width: (value - (center - 0.5)) / max(width - 1, 1e-6) + 0.5,
    "LINEAR_EXACT": lambda value, center, width: (value - center) / width + 0.5,
    "SIGMOID": lambda value, center, width: 1 / (1 + np.exp(np.clip(-4 * (value - center) / width, -700, 700))),
}


def to_rgb(samples: np.ndarray, header: Header, ycbcr: bool, table: np.ndarray | None) -> np.ndarray:
    """RGB of a decoded frame.

    Args:
      samples: uint8 or uint16 [rows, columns] or [rows, columns, 3].
      ycbcr: whether three samples are luminance and colour differences of full range.
      table: what `lookup_table` gave; None leaves 8-bit samples as they are.

    Returns: uint8[rows, columns, 3], maybe a read-only view of the file.
    """
    if samples.ndim == 3 and table is None and not ycbcr and samples.flags.c_contiguous:
        return samples
    pixels = np.empty((header.rows, header.columns, 3), np.uint8)
    for start in range(0, header.rows, BAND_ROWS):
        band = samples[start : start + BAND_ROWS]
        if table is not None:
            band = table[band]
        if ycbcr:
            band = _rgb_of_ycbcr(np.ascontiguousarray(band))
        pixels[start : start + BAND_ROWS] = band if band.ndim == 3 else band[..., None]
    return pixels


def _rgb_of_ycbcr(band: np.ndarray) -> np.ndarray:
    rows, columns, _ = band.shape
    return np.asarray(Image.frombuffer("YCbCr", (columns, rows), band.tobytes(), "raw", "YCbCr", 0, 1).convert("RGB"))


def lookup_table(header: Header, samples: np.dtype, bits: int, shift: int) -> np.ndarray | None:
    """What every value that a sample's bytes can have looks like.

    Args:
      samples: the type, uint8 or uint16.
      bits: how many of them are the value, two's complement where the header says signed.
      shift: how many bits below the value belong to something else.

    Returns: uint8[256 or 65536] or, of a palette, uint8[256 or 65536, 3]; None when that would change nothing.

    Raises: RejectError with code undecodable or unsupported.
    """
    stored = np.arange(1 << 8 * samples.itemsize, dtype=np.int64) >> shift & (1 << bits) - 1
    if header.signed:
        stored -= (stored >> bits - 1) << bits
    try:
        if header.photometric == "PALETTE COLOR":
            return _palette(header.dataset)(stored)
        # A stream may have more bits than the header says, or fewer; colours are those of the stream.
        ends = _range(min(bits, header.bits_stored) if header.samples == 1 else bits, header.signed)
        shown = _shown_grey(stored, ends, header) if header.samples == 1 else _scaled(stored, *ends)
    except RejectError:
        raise
    except Exception as error:  # tables of any length and type can stand in a file
        raise RejectError("undecodable", f"the lookup tables cannot be applied ({type(error).__name__})") from None
    table = np.rint(255 * shown.clip(0, 1)).astype(np.uint8)
    if header.photometric == "MONOCHROME1":
        table = 255 - table
    unchanged = samples.itemsize == 1 and np.array_equal(table, np.arange(256))
    return None if unchanged else table


def _range(bits: int, signed: bool) -> tuple[int, int]:
    """(least, greatest) value."""
    half = 1 << bits - 1
    return (-half, half - 1) if signed else (0, 2 * half - 1)


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return (values - low) / max(high - low, 1e-6)


def _shown_grey(stored: np.ndarray, ends: tuple[int, int], header: Header) -> np.ndarray:
    """Modality transform, then the first window or table of interest, or else the whole range; 0 to 1."""
    groups = _groups(header)
    values, low, high = _modality(stored, ends, groups)
    for dataset in groups:
        if item := _table_item(dataset, "VOILUTSequence"):
            return _look_up(values, item)
        center, width = _first_number(dataset, "WindowCenter"), _first_number(dataset, "WindowWidth")
        if center is not None and width:  # some writers leave a width of 0
            return _window(values, center, width, value_of(dataset, "VOILUTFunction"))
    return _scaled(values, low, high)


def _groups(header: Header) -> list[Dataset]:
    """Where window and rescaling may stand: the frame's functional groups, those of all frames, the file itself."""
    groups = []
    per_frame = value_of(header.dataset, "PerFrameFunctionalGroupsSequence") or []
    shared = value_of(header.dataset, "SharedFunctionalGroupsSequence") or []
    for items in (per_frame[header.frame : header.frame + 1], shared[:1]):
        for item in items:
            for keyword in ("FrameVOILUTSequence", "PixelValueTransformationSequence"):
                groups += list(value_of(item, keyword) or [])[:1]
    return [*groups, header.dataset]


def _modality(stored: np.ndarray, ends: tuple[int, int], groups: list[Dataset]) -> tuple[np.ndarray, float, float]:
    """(values, least value, greatest value) after the modality table or rescaling."""
    for dataset in groups:
        if item := _table_item(dataset, "ModalityLUTSequence"):
            greatest = (1 << item.LUTDescriptor[2]) - 1
            return _look_up(stored, item) * greatest, 0, greatest
        slope, intercept = value_of(dataset, "RescaleSlope"), value_of(dataset, "RescaleIntercept")
        if slope is not None and intercept is not None:
            low, high = sorted(end * float(slope) + float(intercept) for end in ends)
            return stored * float(slope) + float(intercept), low, high
    return stored, *ends


def _first_number(dataset: Dataset, keyword: str) -> float | None:
    value = value_of(dataset, keyword)
    return None if value is None else float(np.atleast_1d(value)[0])


def _window(values: np.ndarray, center: float, width: float, function: str | None) -> np.ndarray:
    shape = str(function or "LINEAR").upper()
    if shape not in WINDOWS:
        raise RejectError("unsupported", "a window of a shape that the standard does not have")
    if width < 0:
        raise RejectError("undecodable", "a window of less than no width")
    return WINDOWS[shape](values.astype(float), center, width)


def _table_item(dataset: Dataset, keyword: str) -> Dataset | None:
    """The first table of a sequence; some writers leave an empty one."""
    for item in list(value_of(dataset, keyword) or [])[:1]:
        if value_of(item, "LUTDescriptor") is not None and value_of(item, "LUTData") is not None:
            return item
    return None


def _look_up(values: np.ndarray, item: Dataset) -> np.ndarray:
    """0 to 1 of what a modality or VOI table has for the values; those beside it get its first or last entry."""
    entries, first, bits = item.LUTDescriptor
    data = item.LUTData
    if isinstance(data, bytes):
        data = _entries(data, entries or 1 << 16, item.original_encoding[1])
    table = np.atleast_1d(np.asarray(data))
    return table[(np.rint(values).astype(np.int64) - first).clip(0, len(table) - 1)] / ((1 << bits) - 1)


def _entries(data: bytes, count: int, little_endian: bool | None) -> np.ndarray:
    """Entries of 16 bits where there are enough bytes for that, or else of 8."""
    if len(data) < 2 * count:
        return np.frombuffer(data, np.uint8)[:count]
    return np.frombuffer(data, ">u2" if little_endian is False else "<u2", count)


def _palette(dataset: Dataset) -> Callable[[np.ndarray], np.ndarray]:
    """The function that makes RGB uint8[N, 3] of indices int[N]."""
    tables, firsts = [], []
    for channel, colour in enumerate(COLOURS):
        count, first, bits = dataset[f"{colour}PaletteColorLookupTableDescriptor"].value
        data = value_of(dataset, f"{colour}PaletteColorLookupTableData")
        if data is None:
            tables.append(_segmented_palette(dataset, count or 1 << 16, first)[:, channel])
        else:
            tables.append(_entries(data, count or 1 << 16, dataset.original_encoding[1]))
        firsts.append(first)
    # Entries of 8 bits that fill words are found under descriptors of 8 and, against the standard, of 16 bits.
    if bits > 8 and max(table.max() for table in tables) > 255:
        tables = [table >> 8 for table in tables]

    def apply(indices: np.ndarray) -> np.ndarray:
        spans = zip(tables, firsts)
        columns = [table[(indices - first).clip(0, len(table) - 1)] for table, first in spans]
        return np.stack(columns, axis=-1).astype(np.uint8)

    return apply


def _segmented_palette(dataset: Dataset, count: int, first: int) -> np.ndarray:
    """uint8 or uint16 [count, 3]."""
    if dataset.RedPaletteColorLookupTableDescriptor[2] == 8 and count > 256:
        raise RejectError("unsupported", "a segmented palette of more than 256 colours of 8 bits")
    return import_pydicom().pixels.apply_color_lut(np.arange(first, first + count), dataset)
