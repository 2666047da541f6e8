"""DICOM files of every kind, made from pixels. Where there are two programs for a codec, the encoder is not ours."""

import base64
import io
import struct
import tempfile
import warnings
from pathlib import Path

import gdcm
import jpeg_ls
import numpy as np
import openjpeg
import pydicom
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.encoders import RLELosslessEncoder

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
BASELINE, EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
LOSSLESS, LOSSLESS_SV1 = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_LS_NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS, JPEG_2000 = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
HTJ2K, RLE = "1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.5"
PLAIN = {IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN}

# The picture that `htj2k_picture` gives, by OpenJPH 0.26.3: no encoder for it comes with any of our packages.
_HTJ2K = """
/0//UQAvQAAAAAAYAAAAEAAAAAAAAAAAAAAAGAAAABAAAAAAAAAAAAADBwEBBwEBBwEB/1AACAACAAAAA/9SAAwAAgABAQUEBEAB/1wAEyBQWF
hYWFhYWFhYWFhYUFBQ/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAZgAAf+TwBKA9wAHdADAEoDYAQd0AMASgPwAx3QAwAlA6gAH
dADACUCrAQd0AMAJQFYBh3QAwAjgBMAAYwBi8QAiNADACSAEwPwncwCjRwBiNADACWAE4PsAR3QAESP+AGI0AMAJYATgqoBLdAAwhAAkd1UAwA
mgBUht+4ALdADR0egAAAB3VgDACaAFSFrtgIt0AIeHwwAAAHdWAMAJoAVYANgp4nUA1szM/uAM98nstwDACeAFaFVV2KfCdQDn8zzP8+AI9hCB
7LgAwAqIAVqMMfbacAJ1AMNhGIbh4Aj2EIHsuADAFtwBdJAFtAAAgAKgAOgWeeeeS2eeeeS2eeeeSw6KKKPkAQAAAAAARQghhBBCUPwAScikgo
pILr1ttttvrbbbbbbbbbcXAQAAAAAAAADnnnnkvPPPPJeeeeeSooooo+QBwBVwBa5JkiTz8Kenp0J4AG1rrbXWWmvt/xAAAB79gAB79gAB7L8A
wBWQBaIiIiIi8/Cnp6fCeAC9u7u7u7v/HJ798nv3yey7AP/Z
"""

# The picture that `jpeg_of_12_bits` gives, by libjpeg-turbo 3.1.3, for the same reason.
_JPEG_12 = """
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ
EBAQEBAQH/wQALDAAQABgBAREA/8QAFQABAQAAAAAAAAAAAAAAAAAADg//xAAcEAAABgMAAAAAAAAAAAAAAAAACgwmOUVXY3X/2gAIAQEAAD8A
J16VRLuRwsbFNdydYSwCVRLuRwsbFNdydYSwCVRLuRwsbFNdydYnj+lUS7kcLGxTXcnWEsAlUS7kcLGxTXcnWEsAlUS7kcLGxTXcnWP/2Q==
"""


