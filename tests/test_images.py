"""The picture itself: geometry and detail against OpenCV, and nothing damaged taken for whole."""

import functools
import io
import struct
import zlib
from unittest import mock

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from melanoma_tf.errors import RejectError
from tfrecord_tools import images, jpeg, png
from tfrecord_tools.images import Rendering, check_jpeg, render

END = b"\xff\xd9"
LARGE = (1900, 1261)  # more than SMALL_PIXELS, no multiple of 8
SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")


@functools.cache
def photograph(width: int, height: int, grain: float = 3) -> Image.Image:
    """Smooth colours, edges and grain."""
    y, x = np.mgrid[:height, :width] / 16
    waves = np.stack([np.sin(x + 1), np.sin(y - x), np.cos(x + y)], axis=-1)
    blob = np.hypot(x - x.max() / 2, y - y.max() / 2) < min(width, height) / 50
    noise = np.random.default_rng(0).normal(0, grain, (height, width, 3))
    return Image.fromarray((120 + 60 * waves - 50 * blob[..., None] + noise).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, format: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **({"quality": 90} if format in ("JPEG", "MPO") else {}) | options)
    return buffer.getvalue()


def decoded(source: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(source)).convert("RGB"))


def psnr(left: np.ndarray, right: np.ndarray) -> float:
    return 10 * np.log10(255**2 / max(np.mean((left.astype(float) - right) ** 2), 1e-9))


def code_of(source: bytes, rendering: Rendering = Rendering(32)) -> str:  # noqa: B008 - frozen
    """The code of the reject, "" where there is none."""
    try:
        render(source, rendering)
    except RejectError as error:
        assert error.detail and "\n" not in error.detail
        return error.code
    return ""


def with_segment(source: bytes, marker: int, content: bytes, place: int = 2) -> bytes:
    return source[:place] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + source[place:]


# Geometry and detail


