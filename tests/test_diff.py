"""Diff: by name, whatever the layout and the dialect; OpenCV says what the PSNR is."""

import io
import json
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from melanoma_tf import errors, schema
from melanoma_tf.data import shards
from tfrecord_tools import __main__ as program
from tfrecord_tools.diff import diff

NUMBERS = range(12)


def picture(number: int, size: int = 32) -> Image.Image:
    y, x = np.mgrid[:size, :size] / size
    waves = [np.sin(9 * x + 5 * y + number), np.sin(7 * y - 4 * x), np.sin(5 * (x + y) - number)]
    return Image.fromarray((127 + 90 * np.stack(waves, axis=-1)).astype(np.uint8))


def jpeg(number: int, size: int = 32, **options) -> bytes:
    buffer = io.BytesIO()
    picture(number, size).save(buffer, "JPEG", **{"quality": 95} | options)
    return buffer.getvalue()


def fields_of(number: int, **more) -> dict:
    return {"image": jpeg(number), "image_name": f"ISIC_{number}".encode(), "target": number % 2} | more


def write(folder: Path, records: list[dict], number_of_shards: int = 1, prefix: str = "train") -> Path:
    folder.mkdir(exist_ok=True)
    for shard in range(number_of_shards):
        mine = records[shard::number_of_shards]
        path = folder / f"{prefix}{shard:02}-{len(mine)}.tfrec"
        shards.write_shard(path, [schema.encode_fields(fields) for fields in mine])
    return folder


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return write(tmp_path / "a", [fields_of(number) for number in NUMBERS], 3)


def run(monkeypatch: pytest.MonkeyPatch, a: Path, b: Path, *more: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tfrecord-tools", "diff", f"--a={a}", f"--b={b}", "--workers=1", *more])
    return program.main()


def other(tmp_path: Path, changed: dict[int, dict], number_of_shards: int = 3) -> Path:
    """The same set, with some fields of some records replaced."""
    return write(tmp_path / "b", [fields_of(n, **changed.get(n, {})) for n in NUMBERS], number_of_shards)


def test_the_same_records_in_another_layout_agree(a, tmp_path, monkeypatch, capsys) -> None:
    b = write(tmp_path / "b", [fields_of(number) for number in reversed(NUMBERS)], 2, prefix="set")
    assert run(monkeypatch, a, b) == errors.EXIT_DONE
    assert capsys.readouterr().out.splitlines() == [
        f"a: {a}: 12 records in 3 shards, official", f"b: {b}: 12 records in 2 shards, official",
        "names: 12 in both, in another order; 0 only in a, 0 only in b",
        "pictures: 12 equal byte for byte, 0 pixel for pixel", "the sets agree",
    ]  # fmt: skip
    assert diff(a, a).same_order


def test_psnr_is_that_of_opencv(a, tmp_path, monkeypatch, capsys) -> None:
    changed = {
        2: {"image": jpeg(2, quality=60)},
        5: {"image": jpeg(5, quality=90)},
        7: {"image": jpeg(7, optimize=True)},
    }
    b = other(tmp_path, changed)
    report = diff(a, b, min_psnr=0)
    expected = {
        f"ISIC_{number}": cv2.PSNR(decoded(jpeg(number)), decoded(changed[number]["image"])) for number in (2, 5)
    }
    assert report.psnr == pytest.approx(expected) and (report.same_bytes, report.same_pixels) == (9, 1)
    assert report.differences() == []
    between = sum(expected.values()) / 2
    assert run(monkeypatch, a, b, f"--min_psnr={between}") == errors.EXIT_USER
    said = capsys.readouterr().out.splitlines()
    assert said[3].endswith(f"2 by PSNR: least {expected['ISIC_2']:.2f} dB, median {between:.2f} dB")
    assert said[-2:] == [f"PSNR below {between:g} dB: 1: ISIC_2 {expected['ISIC_2']:.2f} dB", "the sets differ"]


def decoded(jpeg_bytes: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg_bytes)))


def test_sizes_that_differ_and_pictures_that_do_not_decode_are_named(a, tmp_path) -> None:
    b = other(tmp_path, {3: {"image": jpeg(3, 48)}, 4: {"image": jpeg(4)[:-80]}, 5: {"image": b"no picture"}})
    report = diff(a, b)
    assert report.not_compared["ISIC_3"] == "32x32 in a, 48x48 in b"
    assert report.not_compared["ISIC_4"].startswith("b is truncated")
    assert report.not_compared["ISIC_5"].startswith("b is not_an_image")
    (line,) = report.differences()
    assert line.startswith("pictures that cannot be compared: 3: ISIC_3 (32x32 in a, 48x48 in b)")


