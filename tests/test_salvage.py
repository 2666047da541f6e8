"""Salvage: what is whole is kept, byte for byte, and everything else is named. All damage is done for real."""

import hashlib
import io
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from melanoma_tf import errors, schema
from melanoma_tf.data import salvage as reading
from melanoma_tf.data import shards
from tfrecord_tools import __main__ as program
from tfrecord_tools.salvage import salvage
from tfrecord_tools.verify import verify

RECORDS = 50


def jpeg_of(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 10, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def record(number: int, image: bytes | None = None) -> bytes:
    return schema.encode_record(jpeg_of(number) if image is None else image, f"ISIC_{number:07}", number % 2, (10, 8))


@pytest.fixture(scope="session")
def records() -> list[bytes]:
    return [record(number) for number in range(RECORDS)]


@pytest.fixture
def folder(tmp_path: Path, records: list[bytes]) -> Path:
    """A shard of 50 in a folder of its own."""
    (tmp_path / "source").mkdir()
    shards.write_shard(tmp_path / "source" / "train00-50.tfrec", records)
    return tmp_path / "source"


@pytest.fixture
def shard(folder: Path) -> Path:
    return folder / "train00-50.tfrec"


def write_table(folder: Path, count: int = RECORDS, **columns) -> None:
    names = [f"ISIC_{number:07}" for number in range(count)]
    table = pd.DataFrame({"image_name": names, "age_approx": "55.0", "target": [n % 2 for n in range(count)]} | columns)
    table.to_csv(folder / "train.csv", index=False)


def frames(path: Path) -> list[tuple[int, int]]:
    """(start, end) in bytes of every frame of a whole shard."""
    return [(offset, offset + len(data) + 16) for offset, data in shards.read_records(path)]


def flip(path: Path, place: int, bit: int = 2) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *more: str) -> int:
    arguments = ["salvage", f"--data_dir={folder}", f"--out={folder.parent}/out", "--workers=1", *more]
    monkeypatch.setattr(sys, "argv", ["tfrecord-tools", *arguments])
    return program.main()


def listed(folder: Path, prefix: str = "train") -> pd.DataFrame:
    return pd.read_csv(folder.parent / "out" / f"{prefix}.salvage.csv", keep_default_na=False)


def kept_data(path: Path) -> list[bytes]:
    return [data for _, data in shards.read_records(path)]


PLACES = {
    "length": 0, "high byte of the length": 7, "checksum of the length": 9, "first byte of the data": 12,
    "the data": 200, "last byte of the data": -5, "checksum of the data": -2,
}  # fmt: skip


@pytest.mark.parametrize("number", [0, 17, RECORDS - 1])
@pytest.mark.parametrize("place", PLACES)
def test_one_flipped_bit_loses_one_record_and_names_it(folder, shard, records, monkeypatch, place, number) -> None:
    start, end = frames(shard)[number]
    flip(shard, PLACES[place] + (start if PLACES[place] >= 0 else end))
    assert run(monkeypatch, folder) == errors.EXIT_REJECTS
    assert kept_data(folder.parent / "out" / "train00-49.tfrec") == records[:number] + records[number + 1 :]
    (row,) = listed(folder).to_dict("records")
    reason = row.pop("reason")
    name = f"ISIC_{number:07}"
    assert row == {"shard": "train00-50.tfrec", "record": number, "offset": start, "image_name": name}
    assert ("checksum of its length" if "length" in place else "checksum of its data") in reason
    assert verify(folder.parent / "out").problems == ()


