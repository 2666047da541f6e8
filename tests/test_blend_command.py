"""`melanoma-tf blend` from files to files: what is written is cross-fitted, told, and the same every time."""

import functools
import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from melanoma_tf import metrics, tables
from melanoma_tf.ensemble import LEARNED, METHODS
from melanoma_tf.predictions import read_predictions
from melanoma_tf.report import build_report, read_run

ROWS, NEW = 1200, 300
_table = functools.partial(pd.read_csv, float_precision="round_trip")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three members, the third of them noise, with test files, folds of patients, and the table."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    patient = np.arange(ROWS) // 4
    truth = (generator.random(ROWS + NEW) < 0.2).astype(int)
    names = np.array([f"ISIC_{number:07d}" for number in range(ROWS + NEW)])
    for member, signal in (("a", 1.2), ("b", 1.0), ("c", 0.0)):
        scores = expit(signal * truth + generator.normal(size=ROWS + NEW) - 3)
        oof = {"image_name": names[:ROWS], "target": truth[:ROWS], "fold": patient % 3, "pred": scores[:ROWS]}
        pd.DataFrame(oof).to_csv(f"{member}.csv", index=False)
        pd.DataFrame({"image_name": names[ROWS:], "target": scores[ROWS:]}).to_csv(f"{member}_test.csv", index=False)
    table = pd.DataFrame({"image_name": names[:ROWS], "target": truth[:ROWS], "patient_id": patient})
    table.assign(sex="male", age_approx=50, anatom_site_general_challenge="torso").to_csv("train.csv", index=False)
    return tmp_path


ARGUMENTS = ("blend", "--members=a.csv,b.csv,c.csv", "--test_members=a_test.csv,b_test.csv,c_test.csv")


