"""Contradictory, unsupported and hostile DICOM is refused for the right reason; odd but sound files are read."""

import logging
import struct
import sys
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pydicom
import pytest

from melanoma_tf.errors import RejectError
from tests import dicom_making as making
from tests.dicom_making import deep, jpeg, jpeg_2000, jpeg_ls_stream, make, plain, relabelled, rle_stream, with_gdcm
from tfrecord_tools import dicom
from tfrecord_tools.dicom import elements as structure
from tfrecord_tools.dicom.header import MAX_PIXELS

Y, X = np.mgrid[:48, :64]
COLOUR = np.stack([3 * X, 4 * Y, 255 - 2 * X - Y], axis=-1).astype(np.uint8)
GREY_12 = (40 * X + 10 * Y).astype(np.uint16)


def _code(source, **options):
    with pytest.raises(RejectError) as caught:
        dicom.read_photograph(source, **options)
    assert "Secret" not in str(caught.value) and caught.value.__cause__ is None
    return caught.value.code


RGB_STREAM = (COLOUR.shape, making.BASELINE)
CONTRADICTIONS = {
    "more rows": make([jpeg(COLOUR)], (49, 64, 3), making.BASELINE),
    "fewer columns": make([jpeg(COLOUR)], (48, 63, 3), making.BASELINE),
    "rows and columns swapped": make([jpeg_2000(COLOUR)], (64, 48, 3), making.JPEG_2000),
    "one sample": make([jpeg(COLOUR)], (48, 64), making.BASELINE),
    "three samples": make([jpeg(COLOUR[..., 0])], *RGB_STREAM),
    "grey of three samples": make([jpeg(COLOUR)], *RGB_STREAM, PhotometricInterpretation="MONOCHROME2"),
    "palette of three samples": plain(COLOUR, PhotometricInterpretation="PALETTE COLOR"),
    "colour of one sample": plain(COLOUR[..., 0], PhotometricInterpretation="RGB"),
    "JPEG 2000 under baseline": make([jpeg_2000(COLOUR)], *RGB_STREAM),
    "JPEG under JPEG 2000": make([jpeg(COLOUR)], COLOUR.shape, making.JPEG_2000),
    "JPEG-LS under lossless JPEG": make([jpeg_ls_stream(COLOUR)], COLOUR.shape, making.LOSSLESS),
    "JPEG under JPEG-LS": make([jpeg(COLOUR)], COLOUR.shape, making.JPEG_LS),
    "JPEG under lossless JPEG": make([jpeg(COLOUR)], COLOUR.shape, making.LOSSLESS),
    "JPEG under RLE": make([jpeg(COLOUR)], COLOUR.shape, making.RLE),
    "RLE of one sample": make([rle_stream(COLOUR)], (48, 64), making.RLE),
    "RLE of 16 bits": make([rle_stream(COLOUR)], COLOUR.shape, making.RLE, **deep(16)),
    "transformed colours in JPEG": make([jpeg(COLOUR)], *RGB_STREAM, PhotometricInterpretation="YBR_RCT"),
    "transformed colours uncompressed": plain(COLOUR, PhotometricInterpretation="YBR_ICT"),
    "12 bits in 8": make([jpeg_2000(GREY_12, 12)], GREY_12.shape, making.JPEG_2000_LOSSLESS),
    "12 bits stored in 8": plain(COLOUR, BitsStored=12),
    "high bit too low": plain(COLOUR, HighBit=3),
    "encapsulated under a plain syntax": relabelled(make([jpeg(COLOUR)], *RGB_STREAM), making.EXPLICIT),
    "not encapsulated under JPEG": relabelled(plain(COLOUR), making.BASELINE),
    "fewer rows of uncompressed": make(COLOUR.tobytes(), (40, 64, 3)),
    "two frames uncompressed, one in the header": make(COLOUR.tobytes() * 2, COLOUR.shape),
    "two frames of JPEG, one in the header": make([jpeg(COLOUR)] * 2, *RGB_STREAM),
    "two frames of JPEG and a table, one in the header": make([jpeg(COLOUR)] * 2, *RGB_STREAM, has_table=True),
    "halved colours of an odd width": make(
        bytes(48 * 63 * 2), (48, 63, 3), PhotometricInterpretation="YBR_FULL_422"
    ),
}  # fmt: skip


