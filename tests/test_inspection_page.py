"""What inspect tells of classes and patients, and its page: nothing outside it, nothing of the input unescaped."""

import base64
import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from melanoma_tf import errors, schema
from melanoma_tf.data import shards
from tfrecord_tools import __main__ as program
from tfrecord_tools import groups, inspection_page
from tfrecord_tools.inspection import inspect

REMADE = {"sex": 0, "age_approx": 45, "anatom_site_general_challenge": 3}


def jpeg_of(seed: int, size: tuple[int, int] = (12, 10), **options) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *more: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tfrecord-tools", "inspect", f"--data_dir={folder}", *more])
    return program.main()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """100 records of our dialect in two shards, every fifth of target 1, two images a patient (in different shards)."""
    names = [f"ISIC_{number}" for number in range(100)]
    targets = [int(number % 5 == 0) for number in range(100)]
    for shard in (0, 1):
        records = [schema.encode_record(jpeg_of(k), names[k], targets[k], (12, 10)) for k in range(shard, 100, 2)]
        shards.write_shard(tmp_path / f"train0{shard}-50.tfrec", records)
    table = pd.DataFrame({"image_name": names, "patient_id": [f"IP_{k // 2}" for k in range(100)], "target": targets})
    table.loc[98:, "patient_id"] = None
    table["diagnosis"] = np.where(table["target"] == 1, "melanoma", "nevus")
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "train.csv", index=False)
    return tmp_path


def test_classes_and_patients_of_the_table(folder, monkeypatch, capsys) -> None:
    assert run(monkeypatch, folder, "--json") == errors.EXIT_DONE
    (train,) = json.loads(capsys.readouterr().out)
    assert train["patients"] == {
        "source": "train.csv", "patients": 49, "unknown": 2, "least": 2, "median": 2, "most": 2, "straddling": 49,
    }  # fmt: skip
    assert train["classes"] == [
        {"name": "0", "images": 80, "melanoma": 0, "patients": 49},
        {"name": "1", "images": 20, "melanoma": 20, "patients": 20},
    ]
    assert [(group["name"], group["melanoma"]) for group in train["diagnoses"]] == [("nevus", 0), ("melanoma", 20)]
    assert run(monkeypatch, folder) == errors.EXIT_DONE
    said = capsys.readouterr().out
    assert "  1           20  20.00%        20\n" in said and "49 patients in several shards" in said


def test_classes_and_patients_of_integer_codes(tmp_path) -> None:
    codes = [{"patient_id": patient, "diagnosis": diagnosis, **REMADE}
             for patient, diagnosis in ((7, 2), (7, 1), (-1, 1), (9, 77))]  # fmt: skip
    records = [schema.encode_record(jpeg_of(k), f"ISIC_{k}", int(k == 0), codes=codes[k]) for k in range(4)]
    shards.write_shard(tmp_path / "train00-3.tfrec", records[:3])
    shards.write_shard(tmp_path / "train01-1.tfrec", records[3:])
    (train,) = inspect(tmp_path)
    assert train.patients == groups.PatientSummary("records", 2, 1, 1, 1.5, 2, 0)
    found = [(group.name, group.images, group.melanoma) for group in groups.by_diagnosis(train.facts)]
    assert found == [("nevus", 2, 0), ("code 77", 1, 0), ("melanoma", 1, 1)]


def test_a_set_without_table_knows_no_patients(folder) -> None:
    (folder / "train.csv").unlink()
    (train,) = inspect(folder)
    assert train.patients is None and groups.by_diagnosis(train.facts) == [] and train.note == ""


@pytest.mark.parametrize("content", ["", "image_name\na\na\n", "name\na\n", "image_name,target\nISIC_0,none\n,1\n"])
def test_a_bad_table_is_noted_and_the_shards_are_told_all_the_same(folder, monkeypatch, capsys, content) -> None:
    (folder / "train.csv").write_text(content)
    assert run(monkeypatch, folder) == errors.EXIT_DONE
    said = capsys.readouterr().out
    assert "0: 80, 1: 20" in said and f"the table is left out: {folder}/train.csv" in said