def area_resized(pixels: np.ndarray, size: int, fit: str) -> np.ndarray:
    """The usual way: centre crop, then an area average by OpenCV, without padding."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    if fit == "crop":
        top, left = (height - side) // 2, (width - side) // 2
        pixels = pixels[top : top + side, left : left + side]
    scale = size / max(height, width)
    target = (round(width * scale), round(height * scale)) if fit == "pad" else (size, size)
    return cv2.resize(pixels, target, interpolation=cv2.INTER_AREA)


def without_padding(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    top, left = ((have - want) // 2 for have, want in zip(pixels.shape[:2], shape[:2]))
    return pixels[top : top + shape[0], left : left + shape[1]]


@pytest.mark.parametrize("fit", images.FITS)
@pytest.mark.parametrize("size", [500, 420, 300, 160])
def test_geometry_is_that_of_a_full_decode(size: int, fit: str) -> None:
    source = encoded(photograph(*LARGE), subsampling="4:2:2")
    expected = area_resized(decoded(source), size, fit)
    found = without_padding(decoded(render(source, Rendering(size, fit)).jpeg), expected.shape)
    assert psnr(found, expected) >= 38
    a_pixel_aside = psnr(found[:, 1:], expected[:, :-1]), psnr(found[1:], expected[:-1])
    assert max(a_pixel_aside) < 34


def ramp(width: int, height: int) -> Image.Image:
    """Red tells the place from left to right, green from top to bottom, from 28 to 228."""
    y, x = np.mgrid[:height, :width] + 0.5
    levels = [28 + 200 * x / width, 28 + 200 * y / height, np.full_like(x, 128)]
    return Image.fromarray(np.rint(np.stack(levels, axis=-1)).astype(np.uint8))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(40, 500), st.integers(40, 500), st.integers(16, 100), st.sampled_from(images.FITS),
    st.sampled_from(["JPEG", "PNG"]),
)  # fmt: skip
def test_every_pixel_is_where_it_belongs(width: int, height: int, size: int, fit: str, format: str) -> None:
    source = encoded(ramp(width, height), format, **({"quality": 100, "subsampling": 0} if format == "JPEG" else {}))
    with mock.patch.object(images, "SMALL_PIXELS", 0):  # scales small ones as well
        pixels = decoded(render(source, Rendering(size, fit, 100)).jpeg).astype(float)
    scale = size / (max(width, height) if fit == "pad" else min(width, height))
    for axis, original in ((1, width), (0, height)):
        target = {"crop": original * scale, "squash": size, "pad": max(1, round(original * scale))}[fit]
        first = (size - target) // 2 if fit == "pad" else (size - target) / 2
        place = (np.arange(size) + 0.5 - first) * original / target
        inner = (place > 0.1 * original) & (place < 0.9 * original)
        found = pixels[:, size // 2] if axis == 0 else pixels[size // 2]
        error = np.mean((found[:, 1 - axis] - 28 - 200 * place / original)[inner])
        assert abs(error) < 1 + 0.05 * 200 / target  # rounding, and a twentieth of a pixel


@settings(derandomize=True)
@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(16, 8192), st.sampled_from(images.FITS))
def test_the_scale_leaves_enough_pixels(width: int, height: int, size: int, fit: str) -> None:
    eighths = images._eighths((width, height), Rendering(size, fit))
    side = max(width, height) if fit == "pad" else min(width, height)
    assert eighths == 8 or side * eighths / 8 >= images.MARGIN * size
    smaller = [scale for scale in images.EIGHTHS if scale < eighths]
    assert width * height <= images.SMALL_PIXELS or all(side * s / 8 < images.MARGIN * size for s in smaller)
    assert images._eighths((width, height), Rendering(0, fit)) == 8


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [512, 256, 160])
def test_detail_of_a_full_decode_is_kept(size: int, sampling: str) -> None:
    original = photograph(*LARGE)
    source = encoded(original, subsampling=sampling)
    side = LARGE[1]
    left = (LARGE[0] - side) / 2
    best = np.asarray(original.resize((size, size), Image.Resampling.LANCZOS, box=(left, 0, left + side, side)))
    usual = decoded(encoded(Image.fromarray(area_resized(decoded(source), size, "crop")), quality=95, subsampling=0))
    ours = decoded(render(source, Rendering(size)).jpeg)
    assert psnr(ours, usual) >= 38
    assert psnr(ours, best) >= psnr(usual, best) - 0.5


@pytest.mark.parametrize("fit", images.FITS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, fit: str) -> None:
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    source = encoded(photograph(320, 210), exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(source)))
    expected = area_resized(np.asarray(upright), 60, fit)
    result = render(source, Rendering(60, fit))
    assert psnr(without_padding(decoded(result.jpeg), expected.shape), expected) > 35
    assert result.original_size == upright.size == render(source, Rendering(0)).original_size
    assert not Image.open(io.BytesIO(result.jpeg)).getexif()


@pytest.mark.parametrize("exif", [
    b"", b"MM", b"MM\0*\xff\xff", b"II*\0\x08\0\0\0\xff\xff\x12\x01",
    b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\x63\0\0", b"MM\0*\0\0\0\x08\0\1\1\x12\0\2\0\0\0\3ab\0\0",
])  # fmt: skip
def test_damaged_exif_means_upright(exif: bytes, recwarn) -> None:
    source = encoded(photograph(320, 210))
    assert render(with_segment(source, 0xE1, b"Exif\0\0" + exif), Rendering(60)) == render(source, Rendering(60))
    assert not recwarn.list


def test_dicom_viewers_leave_exif_alone(tmp_path) -> None:
    pytest.importorskip("pydicom")
    from melanoma_tf import dicom

    exif = Image.Exif()
    exif[images.ORIENTATION] = 6
    plain, tagged = (encoded(photograph(320, 210), subsampling="4:2:2", **options) for options in ({}, {"exif": exif}))
    dicom.write_photograph(tmp_path / "one.dcm", tagged, rows=210, columns=320, image_name="one", patient_id="p",
                           sex="male", age=50.0, site="torso")  # fmt: skip
    assert render((tmp_path / "one.dcm").read_bytes(), Rendering(60)) == render(plain, Rendering(60))


def test_padding_is_black_and_the_picture_in_the_middle() -> None:
    pixels = decoded(render(encoded(Image.new("RGB", (400, 100), (200, 200, 200))), Rendering(80, "pad")).jpeg)
    lit = pixels.mean((1, 2)) > 100
    assert lit.nonzero()[0].tolist() == list(range(30, 50)) and pixels[:29].max() < 8 and pixels[51:].max() < 8


@pytest.mark.parametrize("fit", images.FITS)
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("width, height", [(1, 1), (1, 300), (300, 1), (20, 16)])
def test_small_originals_are_scaled_up(width: int, height: int, format: str, fit: str) -> None:
    source = encoded(Image.new("RGB", (width, height), (200, 30, 30)), format)
    for size in (64, 0):
        result = render(source, Rendering(size, fit))
        pixels = decoded(result.jpeg)
        assert pixels.shape[:2] == ((64, 64) if size else (height, width)) and result.original_size == (width, height)
        middle = pixels[(pixels.shape[0] - 1) // 2, (pixels.shape[1] - 1) // 2].astype(int)
        assert np.abs(middle - (200, 30, 30)).max() < 12


# What is damaged is never taken for whole


KINDS: dict[str, dict] = {
    "4:4:4": {"subsampling": "4:4:4"},
    "4:2:2": {"subsampling": "4:2:2"},
    "4:2:0": {"subsampling": "4:2:0"},
    "optimized": {"optimize": True},
    "restart markers": {"restart_marker_blocks": 5, "subsampling": "4:2:2"},
    "progressive": {"progressive": True, "subsampling": "4:2:0"},
    "progressive, restart markers": {"progressive": True, "restart_marker_rows": 2},
    "grey": {},
    "CMYK": {},
}


@functools.cache
def of_kind(kind: str) -> bytes:
    image = photograph(200, 150, 8)
    return encoded(image.convert({"grey": "L", "CMYK": "CMYK"}.get(kind, "RGB")), **KINDS[kind])


def scan_start(source: bytes) -> int:
    start = source.index(b"\xff\xda")
    return start + 2 + source[start + 3]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_jpeg_is_rejected(kind: str) -> None:
    source = of_kind(kind)
    assert code_of(source) == "" and check_jpeg(source) == (200, 150)
    tenths = [len(source) * tenth // 10 for tenth in range(1, 10)]
    for length in [3, 30, *tenths, *range(scan_start(source), len(source) - 2, 199), len(source) - 2, len(source) - 1]:
        for size in (0, 32):
            assert code_of(source[:length], Rendering(size)) in ("truncated", "undecodable"), length


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_jpeg_with_an_end_marker_is_rejected(kind: str) -> None:
    source = of_kind(kind)
    tenths = [len(source) * tenth // 10 for tenth in range(1, 10)]
    for length in [*tenths, *range(scan_start(source), len(source) - 4, 199)]:
        cut = source[:length] + END
        for size in (0, 32):
            assert code_of(cut, Rendering(size)) in ("truncated", "undecodable"), length
        with pytest.raises(RejectError):
            check_jpeg(cut)
    assert decoded(source[: len(source) * 9 // 10] + END).shape == (150, 200, 3)  # Pillow says nothing


def test_a_cut_between_two_scans_is_rejected() -> None:
    source = of_kind("progressive")
    scans = [place for place in range(len(source)) if source.startswith(b"\xff\xda", place)]
    tables = [source.rindex(b"\xff\xc4", 0, scan) for scan in scans]
    assert len(scans) > 5
    for place in scans[1:] + tables[1:]:
        assert code_of(source[:place] + END) in ("truncated", "undecodable")
    assert code_of(source[: scans[-1]] + END) == "truncated"


def test_a_lacking_end_marker_is_always_noticed() -> None:
    # Pillow alone takes about one in twelve of these, depending on the last bits of the scan.
    for seed in range(60):
        pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        for size in (0, 32):
            assert code_of(encoded(Image.fromarray(pixels))[:-2], Rendering(size)) == "truncated"


@pytest.mark.parametrize("kind", KINDS)
def test_overwritten_bytes_are_rejected(kind: str) -> None:
    """But for the few that happen to leave a legal scan of the same length."""
    source, random = of_kind(kind), np.random.default_rng(0)
    start = scan_start(source)
    codes = []
    for place in random.integers(start, len(source) - 1002, 20):
        codes.append(code_of(source[:place] + random.bytes(1000) + source[place + 1000 :]))
    assert codes.count("") <= (4 if kind in ("optimized", "progressive") else 1)
    assert set(codes) <= {"", "truncated", "undecodable"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rest", [END, bytes(300) + END, b""])
def test_a_zeroed_rest_is_rejected(kind: str, rest: bytes) -> None:
    source = of_kind(kind)
    for tenth in range(3, 10):
        kept = len(source) * tenth // 10
        assert code_of(source[:kept] + bytes(len(source) - kept - 2) + rest) in ("truncated", "undecodable")


def test_a_whole_jpeg_behind_a_cut_one_does_not_mend_it() -> None:
    source = of_kind("4:2:2")
    assert code_of(source[: len(source) // 2] + source) in ("truncated", "undecodable")


def test_a_picture_larger_than_its_scan_is_rejected() -> None:
    source = of_kind("4:2:2")
    place = source.index(b"\xff\xc0") + 5
    assert code_of(source[:place] + struct.pack(">H", 151 + 8) + source[place + 2 :]) == "truncated"


def without_scan_parameters(source: bytes) -> bytes:
    return source[: scan_start(source) - 3] + bytes(3) + source[scan_start(source) :]


HARMLESS = {
    "zeros behind": lambda source: source + bytes(7),
    "fill bytes behind": lambda source: source + b"\xff",
    "a second picture behind": lambda source: source + of_kind("grey"),
    "a cut second picture behind": lambda source: source + of_kind("grey")[:500],
    "fill bytes before the end marker": lambda source: source[:-2] + b"\xff\xff" + END,
    "zeros before the end marker": lambda source: source[:-2] + bytes(9) + END,
    "an end marker in a comment": lambda source: with_segment(source, 0xFE, b"a \xff\xda and a \xff\xd9"),
    "a thumbnail": lambda source: with_segment(source, 0xE1, b"Exif\0\0" + encoded(photograph(40, 30)), 20),
    "half a colour profile": lambda source: with_segment(source, 0xE2, b"ICC_PROFILE\0\1\2" + bytes(99), 20),
    "another version of JFIF": lambda source: source.replace(b"JFIF\0\1\1", b"JFIF\0\2\1"),
    "no scan parameters": without_scan_parameters,
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_does_no_harm_is_taken(name: str) -> None:
    source = of_kind("4:2:2")
    odd = HARMLESS[name](source)
    assert odd != source
    assert render(odd, Rendering(64)) == render(source, Rendering(64))
    assert render(odd, Rendering(0)).jpeg == odd
    cut = len(odd) - 2000 if odd.endswith(source[-500:]) else odd.rindex(source[-500:-2]) - 1500
    assert code_of(odd[:cut] + END) in ("truncated", "undecodable")


def test_several_pictures_in_one_file_give_the_first() -> None:
    first, second = photograph(200, 150), photograph(100, 80)
    source = encoded(first, "MPO", save_all=True, append_images=[second], subsampling="4:2:2")
    assert Image.open(io.BytesIO(source)).n_frames == 2
    assert render(source, Rendering(64)).original_size == (200, 150)
    assert psnr(decoded(render(source, Rendering(150)).jpeg), np.asarray(first)[:, 25:175]) > 30


# What no decoder here can do, and what would take too much


def patched(source: bytes, offset: int, content: bytes) -> bytes:
    """With other bytes from `offset` on after the marker of the frame header."""
    place = source.index(b"\xff\xc0") + offset
    return source[:place] + content + source[place + len(content) :]


@pytest.mark.parametrize(("offset", "content"), [
    (1, b"\xc9"), (1, b"\xca"), (1, b"\xc3"), (1, b"\xc5"),  # arithmetic coding, lossless, hierarchical
    (4, b"\x0c"), (9, b"\x02"), (9, b"\x05"),  # 12 bits, components
    (11, b"\x41"),  # luminance four times as wide as colour, in a way that nothing uses
])  # fmt: skip
def test_what_cannot_be_decoded_strictly_is_unsupported(offset: int, content: bytes) -> None:
    source = patched(of_kind("4:2:2"), offset, content)
    if offset == 11:
        source = patched(source, 14, b"\x31")
    for size in (0, 32):
        assert code_of(source, Rendering(size)) == "unsupported"


@pytest.mark.parametrize("size", [0, 32])
def test_bombs_are_refused_before_anything_is_decoded(size: int, monkeypatch) -> None:
    def decode(*_, **__):
        raise AssertionError("it was about to be decoded")

    monkeypatch.setattr(jpeg.simplejpeg, "decode_jpeg", decode)
    monkeypatch.setattr(images, "as_rgb", decode)
    source = of_kind("4:2:2")
    assert code_of(patched(source, 5, struct.pack(">HH", 65500, 65500)), Rendering(size)) == "too_large"
    assert code_of(patched(source, 5, struct.pack(">HH", 9000, 9000)), Rendering(size)) == "truncated"
    assert code_of(patched(source, 5, struct.pack(">HH", 0, 200)), Rendering(size)) == "undecodable"
    assert code_of(raw_png(65500, 65500, [bytes(10)]), Rendering(size)) == "too_large"
    assert code_of(raw_png(6000, 6000, [bytes(6001)]), Rendering(size)) == "truncated"


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_flattest_picture_is_no_bomb(mode: str, sampling: str, progressive: bool) -> None:
    image = Image.new(mode, (4000, 3000))
    source = encoded(image, subsampling=sampling, progressive=progressive, optimize=True, quality=1)
    assert jpeg.read_header(source) == jpeg.Header(4000, 3000, len(mode), progressive)
    assert check_jpeg(source) == (4000, 3000)


def test_a_side_too_long_for_jpeg_is_too_large() -> None:
    source = encoded(Image.new("L", (65_501, 1)), "PNG")
    assert code_of(source, Rendering(0)) == "too_large" and code_of(source) == ""


# Colours and bytes


@pytest.mark.parametrize(("mode", "format"), [
    ("L", "JPEG"), ("CMYK", "JPEG"), ("L", "PNG"), ("RGB", "PNG"), ("1", "PNG"), ("RGBA", "PNG"), ("P", "PNG"),
    ("LA", "PNG"),
])  # fmt: skip
@pytest.mark.parametrize("size", [0, 64])
def test_every_mode_becomes_rgb(mode: str, format: str, size: int) -> None:
    original = photograph(64, 64, 0).convert(mode)
    found = render(encoded(original, format), Rendering(size)).jpeg
    if (mode, size) != ("L", 0):  # a grey JPEG is copied as it is
        assert Image.open(io.BytesIO(found)).mode == "RGB"
    assert psnr(decoded(found), np.asarray(original.convert("RGB"))) > (25 if mode == "1" else 34)


def test_large_cmyk_keeps_its_colours() -> None:
    source = encoded(photograph(*LARGE, 0).convert("CMYK"))
    assert psnr(decoded(render(source, Rendering(256)).jpeg), area_resized(decoded(source), 256, "crop")) > 40
    whole = render(source, Rendering(0)).jpeg
    assert Image.open(io.BytesIO(whole)).mode == "RGB" and psnr(decoded(whole), decoded(source)) > 40


@pytest.mark.parametrize("quality", [1, 50, 89, 90, 95, 100])
def test_quality_and_sampling_are_those_of_libjpeg(quality: int) -> None:
    found = render(encoded(photograph(200, 150)), Rendering(64, quality=quality)).jpeg
    sampling = "4:4:4" if quality >= images.FULL_CHROMA_QUALITY else "4:2:0"
    by_pillow = encoded(Image.fromarray(decoded(found)), quality=quality, subsampling=sampling)
    ours, theirs = (Image.open(io.BytesIO(source)) for source in (found, by_pillow))
    assert ours.quantization == theirs.quantization and ours.layer == theirs.layer
    assert not ours.info.keys() & {"exif", "icc_profile", "comment", "adobe", "progressive"}


def test_every_decoder_reads_the_same_pixels() -> None:
    tf = pytest.importorskip("tensorflow")
    for quality in (80, 95):
        found = render(encoded(photograph(200, 150)), Rendering(64, quality=quality)).jpeg
        by_tensorflow = tf.io.decode_jpeg(found, channels=3, dct_method="INTEGER_ACCURATE").numpy()
        np.testing.assert_array_equal(by_tensorflow, decoded(found))
        np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(found, np.uint8), 1)[..., ::-1], decoded(found))


def test_bytes_depend_on_the_picture_and_the_settings_alone() -> None:
    image = photograph(200, 150)
    plain = encoded(image)
    decorated = encoded(image, comment=b"a comment", icc_profile=bytes(500), dpi=(300, 300))
    assert decorated != plain
    assert render(decorated, Rendering(64)) == render(plain, Rendering(64)) == render(plain, Rendering(64))
    assert render(plain, Rendering(64, quality=94)) != render(plain, Rendering(64))
    assert encoded(image, "PNG", compress_level=1) != encoded(image, "PNG")
    assert render(encoded(image, "PNG", compress_level=1), Rendering(64)) == render(
        encoded(image, "PNG"), Rendering(64)
    )


# PNG


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def raw_png(width: int, height: int, rows: list[bytes], *, interlaced: bool = False) -> bytes:
    """8-bit grey; each row starts with its filter."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlaced)
    return png.START + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")