def test_every_bit_of_a_shard_costs_its_record_and_no_other(tmp_path) -> None:
    data = [b"first", b"", b"second"]
    content = b"".join(map(shards.frame, data))
    owner = [number for number, one in enumerate(data) for _ in shards.frame(one)]
    path = tmp_path / "x.tfrec"
    for bit in range(8 * len(content)):
        path.write_bytes(content)
        flip(path, bit // 8, bit % 8)
        found = list(reading.salvage_records(path))
        assert [one.data for one in found if isinstance(one, reading.Record)] == [
            one for number, one in enumerate(data) if number != owner[bit // 8]
        ]
        assert [one.number for one in found] == [0, 1, 2]


@pytest.mark.parametrize("cut", [1, 4, 100, -11, -13])
def test_a_cut_tail_loses_the_last_record(folder, shard, records, monkeypatch, cut) -> None:
    start, end = frames(shard)[-1]
    shard.write_bytes(shard.read_bytes()[: end - cut if cut > 0 else start - cut])
    assert run(monkeypatch, folder) == errors.EXIT_REJECTS
    assert kept_data(folder.parent / "out" / "train00-49.tfrec") == records[:-1]
    (row,) = listed(folder).to_dict("records")
    assert (row["record"], row["offset"]) == (49, start) and "the file ends" in row["reason"]


def test_a_tail_cut_between_two_records_is_told_by_the_count_in_the_name(folder, shard, monkeypatch, capsys) -> None:
    shard.write_bytes(shard.read_bytes()[: frames(shard)[-3][0]])
    assert run(monkeypatch, folder) == errors.EXIT_REJECTS
    assert "its name promises 50 records, of 3 nothing is to be seen" in capsys.readouterr().out
    write_table(folder)
    assert run(monkeypatch, folder, "--overwrite") == errors.EXIT_REJECTS
    assert listed(folder)["image_name"].tolist() == ["", "ISIC_0000047", "ISIC_0000048", "ISIC_0000049"]


def test_many_damages_in_one_shard(folder, shard, records, monkeypatch) -> None:
    frame = [bytearray(shards.frame(data)) for data in records]
    for number, place in ((0, 3), (10, 100), (11, 9), (49, 400)):
        frame[number][place] ^= 16
    frame[20][2:] = bytes(len(frame[20]) - 2)
    frame[21][:-70] = bytes(len(frame[21]) - 70)  # a hole of zeros over two records
    del frame[30][-200:]
    frame[40][300:300] = b"bytes that do not belong"
    shard.write_bytes(b"garbage" + b"".join(frame[:25]) + b"garbage" + b"".join(frame[25:]))
    assert run(monkeypatch, folder) == errors.EXIT_REJECTS
    lost = {0, 10, 11, 20, 21, 30, 40, 49}
    assert kept_data(folder.parent / "out" / "train00-42.tfrec") == [
        data for number, data in enumerate(records) if number not in lost
    ]
    rows = listed(folder)
    named = [f"ISIC_{number:07}" for number in sorted(lost - {20, 21})]
    assert rows["image_name"].tolist() == [*named[:3], "", "", *named[3:]]
    starts = np.cumsum([7, *map(len, frame)])  # 7 bytes of garbage before the first
    assert rows["record"].tolist()[:4] == [0, 10, 11, 20]
    assert rows["offset"].tolist()[:4] == [0, *starts[[10, 11, 20]]]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_only_touched_records_are_lost_and_none_is_invented(tmp_path_factory, data) -> None:
    written = data.draw(st.lists(st.binary(max_size=60), max_size=8), label="records")
    content = bytearray(b"".join(map(shards.frame, written)))
    origin = list(range(len(content)))  # where in the undamaged file each byte was, -1 for a new one
    for _ in range(data.draw(st.integers(1, 4), label="damages")):
        place = data.draw(st.integers(0, len(content)), label="place")
        removed = data.draw(st.integers(0, 90), label="removed")
        added = data.draw(st.binary(max_size=60), label="added")
        content[place : place + removed] = added
        origin[place : place + removed] = [-1] * len(added)
    path = tmp_path_factory.mktemp("damaged") / "x.tfrec"
    path.write_bytes(content)
    found = list(reading.salvage_records(path))
    kept = [one.data for one in found if isinstance(one, reading.Record)]
    assert is_subsequence(kept, written)
    assert is_subsequence([written[number] for number in untouched(written, origin)], kept)
    assert [one.offset for one in found] == sorted({one.offset for one in found})
    sizes = sum(one.size if isinstance(one, reading.Loss) else len(one.data) + 16 for one in found)
    assert sizes == len(content)


def untouched(written: list[bytes], origin: list[int]) -> list[int]:
    """Numbers of the records whose frames are still there in one piece."""
    numbers, start = [], 0
    for number, one in enumerate(written):
        size = len(one) + 16
        place = origin.index(start) if start in origin else len(origin)
        if origin[place : place + size] == list(range(start, start + size)):
            numbers.append(number)
        start += size
    return numbers


def is_subsequence(short: list[bytes], long: list[bytes]) -> bool:
    rest = iter(long)
    return all(any(one == other for other in rest) for one in short)


@settings(max_examples=60, deadline=None)
@given(noise=st.binary(max_size=40), lengths=st.lists(st.integers(0, 2**30), max_size=3), zeros=st.integers(0, 40))
def test_headers_are_found_where_they_stand(noise, lengths, zeros) -> None:
    window = noise + b"".join(header_of(length) + noise + bytes(zeros) for length in lengths)
    places = range(len(window) - shards.HEADER_BYTES + 1)
    expected = [place for place in places if shards.parse_length(window[place : place + 12]) is not None]
    assert reading.header_places(window).tolist() == expected and len(expected) >= len(lengths)


def header_of(length: int) -> bytes:
    packed = length.to_bytes(8, "little")
    return packed + shards.masked_crc(packed).to_bytes(4, "little")


def test_a_header_across_two_windows_is_found(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(reading, "_WINDOW_BYTES", 64)
    for filler in range(50, 80):
        (tmp_path / "x.tfrec").write_bytes(b"\xff" * filler + shards.frame(record(1)))
        loss, found = reading.salvage_records(tmp_path / "x.tfrec")
        assert (loss.size, found.offset, found.data) == (filler, filler, record(1))
        flip(tmp_path / "x.tfrec", filler)
        (loss,) = reading.salvage_records(tmp_path / "x.tfrec")
        assert loss.image_names == ("ISIC_0000001",)


def test_records_that_are_no_use_are_left_out_with_the_reason(folder, records, monkeypatch, capsys) -> None:
    odd = [
        record(1), record(1, jpeg_of(9)), b"\xff\xff\xff", schema.encode_fields({"image": b"x"}),
        record(5, jpeg_of(5)[:-30]), record(6, b"no picture"), record(3), record(60),
    ]  # fmt: skip
    shards.write_shard(folder / "train01-8.tfrec", odd)
    (folder / "train00-50.tfrec").unlink()
    shards.write_shard(folder / "train00-2.tfrec", records[2:4])
    assert run(monkeypatch, folder) == errors.EXIT_REJECTS
    out = folder.parent / "out"
    assert kept_data(out / "train01-2.tfrec") == [record(1), record(60)]
    assert (out / "train00-2.tfrec").read_bytes() == (folder / "train00-2.tfrec").read_bytes()
    rows = listed(folder)
    assert rows["record"].tolist() == [1, 2, 3, 4, 5, 6]
    assert rows["image_name"].tolist() == ["ISIC_0000001", "", "", "ISIC_0000005", "ISIC_0000006", "ISIC_0000003"]
    words = ["kept is record 0 of train01-8.tfrec", "not a tf.train.Example", "no field 'image_name'", "truncated",
             "not_an_image", "kept is record 1 of train00-2.tfrec"]  # fmt: skip
    assert all(word in reason for word, reason in zip(words, rows["reason"])), rows["reason"].tolist()
    assert verify(out).problems == ()
    said = capsys.readouterr().out
    assert f"train01-8.tfrec: record 6 at byte {frames(folder / 'train01-8.tfrec')[6][0]} (ISIC_0000003)" in said


def test_the_table_loses_the_rows_without_a_record_and_keeps_the_spelling_of_the_others(folder, shard) -> None:
    write_table(folder)
    before = (folder / "train.csv").read_text().splitlines(keepends=True)
    flip(shard, frames(shard)[7][0] + 50)
    salvage(folder, folder.parent / "out")
    assert (folder.parent / "out" / "train.csv").read_text() == "".join(before[:8] + before[9:])


def test_a_row_that_the_table_marks_as_dropped_stays(folder, shard) -> None:
    write_table(folder, RECORDS + 2, tfrecord=[0] * RECORDS + [-1, 0])
    (summary,) = salvage(folder, folder.parent / "out")
    assert [lost.image_name for lost in summary.lost] == ["ISIC_0000051"]
    assert len(pd.read_csv(folder.parent / "out" / "train.csv")) == RECORDS + 1
    assert verify(folder.parent / "out").problems == ()


@pytest.mark.parametrize("table", [False, True])
def test_a_name_that_damage_made_another_one_is_not_believed(folder, shard, table: bool) -> None:
    """ISIC_0000007 with its last digit flipped reads ISIC_0000006, which is there."""
    if table:
        write_table(folder)
    start = frames(shard)[7][0]
    flip(shard, shard.read_bytes().index(b"ISIC_0000007", start) + 11, bit=0)
    (summary,) = salvage(folder, folder.parent / "out")
    (lost,) = summary.lost
    assert (lost.record, lost.offset) == (7, start)
    assert lost.image_name == ("ISIC_0000007" if table else "")  # the one row that is left over


@pytest.mark.parametrize("place", [-1, -3, -5])
def test_a_name_whose_length_was_hit_is_not_read(folder, shard, place: int) -> None:
    """Three lengths stand before a name, of the feature, the list and the name; they must agree."""
    start = frames(shard)[7][0]
    flip(shard, shard.read_bytes().index(b"ISIC_0000007", start) + place, bit=1)
    (summary,) = salvage(folder, folder.parent / "out")
    assert [(lost.record, lost.image_name) for lost in summary.lost] == [(7, "")]


def test_whole_sets_are_copied_bit_for_bit_and_the_source_is_not_touched(folder, monkeypatch, capsys) -> None:
    write_table(folder)
    (folder / "test00-0.tfrec").write_bytes(b"")
    before = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert run(monkeypatch, folder) == errors.EXIT_DONE
    after = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    copied = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder.parent / "out").iterdir()}
    assert before == after and {name: copied.pop(name) for name in before} == before
    assert sorted(copied) == ["test.salvage.csv", "train.salvage.csv"] and listed(folder).empty
    assert capsys.readouterr().out.splitlines() == [
        "test: 0 records in 1 shards kept; nothing was lost", "train: 50 records in 1 shards kept; nothing was lost",
    ]  # fmt: skip


def test_a_wrong_or_missing_count_is_put_right(folder, shard, records) -> None:
    shard.rename(folder / "train00-47.tfrec")
    shards.write_shard(folder / "train01.tfrec", [record(70)])
    (summary,) = salvage(folder, folder.parent / "out")
    assert summary.lost == () and summary.kept == 51
    assert sorted(path.name for path in (folder.parent / "out").glob("*.tfrec")) == [
        "train00-50.tfrec",
        "train01-1.tfrec",
    ]


def test_only_one_set_and_any_number_of_workers(folder, shard, monkeypatch) -> None:
    shards.write_shard(folder / "train01-1.tfrec", [record(70)])
    (folder / "test00-1.tfrec").write_text("a text file")
    flip(shard, 1000)
    assert run(monkeypatch, folder, "--prefix=train", "--workers=2") == errors.EXIT_REJECTS
    out = folder.parent / "out"
    parallel = {path.name: path.read_bytes() for path in out.iterdir()}
    assert run(monkeypatch, folder, "--prefix=train", "--overwrite") == errors.EXIT_REJECTS
    assert {path.name: path.read_bytes() for path in out.iterdir()} == parallel
    assert not [name for name in parallel if name.startswith("test")]


def test_a_text_file_beside_good_shards_is_one_loss(folder, monkeypatch) -> None:
    (folder / "train01-5.tfrec").write_text("this is a text and no shard at all\n" * 20)
    assert run(monkeypatch, folder) == errors.EXIT_REJECTS
    rows = listed(folder)
    assert rows["shard"].tolist() == ["train01-5.tfrec"] * 2 and rows["record"].tolist() == ["0", ""]
    assert "of 4 nothing is to be seen" in rows["reason"][1]


def not_empty(folder: Path) -> None:
    (folder.parent / "out").mkdir()
    (folder.parent / "out" / "notes.txt").write_text("mine")


def text_only(folder: Path) -> None:
    (folder / "train00-50.tfrec").write_text("hello, this is no shard at all")


def bad_table(folder: Path) -> None:
    (folder / "train.csv").write_text("image_name\na\na\n")


def two_of_one_name(folder: Path) -> None:
    (folder / "train00-51.tfrec").write_bytes(b"")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "train01-3.tfrec")