def make(pixel_data, shape, syntax=EXPLICIT, *, has_table=False, change=None, **elements):
    """The bytes of a DICOM file.

    Args:
      pixel_data: bytes of the pixels, or the codestreams of the frames.
      shape: (rows, columns) or (rows, columns, 3).
      has_table: whether a basic offset table is written.
      change: called with the data set before it is written.
      elements: of the data set, in place of those for 8-bit RGB or grey.
    """
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID = syntax, "1.2.3"
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.4"
    dataset = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    facts = {
        "SOPClassUID": meta.MediaStorageSOPClassUID, "SOPInstanceUID": "1.2.3", "PatientName": "Secret^Person",
        "PatientID": "secret-id", "Rows": shape[0], "Columns": shape[1], "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7,
        "PixelRepresentation": 0,
    }  # fmt: skip
    if len(shape) == 3:
        facts |= {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    if isinstance(pixel_data, list):
        pixel_data = encapsulate(pixel_data, has_bot=has_table)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some files are wrong on purpose
        for name, value in (facts | elements).items():
            setattr(dataset, name, value)
        dataset.PixelData = pixel_data
        dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
        dataset["PixelData"].is_undefined_length = syntax not in PLAIN
        if change is not None:
            change(dataset)
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def plain(pixels, **more):
    """Uncompressed pixels as they are."""
    return make(pixels.tobytes(), pixels.shape, **more)


def relabelled(source, syntax):
    """The file with another transfer syntax in its meta information, nothing else changed."""
    start = source.index(b"\x02\x00\x10\x00UI") + 6
    (length,) = struct.unpack_from("<H", source, start)
    value = syntax.encode() + bytes(len(syntax) % 2)
    return source[:start] + struct.pack("<H", len(value)) + value + source[start + 2 + length :]


def deep(bits, **more):
    """The elements of samples of up to 16 bits."""
    return {"BitsAllocated": 16, "BitsStored": bits, "HighBit": bits - 1} | more


def jpeg(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **{"quality": 97, "subsampling": "4:4:4"} | options)
    return buffer.getvalue()


def components_as_jpeg(pixels, **options):
    """A JPEG of these three components as they are, which no marker and no component name explains."""
    image = Image.frombytes("YCbCr", pixels.shape[1::-1], pixels.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **{"quality": 97, "subsampling": "4:4:4"} | options)
    stream = buffer.getvalue()
    length = int.from_bytes(stream[4:6], "big")
    assert stream[2:4] == b"\xff\xe0"
    return stream[:2] + stream[4 + length :]


def jpeg_2000(pixels, bits=8, colour_transform=True, ratios=None, boxes=False):
    """A JPEG 2000 codestream, reversible without `ratios`; with `boxes` a JP2 file."""
    colours = 1 if pixels.ndim == 3 and colour_transform else 0
    return openjpeg.encode(pixels, bits, colours, colour_transform, ratios, codec_format=int(boxes))


def htj2k():
    """(codestream of high-throughput JPEG 2000, the pixels that it must give)."""
    y, x = np.mgrid[:16, :24]
    pixels = np.stack([10 * x, 15 * y, 255 - 5 * x - 8 * y], axis=-1).astype(np.uint8)
    return base64.b64decode(_HTJ2K), pixels


def jpeg_of_12_bits():
    """(JPEG of 12 bits, the pixels uint16[16,24] that it must give to within 2)."""
    y, x = np.mgrid[:16, :24]
    return base64.b64decode(_JPEG_12), (150 * x + 30 * y).astype(np.uint16)


def with_gdcm(source, syntax):
    """The file again, its pixels compressed by GDCM; `syntax` is a name of `gdcm.TransferSyntax`."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.dcm"), Path(folder, "after.dcm")
        before.write_bytes(source)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(before))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(after))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return after.read_bytes()


def stream_of(source):
    """The one codestream of a file, without padding."""
    dataset = pydicom.dcmread(io.BytesIO(source))
    (stream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    return stream[: stream.rindex(b"\xff\xd9") + 2]


def jpeg_ls_stream(pixels, **options):
    return bytes(jpeg_ls.encode_array(pixels, **options))


def rle_stream(pixels):
    """A run-length coded frame of uint8 or uint16 [H,W] or [H,W,3]."""
    return RLELosslessEncoder.encode(
        pixels.tobytes(), rows=pixels.shape[0], columns=pixels.shape[1], number_of_frames=1,
        samples_per_pixel=1 if pixels.ndim == 2 else 3, bits_allocated=8 * pixels.itemsize,
        bits_stored=8 * pixels.itemsize, pixel_representation=0, planar_configuration=0,
        photometric_interpretation="MONOCHROME2" if pixels.ndim == 2 else "RGB", encoding_plugin="pydicom",
    )  # fmt: skip


def shown(image):
    """uint8[H,W,3] of what the reader returned."""
    if image.jpeg is None:
        return image.pixels
    return np.asarray(Image.open(io.BytesIO(image.jpeg)).convert("RGB"))