@pytest.mark.parametrize("source", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_contradiction(source):
    assert _code(source) == "contradiction"


def test_offset_table_that_points_elsewhere():
    stream = jpeg(COLOUR)
    source = make([stream] * 2, *RGB_STREAM, has_table=True, NumberOfFrames=2)
    start = source.index(b"\xfe\xff\x00\xe0\x08\x00\x00\x00") + 8
    for offsets in ((0, 0), (0, 10), (8, len(stream))):
        damaged = source[:start] + struct.pack("<2L", *offsets) + source[start + 8 :]
        assert _code(damaged, frame=1) == "contradiction"


def test_more_frames_than_there_are():
    source = make([jpeg(COLOUR)], *RGB_STREAM, NumberOfFrames=2**31 - 1)
    assert _code(source) == "multi_frame" and _code(source, frame=0) == "contradiction"
    assert _code(plain(COLOUR, NumberOfFrames=2**31 - 1), frame=7) == "truncated"


UNSUPPORTED = {
    "32 bits": make(bytes(48 * 64 * 4), (48, 64), BitsAllocated=32, BitsStored=32, HighBit=31),
    "1 bit": make(bytes(48 * 8), (48, 64), BitsAllocated=1, BitsStored=1, HighBit=0),
    "four samples": plain(COLOUR, SamplesPerPixel=4),
    "CMYK": plain(COLOUR, PhotometricInterpretation="CMYK"),
    "television range": plain(COLOUR, PhotometricInterpretation="YBR_PARTIAL_422"),
    "video": make([jpeg(COLOUR)], COLOUR.shape, "1.2.840.10008.1.2.4.100"),
    "arithmetic coding": make([jpeg(COLOUR).replace(b"\xff\xc0", b"\xff\xc9", 1)], *RGB_STREAM),
    "colours below zero": plain(COLOUR, PixelRepresentation=1),
    "a window of its own shape": plain(
        COLOUR[..., 0], WindowCenter=100, WindowWidth=100, VOILUTFunction="CUBIC"
    ),
}  # fmt: skip


@pytest.mark.parametrize("source", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_unsupported(source):
    assert _code(source) == "unsupported"


NEEDS = {
    "simplejpeg": with_gdcm(plain(COLOUR), "JPEGLosslessProcess14_1"),
    "gdcm": with_gdcm(plain(GREY_12, **deep(16)), "JPEGLosslessProcess14_1"),
    "jpeg_ls": make([jpeg_ls_stream(COLOUR)], COLOUR.shape, making.JPEG_LS),
    "openjpeg": make([jpeg_2000(COLOUR)], COLOUR.shape, making.JPEG_2000),
}


@pytest.mark.parametrize(("module", "source"), NEEDS.items(), ids=NEEDS)
def test_missing_decoder_says_what_to_install(module, source, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RejectError, match=rf"^missing_decoder: .*{module}.*pip install 'melanoma_tf\[dicom\]'"):
        dicom.read_photograph(source)


@pytest.mark.parametrize("syntax", [making.EXPLICIT, making.BASELINE, making.JPEG_2000])
def test_65500_pixels_square_take_no_memory(syntax):
    content = bytes(1000) if syntax == making.EXPLICIT else [jpeg(COLOUR)]
    source = make(content, (65500, 65500, 3), syntax)
    tracemalloc.start()
    assert _code(source) == "too_large"
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    assert MAX_PIXELS > 6000 * 4000


def test_deflate_bomb_takes_no_memory():
    """A megabyte of zeros after the other; each is a whole number of bytes, so that the pieces can be strung."""
    meta = plain(COLOUR, syntax=making.DEFLATED)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    length = struct.unpack_from("<L", meta, 140)[0]
    bomb = meta[: 144 + length] + piece * 400
    tracemalloc.start()
    assert _code(bomb) == "too_large"
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


def _after_meta(source, inserted):
    start = 144 + struct.unpack_from("<L", source, 140)[0]
    return source[:start] + inserted + source[start:]


def test_sequences_nested_1000_deep():
    opened = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 2**32 - 1
    )
    closed = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    source = plain(COLOUR)
    assert _code(_after_meta(source, opened * 1000 + closed * 1000)) == "not_dicom"
    assert _code(_after_meta(source, opened * 1000)) in {"not_dicom", "truncated"}
    nested = _after_meta(source, opened * 30 + closed * 30)
    np.testing.assert_array_equal(dicom.read_photograph(nested).pixels, COLOUR)


def test_tables_nested_1000_deep_with_lengths():
    """What is looked into is looked into no deeper than needed."""
    inner = b""
    for _ in range(1000):
        inner = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
        inner = struct.pack("<HH2sHL", 0x0028, 0x3010, b"SQ", 0, len(inner)) + inner
    np.testing.assert_array_equal(dicom.read_photograph(_after_meta(plain(COLOUR), inner)).pixels, COLOUR)
    grey = plain(COLOUR[..., 0])
    assert dicom.read_photograph(_after_meta(grey, inner)).pixels.shape == COLOUR.shape


@pytest.mark.parametrize("length", [2**31, 2**32 - 2])
def test_huge_lengths(length):
    huge = struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, length)
    assert _code(_after_meta(plain(COLOUR), huge)) == "truncated"