BAD_INPUT = {
    "no folder": (None, ["--data_dir=/no/such/folder"], "no such folder: /no/such/folder"),
    "no shards": (lambda folder: (folder / "train00-50.tfrec").unlink(), [], "no *.tfrec in"),
    "same folder": (None, ["--out={}"], "must lie apart"),
    "same folder by another way": (None, ["--out={}/../source"], "must lie apart"),
    "within the source": (None, ["--out={}/salvaged"], "must lie apart"),
    "around the source": (None, ["--out={}/.."], "must lie apart"),
    "not empty": (not_empty, [], "is not empty"),
    "a file": (None, ["--out={}/train00-50.tfrec"], "must lie apart"),
    "remote": (None, ["--out=gs://bucket/out"], "is remote"),
    "unknown set": (None, ["--prefix=tarin"], "did you mean 'train'"),
    "only a text": (text_only, [], "holds no record that can be kept"),
    "a doubled row": (bad_table, [], "more than once"),
    "two shards of one name": (two_of_one_name, [], "differ in the count"),
    "a pipe": (pipe, [], "train01-3.tfrec is no file"),
    "negative workers": (None, ["--workers=-1"], "--workers is -1"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_and_nothing_is_written(folder, monkeypatch, capsys, case) -> None:
    damage, more, message = BAD_INPUT[case]
    if damage:
        damage(folder)
    before = sorted(folder.parent.glob("**/*"))
    assert run(monkeypatch, folder, *(argument.format(folder) for argument in more)) == errors.EXIT_USER
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and message in said.err and said.out == ""
    assert sorted(folder.parent.glob("**/*")) == before


def test_a_remote_source(folder, shard, records) -> None:
    tf = pytest.importorskip("tensorflow")
    flip(shard, frames(shard)[3][0] + 1)
    tf.io.gfile.makedirs("ram://salvage")
    with tf.io.gfile.GFile("ram://salvage/train00-50.tfrec", "wb") as file:
        file.write(shard.read_bytes())
    salvage("ram://salvage", folder.parent / "out")
    assert kept_data(folder.parent / "out" / "train00-49.tfrec") == records[:3] + records[4:]


def test_nothing_of_an_earlier_conversion_stays_beside_what_was_saved(folder, shard, monkeypatch) -> None:
    out = folder.parent / "out"
    out.mkdir()
    names = (".train.progress.json", "train.rejects.csv", "train.notes.csv", "train.manifest.json")
    left = [out / name for name in names]
    for path in left:
        path.write_text("{}")
    flip(shard, 200)
    assert run(monkeypatch, folder, "--overwrite") == errors.EXIT_REJECTS
    assert not [path for path in left if path.exists()]