def grey_pixels(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)


@given(st.integers(1, 20), st.integers(1, 20), st.booleans())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_png_without_its_last_row_is_cut(width: int, height: int, interlaced: bool) -> None:
    pixels = grey_pixels(width, height)
    passes = [pixels[y::dy, x::dx] for x, y, dx, dy in png.PASSES] if interlaced else [pixels]
    rows = [b"\0" + row.tobytes() for part in passes for row in part if part.size]
    whole = raw_png(width, height, rows, interlaced=interlaced)
    np.testing.assert_array_equal(images._decode_png(whole)[..., 0], pixels)
    cut = raw_png(width, height, rows[:-1], interlaced=interlaced)
    assert code_of(cut) == "truncated"


def test_pillow_takes_a_png_without_its_last_rows() -> None:
    pixels = grey_pixels(20, 20)
    cut = raw_png(20, 20, [b"\0" + row.tobytes() for row in pixels[:10]])
    assert np.asarray(Image.open(io.BytesIO(cut)))[12:].max() == 0


def test_a_damaged_png_is_rejected() -> None:
    source = encoded(photograph(40, 30), "PNG")
    assert code_of(source + bytes(9)) == ""
    for place in range(8, len(source), 13):
        assert code_of(source[:place]) in ("truncated", "undecodable")
        flipped = source[:place] + bytes([source[place] ^ 4]) + source[place + 1 :]
        assert code_of(flipped) in ("truncated", "undecodable", "too_large")


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    grey = encoded(Image.fromarray(np.full((40, 40), 100 * 256, np.uint16)), "PNG")
    _, colour = cv2.imencode(".png", np.full((40, 40, 3), (30 * 256, 200 * 256, 100 * 256), np.uint16))
    for source, expected in ((grey, (100, 100, 100)), (colour.tobytes(), (100, 200, 30))):
        assert np.abs(decoded(render(source, Rendering(32)).jpeg)[16, 16] - np.array(expected)).max() < 3


