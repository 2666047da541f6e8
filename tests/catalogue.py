"""What goes wrong with image files, made on the spot: name of the image -> the reason codes that are right for it."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from melanoma_tf import dicom

ENDS_EARLY = {"truncated", "undecodable"}
WIDTH, HEIGHT = 160, 120


def picture(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """uint8[H,W,3], smooth with grain, so that the scan of its JPEG is some kilobytes."""
    y, x = np.mgrid[:height, :width] / 40
    waves = np.stack([np.sin(x + seed), np.sin(y - x), np.cos(x + y)], axis=-1)
    grain = np.random.default_rng(seed).normal(0, 12, (height, width, 3))
    return (128 + 80 * waves + grain).clip(0, 255).astype(np.uint8)


def jpeg(**options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "JPEG", **({"quality": 90, "subsampling": "4:2:2"} | options))
    return buffer.getvalue()


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "PNG")
    return buffer.getvalue()


def cut(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


def overwritten(data: bytes, count: int = 200) -> bytes:
    """With random bytes in the middle of the scan."""
    start = len(data) * 2 // 3
    return data[:start] + np.random.default_rng(1).bytes(count) + data[start + count :]


def flipped(data: bytes, bits: int) -> bytes:
    """Bits within the second half, far from the headers."""
    damaged = bytearray(data)
    for position in np.random.default_rng(2).integers(len(data) // 2, len(data) - 2, bits):
        damaged[position] ^= 1 << int(position % 8)
    return bytes(damaged)


def of_size(data: bytes, width: int, height: int) -> bytes:
    """A baseline JPEG whose frame header claims another size."""
    start = data.index(b"\xff\xc0")
    return data[: start + 5] + struct.pack(">HH", height, width) + data[start + 9 :]


def dicom_file(codestream: bytes | None = None, change: Callable | None = None, **write) -> bytes:
    """A DICOM photograph as bytes, after `change(dataset)`."""
    import tempfile

    import pydicom

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.dcm"
        dicom.write_photograph(
            path, codestream or jpeg(), image_name="one", patient_id="p", sex="male", age=50.0, site="torso",
            **({"rows": HEIGHT, "columns": WIDTH} | write),
        )  # fmt: skip
        if change is None:
            return path.read_bytes()
        dataset = pydicom.dcmread(path)
    change(dataset)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset)
    return buffer.getvalue()


def with_elements(**elements) -> Callable:
    def change(dataset) -> None:
        for name, value in elements.items():
            setattr(dataset, name, value)

    return change


def with_syntax(uid: str) -> Callable:
    def change(dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = uid

    return change


def without(name: str) -> Callable:
    return lambda dataset: delattr(dataset, name)


def two_frames(dataset) -> None:
    from pydicom.encaps import encapsulate

    dataset.NumberOfFrames = 2
    dataset.PixelData = encapsulate([jpeg(), jpeg(quality=80)])


def native(dataset) -> None:
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.PhotometricInterpretation = "RGB"
    dataset.PixelData = picture().tobytes()
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = False


def native_with(**elements) -> Callable:
    def change(dataset) -> None:
        native(dataset)
        with_elements(**elements)(dataset)

    return change


def deflate_bomb() -> bytes:
    """A data set of 20 GB of zeros in 20 MB would be slow to make; 2 GB in 2 MB already is no photograph."""
    head = dicom_file(change=with_syntax("1.2.840.10008.1.2.1.99"))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 2_000_000_000)
    parts = [packer.compress(body)]
    zeros = bytes(1 << 24)
    parts += [packer.compress(zeros) for _ in range(2_000_000_000 // len(zeros))]
    return head[: _end_of_meta(head)] + b"".join(parts) + packer.flush()


def _end_of_meta(data: bytes) -> int:
    """The file meta information tells its own length (0002,0000)."""
    length = struct.unpack("<I", data[140:144])[0]
    return 144 + length


def nested(depth: int = 1000) -> bytes:
    """Sequences in sequences, of undefined length."""
    data = dicom_file()
    item = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    start = _end_of_meta(data)
    return data[:start] + item * depth + end * depth + data[start:]


FILES: dict[str, tuple[str, Callable[[], bytes], set[str]]] = {
    # name -> (extension, bytes, codes that are right)
    **{
        f"jpeg_cut_at_{tenth}0_percent": ("jpg", lambda tenth=tenth: cut(jpeg(), tenth / 10), ENDS_EARLY)
        for tenth in range(1, 10)
    },
    **{
        f"jpeg_cut_at_{tenth}0_percent_and_ended": (
            "jpg",
            lambda tenth=tenth: cut(jpeg(), tenth / 10) + b"\xff\xd9",
            ENDS_EARLY,
        )
        for tenth in (3, 5, 9)
    },
    "jpeg_without_end": ("jpg", lambda: jpeg()[:-2], {"truncated"}),
    "jpeg_overwritten": ("jpg", lambda: overwritten(jpeg()), ENDS_EARLY),
    "jpeg_with_flipped_bits": ("jpg", lambda: flipped(jpeg(), 25), ENDS_EARLY),
    "progressive_cut": ("jpg", lambda: cut(jpeg(progressive=True), 0.6), ENDS_EARLY),
    "progressive_cut_and_ended": ("jpg", lambda: cut(jpeg(progressive=True), 0.6) + b"\xff\xd9", ENDS_EARLY),
    "jpeg_of_65500": ("jpg", lambda: of_size(jpeg(), 65500, 65500), {"too_large"}),
    "jpeg_of_no_pixels": ("jpg", lambda: of_size(jpeg(), 0, 0), {"undecodable"}),
    "jpeg_of_more_pixels_than_its_scan": ("jpg", lambda: of_size(jpeg(), WIDTH, 4 * HEIGHT), ENDS_EARLY),
    "png_cut": ("png", lambda: cut(png(), 0.5), ENDS_EARLY),
    "png_overwritten": ("png", lambda: overwritten(png()), ENDS_EARLY),
    "nothing": ("jpg", lambda: b"", {"empty"}),
    "text": ("jpg", lambda: b"not an image\n" * 40, {"not_an_image"}),
    "zeros": ("dcm", lambda: bytes(5000), {"not_an_image", "not_dicom"}),
    "dicom_cut": ("dcm", lambda: cut(dicom_file(), 0.7), ENDS_EARLY),
    "dicom_header_alone": ("dcm", lambda: dicom_file()[:132], {"not_dicom", "truncated", "no_pixels"}),
    "dicom_scan_cut_and_ended": (
        "dcm",
        lambda: dicom_file(cut(jpeg(), 0.5) + b"\xff\xd9"),
        ENDS_EARLY,
    ),
    "dicom_scan_overwritten": ("dcm", lambda: dicom_file(overwritten(jpeg())), ENDS_EARLY),
    "jpeg_2000_by_its_header": (
        "dcm",
        lambda: dicom_file(change=with_syntax("1.2.840.10008.1.2.4.90")),
        {"contradiction"},
    ),
    "jpeg_ls_by_its_header": (
        "dcm",
        lambda: dicom_file(change=with_syntax("1.2.840.10008.1.2.4.80")),
        {"contradiction"},
    ),
    "rle_by_its_header": (
        "dcm",
        lambda: dicom_file(change=with_syntax("1.2.840.10008.1.2.5")),
        {"contradiction", *ENDS_EARLY},
    ),
    "rows_against_stream": ("dcm", lambda: dicom_file(rows=HEIGHT - 1), {"contradiction"}),
    "columns_against_stream": ("dcm", lambda: dicom_file(columns=2 * WIDTH), {"contradiction"}),
    "grey_by_its_header": (
        "dcm",
        lambda: dicom_file(change=with_elements(PhotometricInterpretation="MONOCHROME2", SamplesPerPixel=1)),
        {"contradiction"},
    ),
    "no_pixel_data": ("dcm", lambda: dicom_file(change=without("PixelData")), {"no_pixels"}),
    "two_frames": ("dcm", lambda: dicom_file(change=two_frames), {"multi_frame"}),
    "burned_in": ("dcm", lambda: dicom_file(change=with_elements(BurnedInAnnotation="YES")), {"burned_in_annotation"}),
    "dicom_of_65500": (
        "dcm",
        lambda: dicom_file(of_size(jpeg(), 65500, 65500), rows=65500, columns=65500),
        {"too_large"},
    ),
    "native_of_65500": (
        "dcm",
        lambda: dicom_file(change=native_with(Rows=65500, Columns=65500)),
        {"too_large", "truncated"},
    ),
    "native_with_too_few_pixels": ("dcm", lambda: dicom_file(change=native_with(Rows=HEIGHT + 9)), {"truncated"}),
    "deflate_bomb": ("dcm", deflate_bomb, {"too_large"}),
    "nested_1000_deep": ("dcm", nested, {"not_dicom", "unsupported"}),
}

NAMES = {"../../x": "bad_name", "/etc/passwd": "bad_name", "a\\b": "bad_name", "no_such_image": "missing"}


def _directory(path: Path) -> None:
    path.mkdir()


SPECIAL: dict[str, tuple[Callable[[Path], object], str]] = {
    "a_directory": (_directory, "not_a_file"),
    "a_fifo": (os.mkfifo, "not_a_file"),
    "a_symlink_loop": (lambda path: path.symlink_to(path.name), "unreadable"),
    "a_broken_link": (lambda path: path.symlink_to("nowhere.jpg"), "unreadable"),
}

SOUND = {"sound_jpeg": ("jpg", jpeg), "sound_png": ("png", png), "sound_dicom": ("dcm", dicom_file),
         "sound_native": ("dcm", lambda: dicom_file(change=native))}  # fmt: skip


def build(folder: Path) -> dict[str, set[str]]:
    """Writes all of them into `folder`; returns name -> codes, an empty set for the sound ones."""
    expected: dict[str, set[str]] = {}
    for name, (extension, make, codes) in FILES.items():
        (folder / f"{name}.{extension}").write_bytes(make())
        expected[name] = codes
    for name, (act, code) in SPECIAL.items():
        act(folder / f"{name}.jpg")
        expected[name] = {code}
    for name, (extension, make) in SOUND.items():
        (folder / f"{name}.{extension}").write_bytes(make())
        expected[name] = set()
    return expected | {name: {code} for name, code in NAMES.items()}
