"""Compressed frames to samples. One decoder a syntax, so that the result does not depend on what else is installed.

What each makes of a stream that is cut or damaged was tried out: CharLS and OpenJPEG refuse a cut one, and
libjpeg-turbo does so when asked to be strict. GDCM, the only one with a permissive licence and wheels that reads JPEG
of more than 8 bits, goes on where its libjpeg has but one complaint, so that is listened to.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import struct
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from melanoma_tf.dicom import import_pydicom
from melanoma_tf.errors import RejectError
from tfrecord_tools.dicom.elements import Structure
from tfrecord_tools.dicom.frames import END_OF_CODESTREAM, encapsulated_frame
from tfrecord_tools.dicom.header import Header
from tfrecord_tools.dicom.streams import Stream, without_colours
from tfrecord_tools.dicom.syntaxes import DCT, JPEG_2000, JPEG_LOSSLESS, JPEG_LS, LOSSLESS, RLE, RLE_LOSSLESS

Decode = Callable[[Stream, Header], np.ndarray]

RLE_TABLE = struct.Struct("<16L")  # number of segments, then the offset of each


def decode_stream(stream: Stream, header: Header) -> np.ndarray:
    """The samples of a compressed frame.

    Returns: uint8 or uint16 [rows, columns] or [rows, columns, 3]; a negative sample as its two's complement. Colours
      are as stored, but for the transforms of JPEG 2000, which its decoder undoes.

    Raises: RejectError with code truncated, undecodable, unsupported or missing_decoder.
    """
    try:
        samples = _decode(stream, header)
    except RejectError:
        # Some writers fill up with zeros before the end marker. Without them a scan that lacks its rest lacks it still.
        unfilled = stream.codestream.removesuffix(END_OF_CODESTREAM).rstrip(b"\x00") + END_OF_CODESTREAM
        if unfilled == stream.codestream:
            raise
        samples = _decode(dataclasses.replace(stream, codestream=unfilled), header)
    return samples.reshape(header.rows, header.columns) if header.samples == 1 else samples


def _decode(stream: Stream, header: Header) -> np.ndarray:
    with _rejecting(stream.kind):
        return DECODERS[stream.kind, stream.precision > 8](stream, header)


def decode_rle(structure: Structure, header: Header) -> np.ndarray:
    """The samples of a run-length coded frame (PS3.5 G); see `decode_stream`."""
    _require_segments(encapsulated_frame(structure, header), header)
    file = io.BytesIO(structure.source)  # not the frame alone, which would be copied to be encapsulated again
    file.seek(header.pixel_data.value)
    with _rejecting(RLE), warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom only warns of a segment with too many samples
        planes, _ = _decoder(RLE_LOSSLESS).as_buffer(
            file, index=header.frame, decoding_plugin="pydicom", **_options(header)
        )
    samples = np.frombuffer(planes, f"<u{header.bits_allocated // 8}")
    if header.samples == 1:
        return samples.reshape(header.rows, header.columns)
    return samples.reshape(header.samples, header.rows, header.columns).transpose(1, 2, 0)


def _require_segments(codestream: bytes, header: Header) -> None:
    """The table at the start must tell a segment for every byte of a pixel, one behind the other."""
    if len(codestream) < RLE_TABLE.size:
        raise RejectError("truncated", "the run-length coded picture ends within its table")
    count, *offsets = RLE_TABLE.unpack_from(codestream)
    if count != header.samples * header.bits_allocated // 8:
        raise RejectError("contradiction", "the run-length coded picture has another number of segments than samples")
    starts = [*offsets[:count], len(codestream)]
    if starts[0] != RLE_TABLE.size or starts[:-1] != sorted(set(starts[:-1])):
        raise RejectError("undecodable", "the table of the run-length coded picture is damaged")
    if starts[-2] >= starts[-1]:
        raise RejectError("truncated", "the run-length coded picture ends before its last segment")


@contextlib.contextmanager
def _rejecting(kind: str) -> Iterator[None]:
    """Makes a reject of whatever a decoder raises; what it says may quote the file and is left out."""
    try:
        yield
    except (RejectError, MemoryError):
        raise
    except ImportError as error:
        detail = f"{kind} needs {error.name}, which pip install 'melanoma_tf[dicom]' brings"
        raise RejectError("missing_decoder", detail) from None
    except Exception as error:
        ends_early = "premature end" in str(error).lower()
        code = "truncated" if ends_early else "undecodable"
        raise RejectError(code, f"the {kind} picture cannot be decoded ({type(error).__name__})") from None


def _decode_grey_jpeg(stream: Stream, header: Header) -> np.ndarray:
    from tfrecord_tools import jpeg

    return jpeg.decode(stream.codestream, jpeg.read_header(stream.codestream))[..., 0]


def _decode_lossless_jpeg(stream: Stream, header: Header) -> np.ndarray:
    import simplejpeg

    return simplejpeg.decode_jpeg(without_colours(stream), "RGB" if header.samples == 3 else "GRAY", strict=True)


def _decode_jpeg_ls(stream: Stream, header: Header) -> np.ndarray:
    import jpeg_ls

    buffer, described = jpeg_ls.decode_pixel_data(stream.codestream)
    samples = np.frombuffer(buffer, np.uint8 if stream.precision <= 8 else "<u2")
    if header.samples == 3 and described["interleave_mode"] == 0:
        return samples.reshape(3, header.rows, header.columns).transpose(1, 2, 0)
    return samples.reshape(header.rows, header.columns, header.samples)


def _decode_jpeg_2000(stream: Stream, header: Header) -> np.ndarray:
    import openjpeg

    buffer = openjpeg.decode_pixel_data(stream.codestream, version=2)
    samples = np.frombuffer(buffer, np.uint8 if stream.precision <= 8 else "<u2")
    return samples.reshape(header.rows, header.columns, header.samples)


def _decode_deep_jpeg(stream: Stream, header: Header) -> np.ndarray:
    """JPEG of more than 8 bits. GDCM goes by the stream; pydicom would not ask it for 12 bits of the extended kind."""
    import gdcm  # noqa: F401, for the error that names it

    samples = None
    with _complaints() as complaints, contextlib.suppress(RuntimeError, ValueError):
        # A header that libjpeg only warns of, as it does of an odd JFIF version, makes GDCM end the process.
        encapsulated = import_pydicom().encaps.encapsulate([without_colours(stream)])
        samples, _ = _decoder(JPEG_LOSSLESS).as_array(
            encapsulated, index=0, decoding_plugin="gdcm", raw=True, **_options(header) | {"number_of_frames": 1}
        )
    if samples is None or "premature end" in complaints[0].lower() or "corrupt jpeg data" in complaints[0].lower():
        raise ValueError(complaints[0])
    return samples


# By kind, and by whether there are more than 8 bits a sample. Colour in 8-bit JPEG is handed on undecoded.
DECODERS: dict[tuple[str, bool], Decode] = {
    (DCT, False): _decode_grey_jpeg,
    (DCT, True): _decode_deep_jpeg,
    (LOSSLESS, False): _decode_lossless_jpeg,
    (LOSSLESS, True): _decode_deep_jpeg,
    (JPEG_LS, False): _decode_jpeg_ls,
    (JPEG_LS, True): _decode_jpeg_ls,
    (JPEG_2000, False): _decode_jpeg_2000,
    (JPEG_2000, True): _decode_jpeg_2000,
}


def _decoder(syntax: str) -> Any:
    return import_pydicom().pixels.get_decoder(syntax)


def _options(header: Header) -> dict[str, Any]:
    """What pydicom's decoders have to know. All bits are asked for, as ours are taken apart later."""
    return {
        "rows": header.rows, "columns": header.columns, "samples_per_pixel": header.samples,
        "planar_configuration": 0, "photometric_interpretation": header.photometric,
        "number_of_frames": header.frames, "bits_allocated": header.bits_allocated,
        "bits_stored": header.bits_allocated, "pixel_representation": 0, "pixel_keyword": "PixelData",
    }  # fmt: skip


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collects what a C library writes to standard error meanwhile. Yields a list that is filled at the end."""
    collected: list[str] = []
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield collected
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            collected.append(file.read().decode("ascii", "replace"))