def test_auto_tells_what_it_chose_and_writes_what_it_is_judged_by(folder, run_command):
    code, printed, complaint = run_command(*ARGUMENTS, "--table=train.csv", "--out=out")
    assert (code, complaint) == (0, [])
    record = json.loads((folder / "out" / "blend.json").read_text())
    oof, test = (read_predictions(folder / "out" / f"{kind}.csv") for kind in ("oof", "test"))
    interval = metrics.auc_interval(oof.target, oof.probability, np.arange(ROWS) // 4)
    assert f"blend ({record['method']})" in printed
    assert str(interval) in printed
    assert record["auc"]["value"] == interval.value
    assert record["cross_fitted"]
    assert record["apparent_auc"] != interval.value
    assert set(record["tried"]) == set(METHODS)
    assert sum(record["chosen_in_folds"].values()) == 5
    assert f"apparent AUC {record['apparent_auc']:.4f}" in printed
    assert oof.fold.tolist() == (np.arange(ROWS) // 4 % 3).tolist()
    assert len(test) == NEW
    before = [(folder / "out" / name).read_bytes() for name in ("oof.csv", "test.csv", "blend.json")]
    assert run_command(*ARGUMENTS, "--train_csv=train.csv", "--out=out", "--overwrite")[1] == printed
    assert [(folder / "out" / name).read_bytes() for name in ("oof.csv", "test.csv", "blend.json")] == before


@pytest.mark.parametrize("method", LEARNED)
def test_one_learned_method(folder, run_command, method):
    code, printed, _ = run_command(*ARGUMENTS, "--table=train.csv", "--out=out", f"--method={method}")
    assert code == 0
    assert "auto chose" not in printed
    record = json.loads((folder / "out" / "blend.json").read_text())
    assert record["tried"] == {method: record["auc"]["value"]}
    weights = [member["weight"] for member in record["members"]]
    page = build_report([read_run(folder / "out")], _table("train.csv"))
    assert f"blend ({method})" in page
    if method == "boosting":
        assert weights == [None] * 3
        assert page.count("learned") >= 3
    else:
        assert sum(weights) == pytest.approx(1)
        assert f"{weights[0]:.3f}" in page


def test_the_truth_of_the_table_does_for_members_without_one(folder, run_command):
    run_command(*ARGUMENTS, "--table=train.csv", "--out=with", "--method=stacking")
    for member in "abc":
        _table(f"{member}.csv").drop(columns=["target"]).to_csv(f"{member}.csv", index=False)
    assert run_command(*ARGUMENTS, "--table=train.csv", "--out=without", "--method=stacking")[0] == 0
    assert (folder / "with" / "oof.csv").read_bytes() == (folder / "without" / "oof.csv").read_bytes()


def test_patients_of_a_member_do_where_no_table_is_given(folder, run_command):
    run_command(*ARGUMENTS, "--table=train.csv", "--out=table", "--method=stacking")
    _table("b.csv").assign(patient_id=np.arange(ROWS) // 4).to_csv("b.csv", index=False)
    code, printed, _ = run_command(*ARGUMENTS, "--out=member", "--method=stacking")
    assert code == 0
    assert "300 patients" in printed
    assert (folder / "table" / "oof.csv").read_bytes() == (folder / "member" / "oof.csv").read_bytes()


def test_one_member_is_the_blend(folder, run_command):
    code, printed, _ = run_command("blend", "--members=a.csv", "--table=train.csv", "--out=out")
    assert code == 0
    assert "note: one member" in printed
    assert read_predictions("out/oof.csv").probability.tolist() == _table("a.csv")["pred"].tolist()


@pytest.mark.parametrize("spoiled, method", [(False, "mean"), (True, "rank")])
def test_without_a_truth_the_scales_decide(folder, run_command, spoiled, method):
    if spoiled:
        _table("b_test.csv").eval("target = target ** 3").to_csv("b_test.csv", index=False)
    code, printed, _ = run_command("blend", "--members=a_test.csv,b_test.csv", "--out=out")
    assert code == 0
    assert f"note: {method}, nothing was learned: no truth is known" in printed


def test_doubtful_members_are_dropped_or_told(folder, run_command):
    for member in "bc":  # alike with a, so that all three belong together
        for suffix in ("", "_test"):
            of_a = _table(f"a{suffix}.csv").iloc[:, -1]
            part = _table(f"{member}{suffix}.csv")
            part.iloc[:, -1] = 0.7 * of_a + 0.3 * part.iloc[:, -1]
            part.to_csv(f"{member}{suffix}.csv", index=False)
    test = _table("c_test.csv")
    test["target"] = test["target"].to_numpy()[::-1]
    test.to_csv("c_test.csv", index=False)
    member = _table("b.csv")
    member.loc[member["fold"] == 1, "pred"] = 0.02 + 0.9 * member["target"] + 0.001 * member["pred"]
    member.to_csv("b.csv", index=False)
    code, printed, _ = run_command(*ARGUMENTS, "--table=train.csv", "--out=out", "--method=mean")
    assert code == 0
    assert "note: c.csv: its rank correlation with the others differs" in printed
    assert "note: b.csv seems to have been trained on fold 1 (AUC 1.0000" in printed
    assert len(json.loads((folder / "out" / "blend.json").read_text())["members"]) == 2
    run_command(*ARGUMENTS, "--table=train.csv", "--out=kept", "--method=mean", "--keep_drifting")
    assert len(json.loads((folder / "kept" / "blend.json").read_text())["members"]) == 3


def test_a_member_of_benign_probabilities_is_told(folder, run_command):
    part = _table("a.csv").eval("pred = 1 - pred")
    part.to_csv("a.csv", index=False)
    printed = run_command("blend", "--members=a.csv,b.csv", "--out=out", "--method=mean")[1]
    assert "note: a.csv: its AUC is below 0.5; does it hold the probability of a benign lesion?" in printed


def test_contributions_are_told_written_and_reported(folder, run_command):
    shared = (*ARGUMENTS, "--table=train.csv", "--method=rank")
    code, printed, _ = run_command(*shared, "--out=out", "--contributions")
    assert code == 0
    record = json.loads((folder / "out" / "blend.json").read_text())
    first, _, noise = (member["adds"] for member in record["members"])
    assert first["low"] > 0 > noise["value"]
    assert f"a.csv adds  {first['value']:+.4f} [{first['low']:+.4f}, {first['high']:+.4f}]" in printed
    page = build_report([read_run(folder / "out")], tables.read_table("train.csv", target=True))
    assert "Adds [95 %]" in page and f"{first['value']:+.4f}" in page
    assert run_command(*shared, "--out=plain")[0] == 0
    assert (folder / "plain" / "oof.csv").read_bytes() == (folder / "out" / "oof.csv").read_bytes()
    code, _, complaint = run_command("blend", "--members=a.csv", "--out=one", "--contributions")
    assert code == 2 and "--contributions needs two or more members" in " ".join(complaint)


def test_names_with_endings_are_out_of_fold_where_the_table_has_them_so(folder, run_command):
    for name in ("a", "b", "train"):
        table = _table(f"{name}.csv").assign(image_name=lambda rows: rows["image_name"] + ".png")
        table.drop(columns="fold" if name == "train" else "target", errors="ignore").to_csv(f"{name}.csv", index=False)
    code, printed, _ = run_command("blend", "--members=a.csv,b.csv", "--table=train.csv", "--method=mean", "--out=out")
    assert code == 0 and "1,200 images" not in printed
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["blend.json", "oof.csv"]


def test_members_and_blend_know_the_same_patients(folder, run_command):
    for name in "ab":
        _table(f"{name}.csv").assign(patient_id=np.arange(ROWS) // 4).to_csv(f"{name}.csv", index=False)
    _, printed, _ = run_command("blend", "--members=a.csv,b.csv", "--method=mean", "--out=out")
    assert [line.rstrip(")").split(", ")[-1] for line in printed.splitlines()[:3]] == ["300 patients"] * 3


def test_a_member_without_whom_nothing_has_a_weight(folder, run_command):
    code, printed, complaint = run_command(
        "blend", "--members=a.csv,b.csv", "--method=mean", "--weights=1,0", "--contributions", "--out=out"
    )
    assert (code, complaint) == (0, [])
    assert "a.csv adds  all: no other has a weight" in printed and "b.csv adds  +0.0000" in printed
    assert json.loads((folder / "out" / "blend.json").read_text())["members"][0]["adds"] is None


@pytest.mark.parametrize("command", [
    ("blend", "--members=a.csv,b.csv"), ("context", "--oof=a.csv", "--table=train.csv"),
    ("calibrate", "--predictions=a.csv", "--table=train.csv"),
])  # fmt: skip
def test_the_folder_of_a_training_run_is_left_alone(folder, run_command, command):
    (folder / "run").mkdir()
    for name in ("run.json", "oof.csv", "test.csv"):
        (folder / "run" / name).write_text(name)
    code, _, complaint = run_command(*command, "--out=run", "--overwrite")
    assert code == 2 and complaint == [
        f"melanoma-tf {command[0]}: run is the folder of a training run; give another --out"
    ]
    assert all(path.read_text() == path.name for path in (folder / "run").iterdir())


def test_training_images_are_no_test_images_whatever_their_ending(folder, run_command):
    for name in ("a", "b", "train"):
        _table(f"{name}.csv").assign(image_name=lambda rows: rows["image_name"] + ".png").to_csv(
            f"{name}.csv", index=False
        )
    for name in "ab":
        _table(f"{name}.csv")[["image_name", "pred"]].to_csv(f"{name}_test.csv", index=False)
    code, _, complaint = run_command(
        "blend", "--members=a.csv,b.csv", "--test_members=a_test.csv,b_test.csv", "--table=train.csv", "--out=out"
    )
    assert code == 2 and "is an image of the training" in complaint[0] and not (folder / "out").exists()