def test_millions_of_elements(monkeypatch):
    monkeypatch.setattr(structure, "MAX_ELEMENTS", 1000)
    many = struct.pack("<HH2sH", 0x0009, 0x1001, b"LO", 0) * 1001
    assert _code(_after_meta(plain(COLOUR), many)) == "not_dicom"


def test_planted_names_appear_nowhere(caplog, capfd):
    """Neither in what is raised, nor in logs at their most talkative, nor in warnings, nor on standard error."""
    names = {
        "PatientName", "PatientID", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName",
        "PatientAddress", "ReferringPhysicianName", "PhysiciansOfRecord", "PerformingPhysicianName",
        "NameOfPhysiciansReadingStudy", "OperatorsName", "InstitutionName", "InstitutionAddress", "StationName",
        "StudyDescription", "SeriesDescription", "AccessionNumber", "PatientComments", "ImageComments",
        "ResponsiblePerson", "WindowCenterWidthExplanation", "PhotometricInterpretation", "VOILUTFunction",
    }  # fmt: skip
    caplog.set_level(logging.DEBUG)
    planted = [
        make(COLOUR.tobytes(), COLOUR.shape, **dict.fromkeys(names - left, "Planted^Name"))
        for left in ({"PhotometricInterpretation", "VOILUTFunction"}, {"VOILUTFunction"})
    ]
    grey = {"PhotometricInterpretation": "MONOCHROME2", "WindowCenter": 1, "WindowWidth": 1}
    planted.append(make(COLOUR[..., 0].tobytes(), (48, 64), **dict.fromkeys(names, "Planted^Name") | grey))
    caplog.clear()  # what pydicom said when they were written
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for source in planted:
            for length in [*range(0, len(source), 50), len(source)]:
                try:
                    dicom.read_photograph(source[:length])
                except RejectError as reject:
                    assert "Planted" not in f"{reject!r}{reject.__cause__!r}"
    out, error = capfd.readouterr()
    assert "Planted" not in caplog.text + out + error


def _with_length(source):
    """The pixel data without its delimiter, its length told instead."""
    start = source.index(b"\xe0\x7f\x10\x00OB") + 8
    return source[:start] + struct.pack("<L", len(source) - 8 - start - 4) + source[start + 4 : -8]


def _icon():
    icon = pydicom.Dataset()
    icon.Rows = icon.Columns = 4
    icon.add_new(0x7FE00010, "OB", bytes(16))
    return icon


ODDITIES = {
    "no preamble": plain(COLOUR)[132:],
    "no meta information, implicit": plain(COLOUR, syntax=making.IMPLICIT),
    "zeros up to the next block": plain(COLOUR) + bytes(300),
    "FF after the end of the stream": make([jpeg(COLOUR) + b"\xff" * 3], *RGB_STREAM),
    "zeros after the end of the stream": make([jpeg(COLOUR) + bytes(9)], *RGB_STREAM),
    "a stream in many fragments": make(
        pydicom.encaps.encapsulate([jpeg(COLOUR)], fragments_per_frame=7), *RGB_STREAM
    ),
    "encapsulated pixels with a length": _with_length(make([jpeg(COLOUR)], *RGB_STREAM)),
    "a group length": make(
        COLOUR.tobytes(), COLOUR.shape, change=lambda dataset: dataset.add_new(0x00280000, "UL", 200)
    ),
    "zeros after the pixels": make(COLOUR.tobytes() + bytes(128), COLOUR.shape),
    "an icon": plain(COLOUR, change=lambda dataset: setattr(dataset, "IconImageSequence", [_icon()])),
    "explicit under an implicit syntax": relabelled(plain(COLOUR), making.IMPLICIT),
    "implicit under an explicit syntax": relabelled(plain(COLOUR, syntax=making.IMPLICIT), making.EXPLICIT),
}  # fmt: skip


@pytest.mark.parametrize("source", ODDITIES.values(), ids=ODDITIES)
def test_oddities_of_real_files_are_read(source):
    image = dicom.read_photograph(source)
    if image.jpeg is None:
        np.testing.assert_array_equal(image.pixels, COLOUR)
    else:
        assert image.jpeg == jpeg(COLOUR)


def test_threads_do_not_disturb_each_other():
    """Strict and lenient readings side by side, where filters of warnings are those of the process."""
    sources = [*ODDITIES.values(), make([rle_stream(COLOUR)], COLOUR.shape, making.RLE)] * 4
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(dicom.read_photograph, sources))
    assert len(images) == len(sources) and list(warnings.filters) == before
    assert logging.getLogger("pydicom").propagate
