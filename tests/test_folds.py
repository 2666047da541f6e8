"""Folds: no patient and no duplicate straddles, everything is balanced, and a changed file is noticed."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from melanoma_tf import __main__, fold_counts, folds
from melanoma_tf.errors import UserError

SITE_SHARES = [0.6, 0.34, 0.01, 0.05]


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
    assert counts["images"].max() - counts["images"].min() <= 1
    assert counts["patients"].max() - counts["patients"].min() <= 1
    assert counts["melanoma"].max() - counts["melanoma"].min() <= 1
    assert counts["share"].tolist() == (counts["melanoma"] / counts["images"]).tolist()


def test_rows_that_the_table_marks_as_dropped_are_in_no_fold_and_still_join_patients():
    table = _table()
    shared = table.drop_duplicates("patient_id").iloc[[3, 40]]
    gone = np.isin(table["image_name"], [*shared["image_name"][:1], *table["image_name"][50:60]])
    marked = table.assign(tfrecord=np.where(gone, -1, 7))
    fold = folds.make_folds(marked, 5, duplicates=[tuple(shared["image_name"])])
    np.testing.assert_array_equal(fold == -1, gone)
    used = marked[~gone]
    folds.require_no_leak(used, fold[~gone])
    assert len(set(fold[marked["patient_id"].isin(shared["patient_id"]) & ~gone])) == 1
    assert fold_counts.unevenness(marked, fold).loc["images", "mean"] == (~gone).sum() / 5
    assert np.ptp(np.bincount(fold[~gone])) <= 1
    with pytest.raises(UserError, match="only 119 independent patients"):  # of 120 two are one
        folds.make_folds(marked, 200, duplicates=[tuple(shared["image_name"])])


def _with_groups(seed=0):
    """Sources of different prevalence, one of which knows no patients, and a rare site."""
    table = _table(seed=seed)
    alone = pd.DataFrame({"image_name": [f"B_{number}" for number in range(600)], "target": np.arange(600) % 5 == 0})
    table = pd.concat([table, alone.assign(patient_id=alone["image_name"])], ignore_index=True)
    table["source"] = np.where(table["image_name"].str.startswith("B_"), 2019, 2020)
    site = np.random.default_rng(seed).choice(["torso", "head/neck", "oral/genital", None], len(table), p=SITE_SHARES)
    return table.assign(anatom_site_general_challenge=site, target=table["target"].astype(np.int8))


def _mean_deviation(table, fold):
    return fold_counts.deviations(fold_counts.count_columns(table), fold)["deviation"].mean()


@pytest.mark.parametrize("count", [5, 15])
def test_evener_than_scikit_learn(count):
    from sklearn.model_selection import StratifiedGroupKFold

    table = _with_groups()
    theirs = np.empty(len(table), int)
    splits = StratifiedGroupKFold(count, shuffle=True, random_state=0)
    for number, (_, held_out) in enumerate(splits.split(table, table["target"], table["patient_id"])):
        theirs[held_out] = number
    counts = fold_counts.count_columns(table)
    assert {"source 2019", "melanoma of source 2019", "site torso", "site not recorded"} <= set(counts)
    mine = fold_counts.deviations(counts, folds.make_folds(table, count))
    rest = fold_counts.deviations(counts, theirs)
    main = list(fold_counts.MAIN)
    assert (mine["deviation"][main] <= rest["deviation"][main] + 1e-9).all()
    assert mine["deviation"].mean() < rest["deviation"].mean() / 2


def test_a_deviation_is_arithmetic():
    table = pd.DataFrame({
        "image_name": list("abcdefg"), "patient_id": list("ppqqrst"), "target": [1, 0, 0, 0, 1, 0, 0],
        "source": ["x", "x", "x", "y", "y", "y", "y"],
    })  # fmt: skip
    counts = fold_counts.count_columns(table)
    assert counts.sum().to_dict() == {
        "images": 7, "melanoma": 2, "patients": 5, "patients with melanoma": 2, "patients of 1 image": 3,
        "patients of 2 images": 2, "source x": 3, "melanoma of source x": 1, "source y": 4, "melanoma of source y": 1,
    }  # fmt: skip
    found = fold_counts.deviations(counts, np.array([0, 0, 1, 1, 1, 1, -1]))  # 2 and 4 images
    assert found["deviation"][["images", "melanoma", "patients"]].tolist() == pytest.approx([1 / 3, 0, 1 / 2])
    assert found["at_best"][["images", "melanoma", "source x"]].tolist() == pytest.approx([0, 0, 0.5 / 1.5])


def test_another_seed_is_as_even():
    table = _with_groups()
    tried = [folds.make_folds(table, 5, seed) for seed in range(3)]
    assert (tried[0] != tried[1]).mean() > 0.5
    found = [_mean_deviation(table, fold) for fold in tried]
    assert max(found) < 1.5 * min(found)


def test_many_equal_patients_are_dealt_evenly():
    names = [f"i{number}" for number in range(20_000)]
    table = pd.DataFrame({"image_name": names, "target": (np.arange(20_000) % 100 == 0).astype(int)})
    fold = folds.make_folds(table.assign(patient_id=table["image_name"]), 8)
    assert np.bincount(fold).tolist() == [2500] * 8
    assert np.bincount(fold, table["target"]).tolist() == [25] * 8


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
    lines = printed.splitlines()
    assert len({len(line) for line in lines[:4]}) == len({len(line) for line in lines[5:-3]}) == 1  # aligned
    measured = fold_counts.deviations(fold_counts.count_columns(table), folds.read_folds(out, table))
    assert f"{measured['deviation'].mean():.2%}" in lines[-4]
    assert lines[-2] == "1 of 1 pairs of duplicates have both images in the table"
    fold = folds.read_folds(out, table)
    assert fold[0] == fold[1]
    (tmp_path / "found.csv").write_text("image_name_1,image_name_2\nISIC_0001,ISIC_0002\n")
    both = f"{arguments[1]},{tmp_path / 'found.csv'}"
    assert _command(monkeypatch, capsys, arguments[0], both, arguments[2], f"--out={out.with_name('both.csv')}")[0] == 0
    assert np.ptp(folds.read_folds(out.with_name("both.csv"), table)[:3]) == 0
    before = out.read_bytes()
    code, _, complaint = _command(monkeypatch, capsys, *arguments, f"--out={out}", "--seed=3")
    assert (code, complaint.count("\n"), out.read_bytes()) == (2, 1, before)
    assert _command(monkeypatch, capsys, *arguments, f"--out={out}", "--seed=3", "--overwrite")[0] == 0
    assert out.read_bytes() != before
    for wrong in (tmp_path / "x.json", "."):
        assert "such as folds.csv" in _command(monkeypatch, capsys, *arguments, f"--out={wrong}")[2]
    (tmp_path / "of_others.json").write_text("{}")
    code, _, complaint = _command(monkeypatch, capsys, *arguments, f"--out={tmp_path / 'of_others.csv'}")
    assert code == 2 and "of_others.json exists already" in complaint and not (tmp_path / "of_others.csv").exists()


def test_names_are_text_whatever_they_look_like(tmp_path, monkeypatch, capsys):
    """0012 is not 12, a cell that is empty changes no other name, and blanks around a name do not count."""
    rows = "\n".join(f"{n:04d},{n // 2:03d},{n % 4 // 3}" for n in range(40))
    (tmp_path / "train.csv").write_text(f"image_name, patient_id,target\n{rows}\n0040,,0\n")
    (tmp_path / "pairs.csv").write_text("image_name_1, image_name_2\n0000, 0039\n0001,9999\n")
    arguments = (f"--train_csv={tmp_path / 'train.csv'}", f"--duplicates={tmp_path / 'pairs.csv'}", "--folds=2")
    code, printed, _ = _command(monkeypatch, capsys, *arguments, f"--out={tmp_path / 'folds.csv'}")
    assert code == 0 and "1 of 2 pairs of duplicates" in printed
    from melanoma_tf import tables

    table = tables.read_table(tmp_path / "train.csv", target=True)
    assert table["image_name"].tolist()[:2] == ["0000", "0001"] and table["patient_id"].tolist()[-2:] == ["019", "0040"]
    fold = folds.read_folds(tmp_path / "folds.csv", table)
    assert fold[0] == fold[1] == fold[38] == fold[39]


def test_patients_are_the_same_however_a_number_is_written(tmp_path):
    from melanoma_tf import tables

    for text in ("a,12\nb, 12 \nc,\nd,  ", "a,12.0\nb,12.0\nc,\nd,"):
        (tmp_path / "train.csv").write_text(f"image_name,patient_id\n{text}\n")
        assert tables.read_table(tmp_path / "train.csv", target=False)["patient_id"].tolist() == ["12", "12", "c", "d"]


def test_a_column_that_is_there_twice_is_one_line(tmp_path):
    from melanoma_tf import tables

    (tmp_path / "train.csv").write_text("image_name,target, target\na,0,0\n")
    with pytest.raises(UserError, match="has the column 'target' twice"):
        tables.read_table(tmp_path / "train.csv", target=True)


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
