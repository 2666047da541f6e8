"""What of a table reaches shards and copy: dialects, patients kept together, hashed ids, odd cells, columns."""

import json

import numpy as np
import pandas as pd
import pytest

from melanoma_tf import errors, schema
from melanoma_tf.data import shards
from tfrecord_tools.convert import convert
from tfrecord_tools.inspection import inspect
from tfrecord_tools.settings import Settings

from .conftest import jpeg, lesion, make_table

COUNT, PATIENTS = 40, 9


@pytest.fixture
def folder(tmp_path):
    """`jpeg/`, and `train.csv` with every metadata column."""
    table = make_table(COUNT, PATIENTS)
    table["diagnosis"] = ["nevus", "melanoma", "unknown", "lentigo NOS"] * (COUNT // 4)
    table["benign_malignant"] = "benign"
    table["target"] = (table["diagnosis"] == "melanoma").astype(int)
    (tmp_path / "jpeg").mkdir()
    for name, target in zip(table["image_name"], table["target"]):
        (tmp_path / "jpeg" / f"{name}.jpg").write_bytes(jpeg(lesion(name, target, 16)))
    table.to_csv(tmp_path / "train.csv", index=False)
    return tmp_path


def converted(folder, out="out", **options):
    settings = Settings(**{"size": 16, "shards": 3} | options)
    return convert(folder / "jpeg", folder / "train.csv", folder / out, settings, workers=1)


def change(folder, row, **cells):
    table = pd.read_csv(folder / "train.csv", dtype=str, keep_default_na=False)
    for name, cell in cells.items():
        if name not in table:
            table[name] = ""
        table.loc[row, name] = cell
    table.to_csv(folder / "train.csv", index=False)


def records_of(out, prefix="train"):
    for number, path in enumerate(shards.list_shards(out, prefix)):
        for _, data in shards.read_records(path):
            yield number, schema.decode_record(data)


@pytest.mark.parametrize("dialect", schema.DIALECTS)
def test_every_dialect_is_what_inspect_finds(folder, dialect):
    summary = converted(folder, dialect=dialect)
    (found,) = inspect(folder / "out")
    assert found.dialects == {dialect: COUNT} and found.records == found.promised == summary.images == COUNT
    expected = {"image", "image_name", "target", *schema.DIALECTS[dialect]}
    assert set(found.fields) == expected


def test_codes_of_the_remade_dialect(folder):
    change(folder, 0, sex="female", age_approx="47.6", anatom_site_general_challenge="palms/soles")
    change(folder, 1, sex="", age_approx="", anatom_site_general_challenge="", diagnosis="")
    converted(folder, dialect="remade")
    codes = {record["image_name"]: record["fields"] for _, record in records_of(folder / "out")}
    first, second = codes["ISIC_0000000"], codes["ISIC_0000001"]
    assert [first[name] for name in (schema.SEX, schema.AGE, schema.SITE, schema.DIAGNOSIS)] == [[1], [48], [4], [1]]
    assert [second[name] for name in (schema.SEX, schema.AGE, schema.SITE, schema.DIAGNOSIS)] == [[-1]] * 4
    assert [codes[f"ISIC_{number:07d}"][schema.PATIENT] for number in (0, 8, 9)] == [[0], [8], [0]]


def test_a_remade_test_set_has_no_diagnosis(folder):
    table = pd.read_csv(folder / "train.csv").drop(columns=["target", "benign_malignant"])
    table.to_csv(folder / "train.csv", index=False)
    converted(folder, dialect="remade")
    fields = {name for _, record in records_of(folder / "out", "test") for name in record["fields"]}
    assert fields == {"image", "image_name", schema.PATIENT, schema.SEX, schema.AGE, schema.SITE}


def test_patients_stay_together_and_shards_are_even(folder):
    converted(folder, group_by_patient=True)
    patient = pd.read_csv(folder / "train.csv").set_index("image_name")["patient_id"]
    shard = {record["image_name"]: number for number, record in records_of(folder / "out")}
    frame = pd.DataFrame({"shard": shard, "patient": patient})
    assert (frame.groupby("patient")["shard"].nunique() == 1).all()
    assert np.ptp(frame.groupby("shard").size()) <= 5 and (frame.groupby("shard")["patient"].nunique() == 3).all()
    assert all(list(part) == sorted(part) for _, part in frame.reset_index().groupby("shard")["index"])


def test_hashed_ids_keep_the_shards_and_tell_nothing(folder):
    converted(folder, group_by_patient=True, dialect="remade")
    converted(folder, "hashed", group_by_patient=True, dialect="remade", salt=b"a secret of ours")
    plain, hashed = (pd.read_csv(folder / name / "train.csv", dtype=str) for name in ("out", "hashed"))
    assert (plain.groupby("patient_id").ngroup() >= 0).all()
    pairs = set(zip(plain["patient_id"], hashed["patient_id"]))
    assert len(pairs) == PATIENTS and not {left for left, _ in pairs} & {right for _, right in pairs}
    names = [
        [(number, record["image_name"]) for number, record in records_of(folder / name)] for name in ("out", "hashed")
    ]
    assert names[0] == names[1]
    everything = b"".join(path.read_bytes() for path in (folder / "hashed").iterdir())
    assert b"IP_0000" not in everything and b"a secret" not in everything
    assert (hashed.drop(columns="patient_id") == plain.drop(columns="patient_id")).all(axis=None)
    with pytest.raises(errors.UserError, match="choose another --out"):
        converted(folder, "hashed", group_by_patient=True, dialect="remade", salt=b"another secret")


def test_only_known_columns_are_copied(folder):
    change(folder, 2, patient_name="Schmidt", remark="called on Monday")
    summary = converted(folder)
    assert summary.left_out == ("patient_name", "remark")
    assert any("patient_name, remark" in line for line in summary.lines())
    everything = b"".join(path.read_bytes() for path in (folder / "out").iterdir())
    assert b"Schmidt" not in everything and b"Monday" not in everything


@pytest.mark.parametrize(("cells", "code"), [
    ({"age_approx": "430"}, "bad_age"), ({"age_approx": "-5"}, "bad_age"), ({"age_approx": "inf"}, "bad_age"),
    ({"age_approx": "old"}, "bad_age"), ({"sex": "Schmidt"}, "bad_sex"),
    ({"anatom_site_general_challenge": "elbow?"}, "bad_site"),
])  # fmt: skip
def test_odd_cells_are_noted_and_count_as_missing(folder, cells, code):
    change(folder, 5, **cells)
    summary = converted(folder, dialect="remade")
    assert not summary.rejects and [(note.image_name, note.code) for note in summary.notes] == [("ISIC_0000005", code)]
    assert pd.read_csv(folder / "out/train.notes.csv")["code"].tolist() == [code]
    assert not any(cell in note.detail for note in summary.notes for cell in cells.values())
    (column,) = cells
    fields = {record["image_name"]: record["fields"] for _, record in records_of(folder / "out")}
    assert fields["ISIC_0000005"][column] == [schema.MISSING]
    if code == "bad_age":
        assert pd.read_csv(folder / "out/train.csv")["age_approx"].isna().tolist() == [row == 5 for row in range(COUNT)]


def test_a_strange_diagnosis_matters_only_where_it_is_coded(folder):
    change(folder, 5, diagnosis="actinic keratosis")
    assert converted(folder).notes == ()
    (note,) = converted(folder, "coded", dialect="remade").notes
    assert note.code == "bad_diagnosis"


def test_an_image_without_a_row_is_noted(folder):
    (folder / "jpeg" / "ISIC_9999999.jpg").write_bytes(b"never read")
    summary = converted(folder)
    assert [(note.image_name, note.code) for note in summary.notes] == [("ISIC_9999999", "no_row")]
    assert summary.images == COUNT


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
def test_a_table_of_any_system_gives_the_same_files(folder, encoding, line_end):
    converted(folder)
    text = (folder / "train.csv").read_text().replace("\n", line_end)
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (folder / "train.csv").write_bytes((mark + text).encode(encoding))
    converted(folder, "again")
    first, second = ({path.name: path.read_bytes() for path in (folder / name).iterdir()} for name in ("out", "again"))
    assert first == second


def test_the_manifest_knows_settings_and_inputs_but_no_salt(folder):
    converted(folder, salt=b"a secret of ours", dialect="official")
    manifest = json.loads((folder / "out/train.manifest.json").read_text())
    assert manifest["settings"]["salt"] is True and manifest["settings"]["dialect"] == "official"
    entry = manifest["shards"]["0"]
    assert len(entry["inputs"]) == entry["count"] and all(len(digest) == 16 for digest in entry["inputs"])
