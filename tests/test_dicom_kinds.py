"""Every kind of DICOM picture shows the right colours, whichever frame is asked for. The files are made here."""

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space

from melanoma_tf.errors import RejectError
from tests import dicom_making as making
from tests.dicom_making import deep, jpeg, jpeg_2000, jpeg_ls_stream, make, plain, rle_stream, shown, with_gdcm
from tfrecord_tools import dicom

raw_jpeg = making.components_as_jpeg

Y, X = np.mgrid[:60, :80]
COLOUR = np.stack([3 * X, 4 * Y, 255 - 2 * X - Y], axis=-1).astype(np.uint8)
DEEP_COLOUR = COLOUR.astype(np.uint16) * 257
GREY = (3 * X).astype(np.uint8)
GREY_12 = (50 * X + Y).astype(np.uint16)
SIGNED_12 = GREY_12.astype(np.int16) - 2048
YCBCR = convert_color_space(COLOUR, "RGB", "YBR_FULL")
HALVED = YCBCR.copy()
HALVED[:, 1::2, 1:] = HALVED[:, ::2, 1:]
HTJ2K_STREAM, HTJ2K_PICTURE = making.htj2k()
JPEG_12, PICTURE_12 = making.jpeg_of_12_bits()


def _rgb(grey):
    return np.repeat(np.asarray(grey)[..., None], 3, axis=2)


def _full_scale(values, low, high):
    return _rgb((values.astype(float) - low) / (high - low) * 255)


def _with_names(stream, names):
    """A JPEG whose three components have other names."""
    frame, scan = stream.index(b"\xff\xc0"), stream.index(b"\xff\xda")
    changed = bytearray(stream)
    for number, name in enumerate(names):
        changed[frame + 10 + 3 * number] = changed[scan + 5 + 2 * number] = name
    return bytes(changed)


def _words(dataset):
    dataset["PixelData"].VR = "OW"


# name -> (file, the RGB that it must show, how far off its values may be)
UNCOMPRESSED = {
    "explicit": (plain(COLOUR), COLOUR, 0),
    "implicit": (plain(COLOUR, syntax=making.IMPLICIT), COLOUR, 0),
    "big endian": (plain(COLOUR, syntax=making.BIG_ENDIAN), COLOUR, 0),
    "big endian in words": (
        make(COLOUR.ravel().view("<u2").byteswap().tobytes(), COLOUR.shape, making.BIG_ENDIAN, change=_words),
        COLOUR, 0,
    ),
    "deflated": (plain(COLOUR, syntax=making.DEFLATED), COLOUR, 0),
    "planar": (make(COLOUR.transpose(2, 0, 1).tobytes(), COLOUR.shape, PlanarConfiguration=1), COLOUR, 0),
    "YBR_FULL": (plain(YCBCR, PhotometricInterpretation="YBR_FULL"), COLOUR, 2),
    "YBR_FULL_422": (
        make(
            np.concatenate([YCBCR.reshape(60, 40, 2, 3)[..., 0], YCBCR[:, ::2, 1:]], axis=-1).tobytes(),
            COLOUR.shape, PhotometricInterpretation="YBR_FULL_422",
        ),
        convert_color_space(HALVED, "YBR_FULL", "RGB"), 2,
    ),
    "16 bits": (plain(DEEP_COLOUR, **deep(16)), COLOUR, 0),
    "16 bits, big endian": (plain(DEEP_COLOUR.astype(">u2"), syntax=making.BIG_ENDIAN, **deep(16)), COLOUR, 0),
    "12 bits": (plain(COLOUR.astype(np.uint16) * 16, **deep(12)), COLOUR * 16.0 / 4095 * 255, 0.5),
}  # fmt: skip

JPEG_STREAMS = {
    "4:2:2 with JFIF": (jpeg(COLOUR, subsampling="4:2:2"), "YBR_FULL_422"),
    "JFIF and a header that says RGB": (jpeg(COLOUR), "RGB"),
    "RGB with Adobe": (jpeg(COLOUR, keep_rgb=True), "RGB"),
    "RGB with Adobe and a header that says YBR": (jpeg(COLOUR, keep_rgb=True), "YBR_FULL"),
    "unmarked RGB": (raw_jpeg(COLOUR), "RGB"),
    "unmarked RGB, components 0 1 2": (_with_names(raw_jpeg(COLOUR), b"\0\1\2"), "RGB"),
    "components RGB": (_with_names(raw_jpeg(COLOUR), b"RGB"), "YBR_FULL"),
    "components rgb": (_with_names(raw_jpeg(COLOUR), b"rgb"), "YBR_FULL"),
    "unmarked YBR": (raw_jpeg(YCBCR), "YBR_FULL_422"),
    "unmarked YBR, components 0 1 2": (_with_names(raw_jpeg(YCBCR), b"\0\1\2"), "YBR_FULL"),
    "unmarked and halved, a header that says RGB": (raw_jpeg(YCBCR, subsampling="4:2:2"), "RGB"),
    "progressive": (jpeg(COLOUR, progressive=True), "YBR_FULL"),
    "extended of 8 bits": (jpeg(COLOUR).replace(b"\xff\xc0", b"\xff\xc1", 1), "YBR_FULL"),
}