class Page(HTMLParser):
    """Tags with attributes, and the text of every figure's caption."""

    def __init__(self, content: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.captions: list[str] = []
        self.in_caption = False
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "figcaption":
            self.captions.append("")
            self.in_caption = True

    def handle_endtag(self, tag):
        self.in_caption = self.in_caption and tag != "figcaption"

    def handle_data(self, data):
        if self.in_caption:
            self.captions[-1] += f"{data} "

    def sources(self) -> list[str]:
        return [attributes["src"] for tag, attributes in self.tags if tag == "img"]


def test_the_page_shows_forty_pictures_half_of_them_melanoma_first(folder, monkeypatch, capsys) -> None:
    html = folder / "pages" / "shards.html"
    assert run(monkeypatch, folder, f"--html={html}") == errors.EXIT_DONE
    content = html.read_text()
    page = Page(content)
    assert len(page.captions) == 40 and len(set(page.captions)) == 40
    assert all("target 1 melanoma" in caption for caption in page.captions[:20])
    assert not any("target 1" in caption for caption in page.captions[20:])
    assert len([tag for tag, attributes in page.tags if attributes.get("class") == "melanoma"]) == 20
    assert not re.findall(r"https?:|url\(|<script|<link", content)  # nothing is fetched when it is opened
    for source in page.sources():
        kind, data = source.split(",", 1)
        assert kind == "data:image/jpeg;base64"
        assert max(Image.open(io.BytesIO(base64.b64decode(data))).size) <= inspection_page.THUMBNAIL_SIDE
    assert run(monkeypatch, folder, f"--html={html}") == errors.EXIT_USER
    assert "exists already" in capsys.readouterr().err
    assert run(monkeypatch, folder, f"--html={html}", "--overwrite") == errors.EXIT_DONE
    assert html.read_text() == content
    assert run(monkeypatch, folder, f"--html={html}", "--overwrite", "--seed=1") == errors.EXIT_DONE
    assert set(Page(html.read_text()).captions) != set(page.captions)


def test_names_are_text_and_broken_pictures_have_a_place(tmp_path) -> None:
    name = '<script>alert("x")</script>'
    exif = Image.Exif()
    exif[0x010E] = "a secret remark"
    image = jpeg_of(1, (900, 300), exif=exif, comment=b"a secret remark")
    records = [schema.encode_record(image, name, 1), schema.encode_record(b"none", "ISIC_2")]
    shards.write_shard(tmp_path / "train00-2.tfrec", records)
    content = inspection_page.build_page("<title>", inspect(tmp_path))
    page = Page(content)
    assert "<script" not in content and page.captions[0].startswith(name) and "no picture" in content
    (source,) = page.sources()
    shown = base64.b64decode(source.split(",")[1])
    picture = Image.open(io.BytesIO(shown))
    assert picture.size == (192, 64) and not picture.getexif() and b"secret" not in shown


def test_a_record_with_damaged_data_gets_no_picture(folder) -> None:
    path = folder / "train00-50.tfrec"
    content = bytearray(path.read_bytes())
    for offset, data in shards.read_records(path):
        content[offset + 12 + data.index(b"\xff\xda") + 20] ^= 1
    path.write_bytes(content)
    content = inspection_page.build_page("damaged", inspect(folder))
    assert 0 < content.count("no picture") < 40


@pytest.mark.parametrize(("positive", "negative", "expected"), [
    (100, 100, (20, 20)), (3, 100, (3, 37)), (100, 5, (35, 5)), (4, 5, (4, 5)), (0, 0, (0, 0)), (0, 99, (0, 40)),
])  # fmt: skip
def test_the_choice_fills_the_sheet(positive: int, negative: int, expected: tuple[int, int]) -> None:
    facts = [groups.RecordFacts(f"ISIC_{k}", 0, 0, int(k < positive)) for k in range(positive + negative)]
    chosen = inspection_page.choose_pictures(facts, seed=3)
    assert (sum(one.target for one in chosen), sum(not one.target for one in chosen)) == expected
    assert [one.target for one in chosen] == sorted((one.target for one in chosen), reverse=True)


@pytest.mark.parametrize("fields", [{"image": 3, "image_name": 4}, {"image_name": b"x", "target": 0.5}, {}])
def test_odd_fields_are_counted_not_fatal(tmp_path, fields) -> None:
    shards.write_shard(tmp_path / "odd00-1.tfrec", [schema.encode_fields(fields)])
    (tmp_path / "odd01-0.tfrec").write_bytes(b"")
    (odd,) = inspect(tmp_path)
    assert (odd.records, odd.sizes, len(odd.paths)) == (1, {None: 1}, 2)
    assert "no picture" in inspection_page.build_page("odd", [odd])