def test_transparent_parts_are_black() -> None:
    image = Image.new("RGBA", (64, 64), (255, 255, 255, 0))
    image.paste((220, 30, 30, 255), (32, 0, 64, 64))
    palette = Image.new("P", (64, 64), 1)
    palette.putpalette([255, 255, 255, 220, 30, 30])
    palette.paste(0, (0, 0, 32, 64))
    for source in (encoded(image, "PNG"), encoded(palette, "PNG", transparency=0)):
        pixels = decoded(render(source, Rendering(32)).jpeg).astype(int)
        assert pixels[16, 4].max() < 12 and np.abs(pixels[16, 28] - (220, 30, 30)).max() < 12


@pytest.mark.parametrize(("source", "code"), [
    (b"", "empty"), (b"GIF89a" + bytes(200), "not_an_image"), (b"text " * 90, "not_an_image"),
    (b"\xff\xd8\xff" + b"text " * 90, "truncated"), (b"\xff\xd8\xff\xe0", "truncated"), (b"\xff\xd8\xff", "truncated"),
    (png.START + bytes(50), "undecodable"), (png.START, "undecodable"),
])  # fmt: skip
def test_what_is_no_image_is_rejected(source: bytes, code: str) -> None:
    assert code_of(source) == code


def test_check_jpeg_takes_no_png() -> None:
    with pytest.raises(RejectError, match="not_an_image"):
        check_jpeg(encoded(photograph(40, 30), "PNG"))


def test_opening_does_not_decode() -> None:
    assert images.open_image(of_kind("4:2:2")[:1500]).size == (200, 150)
    with pytest.raises(RejectError, match="undecodable"):
        images.open_image(b"GIF89a" + bytes(200))
    with pytest.raises(RejectError, match="too_large"):
        images.open_image(patched(of_kind("4:2:2"), 5, struct.pack(">HH", 11000, 11000)))