RAMP = bytes(range(256))
COMPRESSED = {
    **{
        f"JPEG, {name}": (
            make([stream], COLOUR.shape, making.BASELINE, PhotometricInterpretation=photometric), COLOUR, 12,
        )
        for name, (stream, photometric) in JPEG_STREAMS.items()
    },
    "JPEG, progressive by its syntax": (
        make(
            [jpeg(COLOUR, progressive=True)], COLOUR.shape, "1.2.840.10008.1.2.4.55",
            PhotometricInterpretation="YBR_FULL",
        ),
        COLOUR, 12,
    ),
    "JPEG, grey": (make([jpeg(GREY)], GREY.shape, making.BASELINE), _rgb(GREY), 4),
    "JPEG, MONOCHROME1": (
        make([jpeg(GREY)], GREY.shape, making.BASELINE, PhotometricInterpretation="MONOCHROME1"), _rgb(255 - GREY), 4,
    ),
    "JPEG of 12 bits": (
        make([JPEG_12], PICTURE_12.shape, making.EXTENDED, **deep(12)), _full_scale(PICTURE_12, 0, 4095), 0.7,
    ),
    "lossless JPEG": (with_gdcm(plain(COLOUR), "JPEGLosslessProcess14_1"), COLOUR, 0),
    "lossless JPEG, process 14": (with_gdcm(plain(COLOUR), "JPEGLosslessProcess14"), COLOUR, 0),
    "lossless JPEG, YBR_FULL": (
        with_gdcm(plain(YCBCR, PhotometricInterpretation="YBR_FULL"), "JPEGLosslessProcess14_1"), COLOUR, 2,
    ),
    "lossless JPEG, grey": (with_gdcm(plain(GREY), "JPEGLosslessProcess14_1"), _rgb(GREY), 0),
    "lossless JPEG of 12 bits": (
        with_gdcm(plain(GREY_12, **deep(12)), "JPEGLosslessProcess14_1"), _full_scale(GREY_12, 0, 4095), 0.5,
    ),
    "lossless JPEG of 16 bits, signed": (
        with_gdcm(plain(SIGNED_12, **deep(16, PixelRepresentation=1)), "JPEGLosslessProcess14_1"),
        _full_scale(SIGNED_12, -32768, 32767), 0.5,
    ),
    "lossless JPEG of 16 bits, colour": (
        with_gdcm(plain(DEEP_COLOUR, **deep(16)), "JPEGLosslessProcess14_1"), COLOUR, 0,
    ),
    "JPEG-LS": (make([jpeg_ls_stream(COLOUR)], COLOUR.shape, making.JPEG_LS), COLOUR, 0),
    "JPEG-LS by lines": (make([jpeg_ls_stream(COLOUR, interleave_mode=1)], COLOUR.shape, making.JPEG_LS), COLOUR, 0),
    "JPEG-LS by planes": (
        make([jpeg_ls_stream(np.ascontiguousarray(COLOUR.transpose(2, 0, 1)))], COLOUR.shape, making.JPEG_LS),
        COLOUR, 0,
    ),
    "JPEG-LS, near-lossless": (
        make([jpeg_ls_stream(COLOUR, lossy_error=2)], COLOUR.shape, making.JPEG_LS_NEAR), COLOUR, 2,
    ),
    "JPEG-LS, YBR_FULL": (
        make([jpeg_ls_stream(YCBCR)], COLOUR.shape, making.JPEG_LS, PhotometricInterpretation="YBR_FULL"), COLOUR, 2,
    ),
    "JPEG-LS of 12 bits": (
        make([jpeg_ls_stream(GREY_12)], GREY.shape, making.JPEG_LS, **deep(12)), _full_scale(GREY_12, 0, 4095), 0.5,
    ),
    "JPEG 2000, reversible": (
        make([jpeg_2000(COLOUR)], COLOUR.shape, making.JPEG_2000_LOSSLESS, PhotometricInterpretation="YBR_RCT"),
        COLOUR, 0,
    ),
    "JPEG 2000, irreversible": (
        make([jpeg_2000(COLOUR, ratios=[4])], COLOUR.shape, making.JPEG_2000, PhotometricInterpretation="YBR_ICT"),
        COLOUR, 3,
    ),
    "JPEG 2000, transformed and a header that says YBR_FULL": (
        make([jpeg_2000(COLOUR)], COLOUR.shape, making.JPEG_2000_LOSSLESS, PhotometricInterpretation="YBR_FULL"),
        COLOUR, 0,
    ),
    "JPEG 2000, RGB untransformed": (
        make([jpeg_2000(COLOUR, colour_transform=False)], COLOUR.shape, making.JPEG_2000_LOSSLESS), COLOUR, 0,
    ),
    "JPEG 2000 in boxes that name sYCC, which the decoder converts": (
        make(
            [making.openjpeg.encode(YCBCR, 8, 3, False, None, codec_format=1)], COLOUR.shape,
            making.JPEG_2000_LOSSLESS, PhotometricInterpretation="YBR_FULL",
        ),
        COLOUR, 2,
    ),
    "JPEG 2000, YBR_FULL": (
        make(
            [jpeg_2000(YCBCR, colour_transform=False)], COLOUR.shape, making.JPEG_2000_LOSSLESS,
            PhotometricInterpretation="YBR_FULL",
        ),
        COLOUR, 2,
    ),
    "JPEG 2000 in a JP2 file": (
        make(
            [jpeg_2000(COLOUR, boxes=True)], COLOUR.shape, making.JPEG_2000_LOSSLESS,
            PhotometricInterpretation="YBR_RCT",
        ),
        COLOUR, 0,
    ),
    "JPEG 2000 of 12 bits, signed": (
        make([jpeg_2000(SIGNED_12, 12)], GREY.shape, making.JPEG_2000_LOSSLESS, **deep(12, PixelRepresentation=1)),
        _full_scale(SIGNED_12, -2048, 2047), 0.5,
    ),
    "JPEG 2000 of 12 bits, a sign that only the header knows": (
        make(
            [jpeg_2000((SIGNED_12 & 4095).astype(np.uint16), 12)], GREY.shape, making.JPEG_2000_LOSSLESS,
            **deep(12, PixelRepresentation=1),
        ),
        _full_scale(SIGNED_12, -2048, 2047), 0.5,
    ),
    "JPEG 2000 of 16 bits, colour": (
        make(
            [jpeg_2000(DEEP_COLOUR, 16)], COLOUR.shape, making.JPEG_2000_LOSSLESS,
            **deep(16, PhotometricInterpretation="YBR_RCT"),
        ),
        COLOUR, 0,
    ),
    "high-throughput JPEG 2000": (
        make([HTJ2K_STREAM], HTJ2K_PICTURE.shape, making.HTJ2K, PhotometricInterpretation="YBR_RCT"),
        HTJ2K_PICTURE, 0,
    ),
    "RLE": (make([rle_stream(COLOUR)], COLOUR.shape, making.RLE), COLOUR, 0),
    "RLE, YBR_FULL": (
        make([rle_stream(YCBCR)], COLOUR.shape, making.RLE, PhotometricInterpretation="YBR_FULL"), COLOUR, 2,
    ),
    "RLE of 16 bits": (make([rle_stream(DEEP_COLOUR)], COLOUR.shape, making.RLE, **deep(16)), COLOUR, 0),
}  # fmt: skip


