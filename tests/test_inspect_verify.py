"""Inspect and verify, and the two formats below them: frames and records."""

import io
import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from melanoma_tf import errors, schema
from melanoma_tf.data import shards
from tfrecord_tools import __main__ as program
from tfrecord_tools.inspection import dialect_of, inspect
from tfrecord_tools.verify import verify

JPEG_SIZE = (24, 20)


def jpeg_of(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (*JPEG_SIZE[::-1], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def record(number: int, target: int | None = 0, image: bytes | None = None) -> bytes:
    return schema.encode_record(jpeg_of(number) if image is None else image, f"ISIC_{number}", target, JPEG_SIZE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two train shards of 3 and 2, made by convert's own writer, with their table."""
    shards.write_shard(tmp_path / "train00-3.tfrec", [record(0), record(2, 1), record(4)])
    shards.write_shard(tmp_path / "train01-2.tfrec", [record(1), record(3)])
    (tmp_path / "train.csv").write_text("image_name,target\nISIC_0,0\nISIC_1,0\nISIC_2,1\nISIC_3,0\nISIC_4,0\n")
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tfrecord-tools", *arguments])
    return program.main()


def problems(folder: Path) -> list[str]:
    return [problem.line() for problem in verify(folder).problems]


def only_problem(folder: Path) -> str:
    (problem,) = problems(folder)
    return problem


def test_a_whole_folder_is_one_line(folder, monkeypatch, capsys) -> None:
    assert run(monkeypatch, "verify", f"--data_dir={folder}", "--workers=1") == errors.EXIT_DONE
    assert capsys.readouterr().out == "5 records in 2 shards: all whole\n"


def test_a_flipped_bit_is_found_with_file_record_and_offset(folder, monkeypatch, capsys) -> None:
    path = folder / "train00-3.tfrec"
    offsets = [offset for offset, _ in shards.read_records(path)]
    data = bytearray(path.read_bytes())
    data[offsets[1] + 100] ^= 4
    path.write_bytes(data)
    assert run(monkeypatch, "verify", f"--data_dir={folder}", "--workers=1") == errors.EXIT_USER
    named = f"{path}: record 1 at byte {offsets[1]} (ISIC_2): damaged: the checksum of its data does not fit"
    assert capsys.readouterr().out.splitlines() == [
        named, f"{folder}/train.csv: ISIC_2: in no readable record", "4 records in 2 shards: 2 problems",
    ]  # fmt: skip


def test_every_problem_is_found_and_told_as_json(folder, monkeypatch, capsys) -> None:
    """Behind a damaged record the others are still looked at."""
    path = folder / "train00-3.tfrec"
    shards.write_shard(path, [record(0), record(2, 1), record(4, image=b"no picture")])
    offsets = [offset for offset, _ in shards.read_records(path)]
    data = bytearray(path.read_bytes())
    data[3] ^= 4
    path.write_bytes(data)
    assert run(monkeypatch, "verify", f"--data_dir={folder}", "--workers=1", "--json") == errors.EXIT_USER
    report = json.loads(capsys.readouterr().out)
    assert (report["shards"], report["records"]) == (2, 4)
    places = [(one["file"], one["record"], one["offset"], one["image_name"]) for one in report["problems"]]
    assert places == [(str(path), 0, 0, "ISIC_0"), (str(path), 2, offsets[2], "ISIC_4"),
                      (f"{folder}/train.csv", None, None, "ISIC_0")]  # fmt: skip


def test_a_cut_shard_is_found(folder) -> None:
    path = folder / "train01-2.tfrec"
    path.write_bytes(path.read_bytes()[:-30])
    assert "record 1 at byte" in problems(folder)[0] and "the file ends before it does" in problems(folder)[0]


def test_a_shard_cut_between_two_records_is_found_by_the_count_in_its_name(folder) -> None:
    path = folder / "train00-3.tfrec"
    path.write_bytes(path.read_bytes()[: [offset for offset, _ in shards.read_records(path)][2]])
    assert f"{path}: holds 2 whole records but its name promises 3" in problems(folder)


def test_a_wrong_count_in_the_name_is_found(folder) -> None:
    (folder / "train01-2.tfrec").rename(folder / "train01-4.tfrec")
    assert only_problem(folder).endswith("train01-4.tfrec: holds 2 whole records but its name promises 4")


@pytest.mark.parametrize(("records", "words"), [
    ([record(1), record(3, image=jpeg_of(3)[:-40])], ("record 1 at byte", "ISIC_3", "truncated")),
    ([record(1), record(3, image=b"no picture")], ("record 1 at byte", "ISIC_3", "not_an_image")),
    ([record(1, target=7), record(3)], ("record 0 at byte 0", "ISIC_1", "target 7")),
    ([record(1, target=1), record(3)], ("train01-2", "record 0 at byte 0 (ISIC_1)", "target 1", "says 0")),
    ([record(1), record(9)], ("train01-2", "record 1 at byte", "(ISIC_9): not in", "train.csv")),
    ([record(1), record(0)], ("train01-2", "record 1 at byte", "(ISIC_0): is in the set twice", "record 0")),
    ([record(1), schema.encode_fields({"image": b"x"})], ("record 1 at byte", "'image_name'")),
    ([record(1), b"\xff\xff\xff"], ("record 1 at byte", "not a tf.train.Example")),
])  # fmt: skip
def test_bad_records_are_named(folder, records: list[bytes], words: tuple[str, ...]) -> None:
    shards.write_shard(folder / "train01-2.tfrec", records)
    assert any(all(word in problem for word in words) for problem in problems(folder))


def test_a_missing_image_is_found(folder) -> None:
    shards.write_shard(folder / "train01-1.tfrec", [record(1)])
    (folder / "train01-2.tfrec").unlink()
    assert only_problem(folder) == f"{folder}/train.csv: ISIC_3: in no readable record"
    table = (folder / "train.csv").read_text().splitlines()
    dropped = [f"{row},{-1 if 'ISIC_3' in row else 0}" for row in table[1:]]  # as re-made sets mark a duplicate
    (folder / "train.csv").write_text("\n".join([f"{table[0]},tfrecord", *dropped]))
    assert problems(folder) == []


@pytest.fixture
def converted(folder, tmp_path) -> Path:
    """The same five images through the converter, with a manifest."""
    from tfrecord_tools.convert import convert
    from tfrecord_tools.settings import Settings

    (folder / "jpeg").mkdir()
    for number in range(5):
        (folder / "jpeg" / f"ISIC_{number}.jpg").write_bytes(jpeg_of(number))
    out = tmp_path / "converted"
    convert(folder / "jpeg", folder / "train.csv", out, Settings(16, shards=2), workers=1)
    return out


def test_a_shard_swapped_for_another_whole_one_is_found_by_the_manifest(converted) -> None:
    out = converted
    assert verify(out).problems == ()
    shards.write_shard(out / "train01-2.tfrec", [record(1), record(3)])
    assert only_problem(out) == f"{out}/train01-2.tfrec: its SHA-256 is not the one in the manifest"
    (out / "train01-2.tfrec").unlink()
    assert any("names train01-2.tfrec, which is not there" in problem for problem in problems(out))


def test_a_table_that_was_edited_after_the_conversion_is_found(converted) -> None:
    out = converted
    (out / "train.csv").write_text((out / "train.csv").read_text() + "\n")
    assert only_problem(out) == f"{out}/train.csv: its SHA-256 is not the one in the manifest"


def test_without_shards_the_folder_is_named(tmp_path, monkeypatch, capsys) -> None:
    for command in ("verify", "inspect"):
        assert run(monkeypatch, command, f"--data_dir={tmp_path}") == errors.EXIT_USER
        message = capsys.readouterr().err
        assert str(tmp_path) in message and message.count("\n") == 1


def test_inspect_counts(folder, monkeypatch, capsys) -> None:
    shards.write_shard(folder / "test00-1.tfrec", [record(7, None)])
    assert run(monkeypatch, "inspect", f"--data_dir={folder}", "--json") == errors.EXIT_DONE
    test, train = json.loads(capsys.readouterr().out)
    assert (train["set"], train["shards"], train["records"], train["records_promised"]) == ("train", 2, 5, 5)
    assert (train["targets"], train["sizes"], train["dialects"]) == ({"0": 4, "1": 1}, {"24x20": 5}, {"ours": 5})
    assert train["mean_bytes"] == sum(len(jpeg_of(number)) for number in range(5)) / 5
    assert (test["set"], test["targets"]) == ("test", {"no target": 1})


def test_inspect_table_is_aligned_and_marks_a_wrong_count(folder, monkeypatch, capsys) -> None:
    (folder / "train01-2.tfrec").rename(folder / "train01-20.tfrec")
    assert run(monkeypatch, "inspect", f"--data_dir={folder}") == errors.EXIT_DONE
    header, row = capsys.readouterr().out.splitlines()[:2]
    assert "23 (!)" in row and header.index("JPEG sizes") == row.index("24x20: 5")
    assert inspect(folder)[0].promised == 23


@pytest.mark.parametrize(("fields", "dialect"), [
    ({"image": b"", "image_name": b"a", "target": 1}, "official"),
    ({"image": b"", "image_name": b"a"}, "official"),
    ({"image": b"", "image_name": b"a", "target": 1, "sex": 0, "age_approx": 45, "width": 9, "height": 9}, "remade"),
    ({"image": b"", "image_name": b"a", "width": 9, "height": 9}, "ours"),
    ({"image": b"", "label": 1}, "unknown"),
])  # fmt: skip
def test_dialects(fields: dict, dialect: str) -> None:
    assert dialect_of(schema.decode_fields(schema.encode_fields(fields))) == dialect


@settings(max_examples=40, deadline=None)
@given(records=st.lists(st.binary(max_size=300), max_size=6))
def test_frames_come_back(tmp_path_factory, records: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("frames") / "x.tfrec"
    path.write_bytes(b"".join(map(shards.frame, records)))
    found = list(shards.read_records(path))
    assert [data for _, data in found] == records
    assert [offset for offset, _ in found] == [sum(len(data) + 16 for data in records[:i]) for i in range(len(records))]


@settings(max_examples=60, deadline=None)
@given(data=st.binary(min_size=1, max_size=80), place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(tmp_path_factory, data: bytes, place: int, bit: int) -> None:
    framed = bytearray(shards.frame(data))
    framed[place % len(framed)] ^= 1 << bit
    path = tmp_path_factory.mktemp("flipped") / "x.tfrec"
    path.write_bytes(framed)
    with pytest.raises(shards.DamagedShard, match="record 0 at byte 0"):
        list(shards.read_records(path))


def test_the_checksum_is_the_published_one() -> None:
    assert struct.pack("<I", shards.masked_crc(b"123456789")) == struct.pack(
        "<I", ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF
    )  # CRC-32C's check value, RFC 3720


@settings(max_examples=60, deadline=None)
@given(
    image=st.binary(max_size=200), name=st.text(min_size=1, max_size=30).filter(lambda text: text.isprintable()),
    target=st.sampled_from([None, 0, 1]), size=st.none() | st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
)  # fmt: skip
def test_records_come_back(image: bytes, name: str, target: int | None, size: tuple[int, int] | None) -> None:
    found = schema.decode_record(schema.encode_record(image, name, target, size))
    assert (found["image"], found["image_name"], found["target"]) == (image, name, target)
    assert (found["fields"].get("width"), found["fields"].get("height")) == (
        ([size[0]], [size[1]]) if size else (None, None)
    )


def test_a_set_of_which_no_shard_is_left_is_told(converted) -> None:
    for path in converted.glob("train*.tfrec"):
        path.rename(converted / path.name.replace("train", "test"))
    (converted / ".valid.progress.json").write_text("{}")
    (converted / "app.manifest.json").write_text("{}")  # of another program
    told = problems(converted)
    assert any("train.manifest.json: names train00-3.tfrec, which is not there" in problem for problem in told), told
    assert any("the conversion of valid is not finished" in problem for problem in told), told
