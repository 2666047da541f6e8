"""Folds: no patient and no duplicate straddles, everything is balanced, and a changed file is noticed."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from melanoma_tf import __main__, folds
from melanoma_tf.errors import UserError


def _table(patients=120, seed=0):
    """1 to 12 images a patient, a melanoma in every fifth patient or so."""
    generator = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), generator.integers(1, 13, patients))
    target = np.zeros(len(patient), np.int8)
    first = np.unique(patient, return_index=True)[1]
    target[first[generator.random(patients) < 0.25]] = 1
    order = generator.permutation(len(patient))
    names = [f"ISIC_{number:04d}" for number in range(len(patient))]
    patient_names = [f"IP_{number}" for number in patient[order]]
    return pd.DataFrame({"image_name": names, "patient_id": patient_names, "target": target[order]})


def test_no_patient_straddles_and_all_is_balanced():
    table = _table()
    fold = folds.make_folds(table, 5)
    assert fold.dtype == np.int16
    folds.require_no_leak(table, fold)
    counts = folds.count_folds(table, fold)
    assert counts["images"].sum() == len(table)
    assert counts["images"].max() - counts["images"].min() <= 0.1 * counts["images"].mean()
    assert counts["melanoma"].max() - counts["melanoma"].min() <= 1
    assert counts["share"].tolist() == (counts["melanoma"] / counts["images"]).tolist()


def test_duplicates_join_their_patients_transitively():
    table = _table()
    first = table.groupby("patient_id")["image_name"].first()
    patients = table["patient_id"].unique()[:12]
    chain = [(first[a], first[b]) for a, b in itertools.pairwise(patients)]
    fold = pd.Series(folds.make_folds(table, 4, duplicates=chain), table["patient_id"])
    assert fold[patients].nunique() == 1
    apart = pd.Series(folds.make_folds(table, 4), table["patient_id"])
    assert apart[patients].nunique() > 1


def test_duplicates_outside_the_table_are_ignored():
    table = _table()
    with_unknown = folds.make_folds(table, 4, duplicates=[("ISIC_0000", "ISIC_9999")])
    assert with_unknown.tolist() == folds.make_folds(table, 4).tolist()


def test_seed_decides():
    table = _table()
    assert folds.make_folds(table, 3, seed=1).tolist() == folds.make_folds(table, 3, seed=1).tolist()
    assert folds.make_folds(table, 3, seed=1).tolist() != folds.make_folds(table, 3, seed=2).tolist()


@pytest.mark.parametrize(
    ("targets", "words"),
    [([1, 1, 1], "only 3 independent patients"), ([1, 0, 0, 0, 0], "only 1 independent patients with")],
)
def test_too_few_groups(targets, words):
    count = len(targets)
    names = [f"image{number}" for number in range(count)]
    table = pd.DataFrame({"image_name": names, "patient_id": names, "target": targets})
    with pytest.raises(UserError, match=words):
        folds.make_folds(table, 4)


def test_file_round_trip_is_by_name(tmp_path):
    table = _table()
    fold = folds.make_folds(table, 3)
    folds.write_folds(tmp_path / "folds.csv", table, fold, seed=7)
    order = np.random.default_rng(1).permutation(len(table))
    read = folds.read_folds(tmp_path / "folds.csv", table.iloc[order].reset_index(drop=True))
    assert read.tolist() == fold[order].tolist()
    sidecar = json.loads((tmp_path / "folds.json").read_text())
    assert (sidecar["folds"], sidecar["seed"]) == (3, 7)
    assert sum(count["images"] for count in sidecar["counts"]) == len(table)


def test_a_changed_file_is_noticed(tmp_path):
    table = _table()
    path = tmp_path / "folds.csv"
    folds.write_folds(path, table, folds.make_folds(table, 3))
    path.write_text(path.read_text().replace(",0\n", ",1\n", 1))
    with pytest.raises(UserError, match="was changed after it was made"):
        folds.read_folds(path, table)


def test_the_well_known_split_keeps_unused_images(tmp_path):
    table = pd.DataFrame({"image_name": ["a", "b", "c"], "patient_id": ["p", "p", "q"], "target": [0, 1, 0]})
    (tmp_path / "split.csv").write_text("image_name,tfrecord,width\nc,14,640\na,-1,640\nb,3,640\n")
    fold = folds.read_folds(tmp_path / "split.csv", table)
    assert fold.tolist() == [-1, 3, 14]
    folds.require_no_leak(table, fold)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image_name,fold\na,0\n", "has no fold for b"),
        ("image_name,fold\na,0\nb,1\nc,1\n", "names c, which is not in the table"),
        ("image_name,fold\na,0\nb,1\nb,1\n", "names b more than once"),
        ("image_name,fold\na,0\nb,x\n", "fold of b is x"),
        ("image_name,fold\na,0\nb,\n", "fold of b is nan"),
        ("image_name,fold\na,0\nb,-2\n", "fold of b is -2"),
        ("image_name,fold\na,0\nb,0.5\n", "fold of b is 0.5"),
        ("image_name,part\na,0\nb,1\n", "no column 'fold'"),
    ],
)
def test_damage_is_named(tmp_path, text, words):
    (tmp_path / "folds.csv").write_text(text)
    table = pd.DataFrame({"image_name": ["a", "b"], "patient_id": ["p", "q"], "target": [0, 1]})
    with pytest.raises(UserError) as caught:
        folds.read_folds(tmp_path / "folds.csv", table)
    assert words in str(caught.value)


def test_a_leak_names_the_patient():
    table = pd.DataFrame({"image_name": ["a", "b"], "patient_id": ["p", "p"], "target": [0, 1]})
    with pytest.raises(UserError, match="patient p is in the folds 0, 2"):
        folds.require_no_leak(table, np.array([2, 0]))


def _command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["melanoma-tf", "folds", *map(str, arguments)])
    code = __main__.main()
    return code, *capsys.readouterr()


def test_command(tmp_path, monkeypatch, capsys):
    table = _table()
    table.to_csv(tmp_path / "train.csv", index=False)
    (tmp_path / "pairs.csv").write_text("image_name_1,image_name_2\nISIC_0000,ISIC_0001\n")
    out = tmp_path / "made" / "folds.csv"
    arguments = (f"--train_csv={tmp_path / 'train.csv'}", f"--duplicates={tmp_path / 'pairs.csv'}", "--folds=3")
    code, printed, _ = _command(monkeypatch, capsys, *arguments, f"--out={out}")
    assert code == 0
    assert len({len(line) for line in printed.splitlines()[:4]}) == 1  # aligned
    fold = folds.read_folds(out, table)
    assert fold[0] == fold[1]
    before = out.read_bytes()
    code, _, complaint = _command(monkeypatch, capsys, *arguments, f"--out={out}", "--seed=3")
    assert (code, complaint.count("\n"), out.read_bytes()) == (2, 1, before)
    assert _command(monkeypatch, capsys, *arguments, f"--out={out}", "--seed=3", "--overwrite")[0] == 0
    assert out.read_bytes() != before


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("image_name,target\na,0\nb,1\n", ["--folds=5"], "only 2 independent patients"),
        ("image_name,target\na,0\nb,1\n", ["--folds=1"], "folds"),
        ("image_name,target\na,0\na,1\n", [], "names a more than once"),
        ("image_name\na\n", [], "no column 'target'"),
        ("image_name,target\na,0\nb,1\n", ["--duplicates=absent.csv"], "no table at absent.csv"),
        ("image_name,target\na,0\nb,1\n", ["--fold=5"], "fold"),
    ],
)
def test_command_with_bad_input_writes_nothing(tmp_path, monkeypatch, capsys, text, arguments, words):
    (tmp_path / "train.csv").write_text(text)
    out = tmp_path / "made" / "folds.csv"
    train = f"--train_csv={tmp_path / 'train.csv'}"
    code, printed, complaint = _command(monkeypatch, capsys, train, f"--out={out}", *arguments)
    assert (code, printed, complaint.count("\n")) == (2, "", 1)
    assert words in complaint
    assert not out.parent.exists()