@pytest.mark.parametrize(("source", "expected", "tolerance"), UNCOMPRESSED.values(), ids=UNCOMPRESSED)
def test_uncompressed(source, expected, tolerance):
    image = dicom.read_photograph(source)
    assert image.jpeg is None and image.pixels.dtype == np.uint8
    assert np.abs(image.pixels - np.asarray(expected, float)).max() <= tolerance


@pytest.mark.parametrize(("source", "expected", "tolerance"), COMPRESSED.values(), ids=COMPRESSED)
def test_compressed(source, expected, tolerance):
    pixels = shown(dicom.read_photograph(source))
    assert pixels.shape == expected.shape
    assert np.abs(pixels - np.asarray(expected, float)).max() <= tolerance


@pytest.mark.parametrize("name", JPEG_STREAMS)
def test_jpeg_comes_back_as_it_is_or_with_its_colours_marked(name):
    stream, photometric = JPEG_STREAMS[name]
    source = make([stream], COLOUR.shape, making.BASELINE, PhotometricInterpretation=photometric)
    jpeg_out = dicom.read_photograph(source).jpeg
    marked = stream[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00" + stream[2:]
    assert jpeg_out == (marked if name.startswith("unmarked RGB") or name == "components rgb" else stream)


@pytest.mark.parametrize(("pixels", "photometric"), [(COLOUR, "RGB"), (YCBCR, "YBR_FULL")])
def test_a_jfif_marker_says_nothing_in_a_lossless_stream(pixels, photometric):
    """GDCM and DCMTK go by the header as well."""
    jfif = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
    lossless = with_gdcm(plain(pixels, PhotometricInterpretation=photometric), "JPEGLosslessProcess14_1")
    stream = making.stream_of(lossless)
    if stream[2:4] == b"\xff\xee":
        stream = stream[:2] + stream[18:]
    for codestream, syntax in ((stream, making.LOSSLESS_SV1), (jpeg_ls_stream(pixels), making.JPEG_LS)):
        marked = codestream[:2] + jfif + codestream[2:]
        source = make([marked], COLOUR.shape, syntax, PhotometricInterpretation=photometric)
        assert np.abs(dicom.read_photograph(source).pixels - COLOUR.astype(int)).max() <= 2


FILLED = {
    "JPEG-LS": (jpeg_ls_stream(COLOUR), making.JPEG_LS),
    "lossless JPEG": (making.stream_of(COMPRESSED["lossless JPEG"][0]), making.LOSSLESS_SV1),
}


@pytest.mark.parametrize(("stream", "syntax"), FILLED.values(), ids=FILLED)
def test_zeros_before_the_end_marker_do_no_harm(stream, syntax):
    source = make([stream[:-2] + b"\x00" + stream[-2:]], COLOUR.shape, syntax)
    np.testing.assert_array_equal(dicom.read_photograph(source).pixels, COLOUR)


FRAMES = [np.ascontiguousarray(np.roll(COLOUR, 20 * number, axis=1)) for number in range(3)]
JPEG_FRAMES = [jpeg(frame) for frame in FRAMES]


def _with_extended_table(dataset):
    lengths = [len(frame) + len(frame) % 2 for frame in JPEG_FRAMES]
    starts = np.cumsum([0, *(length + 8 for length in lengths[:-1])])
    dataset.ExtendedOffsetTable = starts.astype("<u8").tobytes()
    dataset.ExtendedOffsetTableLengths = np.array(lengths, "<u8").tobytes()


def _in_fragments(has_table):
    return encapsulate(JPEG_FRAMES, fragments_per_frame=3, has_bot=has_table)


MULTI_FRAME = {
    "uncompressed": (make(np.stack(FRAMES).tobytes(), COLOUR.shape, NumberOfFrames=3), 0),
    "odd bytes in words": (
        make(
            np.append(np.stack(FRAMES)[:, :5, :5], np.uint8(0)).view("<u2").byteswap().tobytes(), (5, 5, 3),
            making.BIG_ENDIAN, NumberOfFrames=3, change=_words,
        ),
        0,
    ),
    "offset table": (make(JPEG_FRAMES, COLOUR.shape, making.BASELINE, NumberOfFrames=3, has_table=True), 12),
    "no offset table": (make(JPEG_FRAMES, COLOUR.shape, making.BASELINE, NumberOfFrames=3), 12),
    "extended offset table": (
        make(JPEG_FRAMES, COLOUR.shape, making.BASELINE, NumberOfFrames=3, change=_with_extended_table), 12,
    ),
    "fragments, offset table": (make(_in_fragments(True), COLOUR.shape, making.BASELINE, NumberOfFrames=3), 12),
    "fragments, no offset table": (make(_in_fragments(False), COLOUR.shape, making.BASELINE, NumberOfFrames=3), 12),
    "RLE": (make([rle_stream(frame) for frame in FRAMES], COLOUR.shape, making.RLE, NumberOfFrames=3), 0),
}  # fmt: skip


@pytest.mark.parametrize(("source", "tolerance"), MULTI_FRAME.values(), ids=MULTI_FRAME)
def test_the_wanted_frame_of_many(source, tolerance):
    for number, expected in enumerate(FRAMES):
        pixels = shown(dicom.read_photograph(source, frame=number)).astype(int)
        assert np.abs(pixels - expected[: pixels.shape[0], : pixels.shape[1]]).max() <= tolerance
    for frame in (None, -1, 3):
        with pytest.raises(RejectError, match=r"^multi_frame: .*0-2$"):
            dicom.read_photograph(source, frame=frame)


def test_other_frames_are_not_decoded():
    source = make([JPEG_FRAMES[0], b"garbage!", b"garbage!"], COLOUR.shape, making.BASELINE, NumberOfFrames=3)
    assert dicom.read_photograph(source, frame=0).jpeg == JPEG_FRAMES[0]
