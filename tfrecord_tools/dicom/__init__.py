"""DICOM photographs: any kind that holds the pixels of a picture becomes a JPEG or RGB, or is refused for a reason."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tfrecord_tools.dicom import decoders, frames, rendering, streams
from tfrecord_tools.dicom.elements import Structure, looks_like_dicom, read_structure
from tfrecord_tools.dicom.header import Header, read_header, require_decodable
from tfrecord_tools.dicom.syntaxes import DCT, RLE, UNCOMPRESSED, kind_of

__all__ = ["DicomImage", "looks_like_dicom", "read_photograph"]

_process_wide = threading.Lock()


@dataclass(frozen=True)
class DicomImage:
    """The picture of a DICOM file; exactly one of the two fields is set.

    Attributes:
      jpeg: an 8-bit JPEG bitstream with its end marker that any JFIF decoder turns into the right colours. Whether its
        scan is whole shows when it is decoded.
      pixels: uint8[H,W,3] RGB, for everything else; may be read-only.
    """

    jpeg: bytes | None = None
    pixels: np.ndarray | None = None


def read_photograph(source: bytes, *, frame: int | None = None, allow_burned_in: bool = False) -> DicomImage:
    """Reads one picture of a DICOM file.

    8-bit JPEG comes back undecoded, so that it can be decoded at the scale that is wanted, unless grey has to be
    mapped. Grey goes through modality and VOI transform (or is stretched from the bits stored) and is replicated,
    palettes are applied, samples of up to 16 bits become 8.

    Colours: what the compressed stream says comes first (JFIF or Adobe marker, component names, sampling, the colour
    transform of JPEG 2000), the photometric interpretation second. So RGB on a JFIF stream, which is common, is
    taken for the YCbCr that it is, and no contradiction.

    Cut files: one that ends within an element is truncated, even if that comes after the picture or is nothing but the
    delimiter of the pixels. Where whole elements are missing after the picture, nothing tells.

    Args:
      source: the whole file.
      frame: which of several, from 0; None takes the only one.
      allow_burned_in: whether to take pictures that are marked as having text burned in.

    Raises: UserError without pydicom 3; RejectError, whose text holds no value of the file but the number of frames,
      with the code not_dicom, no_pixels, truncated, undecodable, contradiction, unsupported, too_large, multi_frame or
      burned_in_annotation.
    """
    with _silence():
        structure = read_structure(source)
        header = read_header(structure, frame, allow_burned_in)
        kind = kind_of(structure.syntax)
        if kind in (UNCOMPRESSED, RLE):
            return _from_plain(structure, header, kind)
        stream = streams.read_stream(frames.encapsulated_frame(structure, header), kind, header)
        return _from_stream(stream, header)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keeps pydicom's warnings and log, which quote values of the file, to itself.

    One thread at a time, as filters of warnings, loggers and standard error belong to the whole process.
    """
    logger = logging.getLogger("pydicom")
    with _process_wide, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        propagate, logger.propagate = logger.propagate, False
        try:
            yield
        finally:
            logger.propagate = propagate


def _from_plain(structure: Structure, header: Header, kind: str) -> DicomImage:
    """Uncompressed and run-length coded pixels, whose samples lie in their bytes as the header says."""
    streams.require_plain_colours(header)
    require_decodable(header)
    if kind == RLE:
        samples = decoders.decode_rle(structure, header)
    else:
        samples = frames.native_frame(structure, header)
    shift = header.high_bit + 1 - header.bits_stored
    table = rendering.lookup_table(header, samples.dtype, header.bits_stored, shift)
    ycbcr = header.photometric.startswith("YBR")
    return DicomImage(pixels=rendering.to_rgb(samples, header, ycbcr, table))


def _from_stream(stream: streams.Stream, header: Header) -> DicomImage:
    bytes_of_sample = 1 if stream.precision <= 8 else 2
    table = rendering.lookup_table(header, np.dtype(f"u{bytes_of_sample}"), stream.precision, 0)
    if stream.kind == DCT and stream.precision == 8 and table is None:
        return DicomImage(jpeg=streams.mark_colours(stream, header))
    require_decodable(header)
    samples = decoders.decode_stream(stream, header)
    return DicomImage(pixels=rendering.to_rgb(samples, header, streams.is_ycbcr(stream, header), table))
