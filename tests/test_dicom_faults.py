"""Cut and damaged DICOM is refused: nothing passes half decoded, as far as the format lets anybody tell."""

import io
import struct

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from melanoma_tf.errors import RejectError
from tests import dicom_making as making
from tests.dicom_making import (
    deep,
    jpeg,
    jpeg_2000,
    jpeg_ls_stream,
    make,
    plain,
    rle_stream,
    stream_of,
    with_gdcm,
)
from tfrecord_tools import dicom

END = b"\xff\xd9"
ENDS_EARLY = {"truncated", "not_dicom", "no_pixels", "undecodable"}

Y, X = np.mgrid[:48, :64]
GRAIN = np.random.default_rng(0).integers(0, 20, (48, 64, 3))
COLOUR = (np.stack([3 * X, 4 * Y, 230 - 2 * X - Y], axis=-1) + GRAIN).astype(np.uint8)
GREY_12 = (40 * X + 10 * Y + GRAIN[..., 0]).astype(np.uint16)


JPEG_12, PICTURE_12 = making.jpeg_of_12_bits()
HTJ2K, HTJ2K_PICTURE = making.htj2k()
# kind -> (codestream, what the file says of it)
STREAMS = {
    "JPEG": (jpeg(COLOUR), (COLOUR.shape, making.BASELINE, {"PhotometricInterpretation": "YBR_FULL"})),
    "JPEG of 12 bits": (JPEG_12, (PICTURE_12.shape, making.EXTENDED, deep(12))),
    "lossless JPEG": (
        stream_of(with_gdcm(plain(COLOUR), "JPEGLosslessProcess14_1")), (COLOUR.shape, making.LOSSLESS_SV1, {}),
    ),
    "lossless JPEG of 16 bits": (
        stream_of(with_gdcm(plain(GREY_12, **deep(16)), "JPEGLosslessProcess14_1")),
        (GREY_12.shape, making.LOSSLESS_SV1, deep(16)),
    ),
    "JPEG-LS": (jpeg_ls_stream(COLOUR), (COLOUR.shape, making.JPEG_LS, {})),
    "JPEG 2000, reversible": (jpeg_2000(COLOUR), (COLOUR.shape, making.JPEG_2000_LOSSLESS, {})),
    "JPEG 2000, layers": (
        jpeg_2000(COLOUR, ratios=[20, 8, 3]), (COLOUR.shape, making.JPEG_2000, {}),
    ),
    "HTJ2K": (HTJ2K, (HTJ2K_PICTURE.shape, making.HTJ2K, {})),
}  # fmt: skip
FILES = {
    "uncompressed": plain(COLOUR),
    "big endian": plain(COLOUR, syntax=making.BIG_ENDIAN),
    "implicit": plain(COLOUR, syntax=making.IMPLICIT),
    "deflated": plain(COLOUR, syntax=making.DEFLATED),
    "RLE": make([rle_stream(COLOUR)], COLOUR.shape, making.RLE),
    **{name: make([stream], shape, syntax, **more) for name, (stream, (shape, syntax, more)) in STREAMS.items()},
}


def _file(kind, stream):
    shape, syntax, more = STREAMS[kind][1]
    return make([stream], shape, syntax, **more)


def _code(source, **options):
    with pytest.raises(RejectError) as caught:
        dicom.read_photograph(source, **options)
    assert "Secret" not in str(caught.value) and caught.value.__cause__ is None
    return caught.value.code


def _code_of_stream(kind, stream):
    """Why a file with this codestream is refused, "" if it is not; a JPEG is decoded as the caller does it."""
    try:
        image = dicom.read_photograph(_file(kind, stream))
        if image.jpeg is None:
            return ""
        simplejpeg.decode_jpeg(image.jpeg, strict=True)
    except RejectError as reject:
        return reject.code
    except ValueError:
        return "undecodable"
    return ""


def _passes(kind, stream):
    return not _code_of_stream(kind, stream)


@pytest.mark.parametrize("name", FILES)
def test_cut_at_every_64th_byte(name):
    source = FILES[name]
    dicom.read_photograph(source)
    assert {_code(source[:length]) for length in range(0, len(source), 64)} <= ENDS_EARLY


@pytest.mark.parametrize("name", FILES)
def test_the_last_bytes_cut_off(name):
    source = FILES[name]
    assert {_code(source[:-missing]) for missing in range(1, 20)} <= {"truncated", "undecodable"}