def test_fields_that_differ_are_counted_with_examples(a, tmp_path) -> None:
    long = b"x" * 100
    changed = {1: {"target": 0}, 2: {"target": 1}, 3: {"source": long + b"1"}, 4: {"age": math.nan}}
    b = other(tmp_path, changed)
    lines = diff(a, b).differences()
    assert lines[0].startswith("field age: 1: ISIC_4 (a: absent, b: nan)")
    assert lines[1] == f"field source: 1: ISIC_3 (a: absent, b: {'x' * 40}...)"
    assert lines[2] == "field target: 2: ISIC_1 (a: 1, b: 0), ISIC_2 (a: 0, b: 1)"
    assert diff(a, b, ignore=["target", "age", "source"]).differences() == []
    assert diff(b, b).differences() == []  # NaN agrees with NaN
    changed[3]["source"] = long + b"2"
    c = write(tmp_path / "c", [fields_of(n, **changed.get(n, {})) for n in NUMBERS])
    assert len(diff(b, c).differences()) == 1  # that only shows behind what is printed


def test_dialects_can_be_compared_by_leaving_out_what_only_one_has(a, tmp_path, monkeypatch, capsys) -> None:
    b = other(tmp_path, {number: {"width": 640, "height": 480} for number in NUMBERS})
    assert run(monkeypatch, a, b) == errors.EXIT_USER
    assert "field width: 12: ISIC_0 (a: absent, b: 640), ISIC_3" in capsys.readouterr().out
    assert run(monkeypatch, a, b, "--ignore=width,height") == errors.EXIT_DONE


def test_names_on_one_side_only_and_doubled_names(a, tmp_path, monkeypatch, capsys) -> None:
    b = write(tmp_path / "b", [fields_of(number) for number in (*NUMBERS[3:], 20, 5)])
    assert run(monkeypatch, a, b) == errors.EXIT_USER
    said = capsys.readouterr().out
    assert "only in a: 3: ISIC_0, ISIC_1, ISIC_2\nonly in b: 1: ISIC_20\nmore than once in b: 1: ISIC_5\n" in said


def test_json_tells_everything_and_workers_change_nothing(a, tmp_path, monkeypatch, capsys) -> None:
    b = other(tmp_path, {2: {"image": jpeg(2, quality=30)}, 3: {"target": 0}, 9: {"image": jpeg(9, optimize=True)}}, 2)
    assert run(monkeypatch, a, b, "--json") == errors.EXIT_USER
    said = capsys.readouterr().out
    report = json.loads(said)
    assert (report["in_both"], report["same_bytes"], report["same_pixels"], report["agree"]) == (12, 10, 1, False)
    assert list(report["psnr"]["worst"]) == ["ISIC_2"] and report["psnr"]["min"] == report["psnr"]["median"]
    assert report["fields"] == {"target": {"ISIC_3": ["1", "0"]}} and report["a"]["dialects"] == {"official": 12}
    monkeypatch.setattr("tfrecord_tools.diff.PAIRS_PER_MESSAGE", 5)
    assert run(monkeypatch, a, b, "--json", "--workers=2") == errors.EXIT_USER
    assert capsys.readouterr().out == said


def test_one_prefix_only(a, tmp_path) -> None:
    b = other(tmp_path, {})
    write(b, [fields_of(99)], prefix="test")
    assert diff(a, b).only_b == ["ISIC_99"]
    assert diff(a, b, prefix="train").differences() == []


def damage(folder: Path) -> None:
    path = folder / "train00-4.tfrec"
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)


BAD_INPUT = {
    "no folder": (None, ["--b=/no/such/folder"], "no such folder: /no/such/folder"),
    "no shards": (lambda b: [path.unlink() for path in b.iterdir()], [], "it holds nothing"),
    "unknown set": (None, ["--prefix=tarin"], "did you mean 'train'"),
    "a flipped bit": (damage, [], "train00-4.tfrec: the record at byte 0 is damaged (checksum of its data)"),
    "a text": (lambda b: (b / "train03.tfrec").write_text("this is no shard"), [], "record 0 at byte 0 is damaged"),
    "no melanoma record": (lambda b: write(b, [{"label": 1}], prefix="x"), [], "byte 0 is no melanoma record"),
    "negative PSNR": (None, ["--min_psnr=-1"], "--min_psnr is -1.0"),
    "no number": (None, ["--min_psnr=nan"], "--min_psnr is nan"),
    "a side missing": (None, ["--b="], "missing --b"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line(a, tmp_path, monkeypatch, capsys, case) -> None:
    change, more, message = BAD_INPUT[case]
    b = other(tmp_path, {})
    if change:
        change(b)
    assert run(monkeypatch, a, b, *more) == errors.EXIT_USER
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and message in said.err and said.out == ""


def test_empty_shards_agree(tmp_path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, [])
    assert diff(tmp_path / "a", tmp_path / "b").differences() == []