def test_elements_after_the_picture():
    """Whole ones may be missing, but none may be cut."""
    source = make(COLOUR.tobytes(), COLOUR.shape, change=lambda dataset: dataset.add_new(0xFFFCFFFC, "OB", bytes(100)))
    assert dicom.read_photograph(source).pixels.shape == COLOUR.shape
    assert dicom.read_photograph(source[:-112]).pixels.shape == COLOUR.shape
    assert {_code(source[:-missing]) for missing in range(1, 112)} == {"truncated"}


@pytest.mark.parametrize("end", [b"", END], ids=["no end", "end appended"])
@pytest.mark.parametrize("kind", STREAMS)
def test_cut_codestream(kind, end):
    stream = STREAMS[kind][0]
    codes = {_code_of_stream(kind, stream[: len(stream) * tenth // 10] + end) for tenth in range(1, 10)}
    codes |= {_code_of_stream(kind, stream[: -2 - missing] + end) for missing in (1, 2, 5, 20)}
    assert codes <= {"truncated", "undecodable"}


def test_zeros_in_place_of_the_last_bytes_are_no_filling():
    stream = STREAMS["JPEG-LS"][0]
    codes = {_code_of_stream("JPEG-LS", stream[: -2 - missing] + bytes(missing) + END) for missing in range(3, 40)}
    assert codes == {"undecodable"}


@pytest.mark.parametrize("kind", ["JPEG 2000, reversible", "JPEG 2000, layers", "HTJ2K"])
def test_cut_jpeg_2000_whose_tile_length_was_made_to_fit(kind):
    stream = STREAMS[kind][0]
    tile = stream.index(b"\xff\x90")
    for tenth in range(2, 10):
        end = tile + (len(stream) - tile) * tenth // 10
        for length in (0, end - tile):  # an open length, and the right one of what is left
            cut = stream[: tile + 6] + struct.pack(">L", length) + stream[tile + 10 : end] + END
            assert _code(_file(kind, cut)) in {"truncated", "undecodable"}


def test_jpeg_2000_without_its_last_tile():
    buffer = io.BytesIO()
    Image.fromarray(COLOUR).save(buffer, "JPEG2000", tile_size=(32, 32), no_jp2=True)
    stream = buffer.getvalue()
    assert dicom.read_photograph(_file("JPEG 2000, reversible", stream)).pixels.shape == COLOUR.shape
    last = stream.rindex(b"\xff\x90\x00\x0a")
    assert _code(_file("JPEG 2000, reversible", stream[:last] + END)) == "truncated"


# In JPEG 2000 and in uncompressed pixels nearly any bytes are legal ones, so that nobody can find those.
SHARE_FOUND = {"JPEG": 1, "lossless JPEG": 0.95, "lossless JPEG of 16 bits": 0.9, "JPEG-LS": 1}


@pytest.mark.parametrize(("kind", "share"), SHARE_FOUND.items())
def test_200_bytes_overwritten(kind, share):
    stream = STREAMS[kind][0]
    random = np.random.default_rng(0)
    passed = 0
    for start in random.integers(len(stream) // 4, len(stream) - 250, 40):
        damaged = stream[:start] + random.bytes(200) + stream[start + 200 :]
        passed += _passes(kind, damaged)
    assert passed <= 40 * (1 - share)


def test_200_bytes_of_rle_overwritten():
    stream = rle_stream(COLOUR)
    random = np.random.default_rng(0)
    for start in random.integers(64, len(stream) - 250, 20):
        damaged = stream[:start] + random.bytes(200) + stream[start + 200 :]
        assert _code(make([damaged], COLOUR.shape, making.RLE)) == "undecodable"


def test_marker_within_the_packets_of_jpeg_2000():
    stream = STREAMS["JPEG 2000, reversible"][0]
    middle = len(stream) // 2
    damaged = stream[:middle] + b"\xff" * 200 + stream[middle + 200 :]
    assert _code(_file("JPEG 2000, reversible", damaged)) == "undecodable"


def test_flipped_bits_of_jpeg_ls():
    stream = STREAMS["JPEG-LS"][0]
    passed = 0
    for position in np.random.default_rng(1).integers(100, len(stream) - 20, 40):
        damaged = bytearray(stream)
        damaged[position] ^= 1 << int(position % 8)
        passed += _passes("JPEG-LS", bytes(damaged))
    assert passed <= 8


def test_random_damage_never_raises_anything_but_a_reject():
    random = np.random.default_rng(5)
    for source in FILES.values():
        for _ in range(40):
            damaged = bytearray(source)
            start = int(random.integers(132, len(source) - 20))
            size = int(random.integers(1, 20))
            damaged[start : start + size] = random.bytes(size * int(random.integers(2)))
            try:
                dicom.read_photograph(bytes(damaged), frame=0)
            except RejectError:
                pass
