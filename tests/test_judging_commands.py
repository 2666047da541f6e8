"""`melanoma-tf metrics`, `calibrate` and `compare` from files to files: told, written, refused."""

import functools
import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from melanoma_tf import calibration, metrics
from melanoma_tf.paired import auc_difference
from melanoma_tf.predictions import read_predictions

ROWS, NEW = 1200, 50
PATIENTS = np.arange(ROWS) // 4
_table = functools.partial(pd.read_csv, float_precision="round_trip")
INPUT = {
    "metrics": ("metrics", "--predictions=a.csv", "--table=train.csv"),
    "calibrate": ("calibrate", "--predictions=a.csv", "--table=train.csv", "--out=out"),
    "compare": ("compare", "--a=a.csv", "--b=b.csv", "--table=train.csv"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """a.csv is too sure of itself; b.csv sees men better than a.csv, and no woman; test.csv is of other images."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    logits = 1.3 * random.normal(size=ROWS + NEW) - 2
    target = (random.random(ROWS + NEW) < expit(logits)).astype(int)
    names = np.array([f"ISIC_{number:07d}" for number in range(ROWS + NEW)])
    male = PATIENTS % 2 == 0
    a = expit(2.5 * logits)
    seen = np.where(male, logits[:ROWS] + 2 * target[:ROWS], random.normal(size=ROWS) - 2)
    pd.DataFrame({"image_name": names[:ROWS], "target": target[:ROWS], "pred": a[:ROWS]}).to_csv("a.csv", index=False)
    b = pd.DataFrame({"image_name": names[:ROWS], "target": target[:ROWS], "pred": expit(seen)})
    b.sample(frac=1, random_state=1).to_csv("b.csv", index=False)  # in another order
    pd.DataFrame({"image_name": names[ROWS:], "target": a[ROWS:]}).to_csv("test.csv", index=False)
    pd.DataFrame({
        "image_name": names[:ROWS], "target": target[:ROWS], "patient_id": [f"IP_{one:05d}" for one in PATIENTS],
        "sex": np.where(male, "male", "female"), "age_approx": 50.0, "anatom_site_general_challenge": "torso",
        "source": np.where(np.arange(ROWS) < 1150, "clinic", "few"),
    }).to_csv("train.csv", index=False)  # fmt: skip
    return tmp_path


def test_metrics_are_told_and_written(folder, run_command):
    code, printed, complaint = run_command(*INPUT["metrics"], "--json=deep/metrics.json", "--replicates=50")
    assert (code, complaint) == (0, [])
    record = json.loads((folder / "deep" / "metrics.json").read_text())
    truth, score = _table("a.csv")["target"], _table("a.csv")["pred"]
    auc = metrics.auc_interval(truth, score, PATIENTS)
    assert record["metrics"]["roc_auc"]["low"] == auc.low
    assert f"ROC AUC                             {auc.value:.4f}  [{auc.low:.4f}, {auc.high:.4f}]" in printed
    assert f"1,200 images, {truth.sum()} melanoma, 300 patients" in printed
    for one in record["metrics"].values():
        assert (one["images"], one["positives"], one["clusters"]) == (ROWS, truth.sum(), 300)
        assert f"{one['value']:.4f}  [{one['low']:.4f}, {one['high']:.4f}]" in printed
    code, _, complaint = run_command(*INPUT["metrics"], "--json=deep/metrics.json")
    assert code == 2 and "give --overwrite to replace it or another --json" in complaint[0]
    printed_again = run_command(*INPUT["metrics"], "--replicates=50")[1]
    assert printed.startswith(printed_again)


def test_the_truth_of_the_table_does_where_the_file_has_none(folder, run_command):
    before = run_command(*INPUT["metrics"], "--replicates=20")[1]
    _table("a.csv").drop(columns="target").rename(columns={"pred": "score"}).to_csv("a.csv", index=False)
    after = run_command(*INPUT["metrics"], "--replicates=20")[1]
    assert after.startswith(before)
    assert "note: column 'score' is taken for the prediction" in after


def test_calibrate_writes_what_it_tells(folder, run_command):
    code, printed, complaint = run_command(*INPUT["calibrate"], "--test=test.csv")
    assert (code, complaint) == (0, [])
    record = json.loads((folder / "out" / "calibration.json").read_text())
    a = _table("a.csv")
    expected = calibration.calibrate(a["target"], a["pred"], PATIENTS)
    assert record["log_loss"] == expected.log_loss
    assert record["method"] == min(record["log_loss"], key=record["log_loss"].get) == expected.calibration.method
    assert f"taken: {record['method']}" in printed
    oof, test = (read_predictions(folder / "out" / f"{kind}.csv") for kind in ("oof", "test"))
    np.testing.assert_array_equal(oof.probability, expected.probability)
    assert oof.target.tolist() == a["target"].tolist()
    np.testing.assert_array_equal(test.probability, expected.calibration(_table("test.csv")["target"]))
    assert record["after"]["calibration_error"]["value"] < 0.5 * record["before"]["calibration_error"]["value"]
    for point in record["thresholds"]:
        assert f"{point['threshold']['value']:.4f}" in printed
        assert f"{point['sensitivity']['value']:.1%}" in printed
    before = [(folder / "out" / name).read_bytes() for name in ("oof.csv", "test.csv", "calibration.json")]
    assert run_command(*INPUT["calibrate"], "--test=test.csv", "--overwrite")[1] == printed
    assert [(folder / "out" / name).read_bytes() for name in ("oof.csv", "test.csv", "calibration.json")] == before
    assert run_command(*INPUT["calibrate"], "--overwrite", "--json")[0] == 0
    assert not (folder / "out" / "test.csv").exists()  # an earlier call's would pass for a part of this one


@pytest.mark.parametrize("method", calibration.CALIBRATORS)
def test_a_written_calibration_is_applied_to_new_files(folder, run_command, method):
    arguments = (*INPUT["calibrate"], f"--method={method}", "--test=test.csv", "--prevalence=0.01")
    assert run_command(*arguments)[0] == 0
    apply = ("calibrate", "--apply=out/calibration.json", "--predictions=test.csv")
    code, printed, complaint = run_command(*apply, "--out=new")
    assert (code, complaint) == (0, [])
    assert f"by {method} of out/calibration.json" in printed and "to 1.00%" in printed
    assert (folder / "new" / "test.csv").read_bytes() == (folder / "out" / "test.csv").read_bytes()
    run_command(*apply, "--out=other", "--prevalence=0.5")
    share = json.loads((folder / "out" / "calibration.json").read_text())["prevalence"]
    low, high = (read_predictions(folder / name / "test.csv").probability for name in ("new", "other"))
    inside = (low > 1e-9) & (low < 1 - 1e-9)
    np.testing.assert_allclose((logit(high) - logit(low))[inside], logit(0.5) - logit(0.01), rtol=1e-6)
    assert share == _table("a.csv")["target"].mean()


def test_a_stated_prevalence_moves_probabilities_and_not_what_is_reached(folder, run_command):
    records = []
    for more in ((), ("--prevalence=0.01",)):
        run_command(*INPUT["calibrate"], *more, "--overwrite")
        records.append(json.loads((folder / "out" / "calibration.json").read_text()))
    plain, shifted = records
    for before, after in zip(plain["thresholds"], shifted["thresholds"]):
        assert before["sensitivity"] == after["sensitivity"]
        moved = calibration.shift_prevalence(before["threshold"]["value"], plain["prevalence"], 0.01)
        assert after["threshold"]["value"] == pytest.approx(float(moved))
        sensitivity, specificity = (after[name]["value"] for name in ("sensitivity", "specificity"))
        flagged = sensitivity * 0.01 + (1 - specificity) * 0.99
        assert after["at_stated_prevalence"] == pytest.approx(
            {"flagged": flagged, "precision": sensitivity * 0.01 / flagged}
        )
    assert shifted["decision_curve"]["prevalence"] == 0.01
    assert plain["conformal"]["coverage"] == shifted["conformal"]["coverage"]
    assert plain["after"] == shifted["after"]


def test_compare_says_who_is_better_and_on_whom(folder, run_command):
    code, printed, complaint = run_command(*INPUT["compare"])
    assert (code, complaint) == (0, [])
    a, b = _table("a.csv"), _table("b.csv").set_index("image_name").loc[_table("a.csv")["image_name"]]
    expected = auc_difference(a["target"], a["pred"], b["pred"].to_numpy(), PATIENTS)
    assert f"{expected.value:+.4f} [{expected.low:+.4f}, {expected.high:+.4f}]" in printed
    record = json.loads(run_command(*INPUT["compare"], "--json")[1])
    assert record["auc_difference"]["value"] == expected.value
    groups = {(one["what"], one["name"]): one for one in record["subgroups"]}
    assert groups["sex", "male"]["marked"] and groups["sex", "male"]["difference"]["low"] > 0
    assert groups["sex", "female"]["marked"] and groups["sex", "female"]["difference"]["high"] < 0
    assert groups["source", "few"]["difference"] is None
    assert "fewer than 10 melanoma" in printed
    decided = np.array([record["disagreement"][name] for name in ("both", "only_a", "only_b", "neither")])
    assert decided.sum(0).tolist() == [a["target"].sum(), (1 - a["target"]).sum()]
    both, only_a, only_b, _ = decided[:, 1] / decided[:, 1].sum()
    assert both + only_a <= 0.1 and both + only_b <= 0.1
    for one in record["apart"]:
        assert (one["rank"][1] > one["rank"][0]) == one["b_ranks_higher"]
        assert one["image_name"] in printed
        assert a.set_index("image_name")["target"][one["image_name"]] == one["target"]


def test_compare_turned_round_is_the_opposite(folder, run_command):
    there = json.loads(run_command(*INPUT["compare"], "--json")[1])
    back = json.loads(run_command("compare", "--a=b.csv", "--b=a.csv", "--table=train.csv", "--json")[1])
    for name, one in there["differences"].items():
        other = back["differences"][name]
        assert (other["value"], other["low"], other["high"]) == pytest.approx(
            (-one["value"], -one["high"], -one["low"])
        )
    assert there["disagreement"]["only_a"] == back["disagreement"]["only_b"]


VERDICTS = [(0, "It is not shown that one is better"), (2, "B ranks"), (-2, "A ranks")]


@pytest.mark.parametrize(("lift", "words"), VERDICTS)
def test_the_verdict(folder, run_command, lift, words):
    a = _table("a.csv")
    noise = np.random.default_rng(3).normal(size=ROWS)
    a.assign(pred=expit(logit(a["pred"]) + lift * a["target"] + 0.1 * noise)).to_csv("b.csv", index=False)
    assert words in run_command(*INPUT["compare"], "--replicates=10")[1]


def damage(name, change):
    def done():
        change(_table(name)).to_csv(name, index=False)

    return done


FAULTS = {
    "one class": (damage("train.csv", lambda t: t.assign(target=0)),
                  damage("a.csv", lambda t: t.drop(columns="target")),
                  damage("b.csv", lambda t: t.drop(columns="target")), "no melanoma among 1200 images"),
    "a constant": (damage("a.csv", lambda t: t.assign(pred=0.5)), "a constant tells nothing"),
    "NaN": (damage("a.csv", lambda t: t.assign(pred=t["pred"].where(t.index != 3))), "ISIC_0000003"),
    "another image": (damage("a.csv", lambda t: t.replace("ISIC_0000003", "ISIC_9")), "ISIC_9"),
    "a doubled image": (damage("a.csv", lambda t: t.replace("ISIC_0000003", "ISIC_0000004")), "ISIC_0000004"),
    "another truth": (damage("train.csv", lambda t: t.assign(target=1 - t["target"])), "differs between a.csv"),
    "no patient column": (damage("train.csv", lambda t: t.drop(columns="patient_id")), "has no column 'patient_id'"),
    "an empty patient column": (damage("train.csv", lambda t: t.assign(patient_id=None)), "'patient_id' is empty"),
    "one patient": (damage("train.csv", lambda t: t.assign(patient_id="IP_1")), "all images are of one patient"),
    "no truth": (damage("train.csv", lambda t: t.drop(columns="target")),
                 damage("a.csv", lambda t: t.drop(columns="target")), "has no truth"),
    "no file": (lambda: None, "--table=none.csv", "no table at none.csv"),
}  # fmt: skip


@pytest.mark.parametrize("command", INPUT)
@pytest.mark.parametrize("fault", FAULTS)
def test_bad_input_is_one_line_and_nothing_is_written(folder, run_command, command, fault):
    *steps, words = FAULTS[fault]
    for step in steps:
        if callable(step):
            step()
    arguments = [*INPUT[command], *(step for step in steps if isinstance(step, str))]
    before = sorted(folder.rglob("*"))
    code, printed, complaint = run_command(*arguments)
    assert (code, printed, len(complaint)) == (2, "", 1), (printed, complaint)
    assert complaint[0].startswith(f"melanoma-tf {command}: ")
    assert words in complaint[0], complaint
    assert sorted(folder.rglob("*")) == before


CALLS = {
    "a missing image of b": (damage("b.csv", lambda t: t[5:]), [*INPUT["compare"]], "b.csv: no prediction for"),
    "twice the same": (None, ["compare", "--a=a.csv", "--b=a.csv", "--table=train.csv"], "nothing to compare"),
    "no table": (None, ["calibrate", "--predictions=a.csv", "--out=out"], "missing --table"),
    "unknown method": (None, [*INPUT["calibrate"], "--method=plat"], "did you mean 'platt'"),
    "prevalence of 2": (None, [*INPUT["calibrate"], "--prevalence=2"], "--prevalence of '2' is not possible"),
    "prevalence in words": (None, [*INPUT["calibrate"], "--prevalence=rare"], "--prevalence of 'rare'"),
    "sensitivity of 90": (None, [*INPUT["calibrate"], "--sensitivities=0.9,90"], "--sensitivities of '90'"),
    "error of 0": (None, [*INPUT["calibrate"], "--error=0"], "--error of '0'"),
    "too many folds": (None, [*INPUT["calibrate"], "--folds=290"], "290 folds need 290"),
    "apply with a table": (None, [*INPUT["calibrate"], "--apply=x.json"], "--table has no use beside it"),
    "apply nothing": (None, ["calibrate", "--apply=x.json", "--predictions=a.csv", "--out=out"], "cannot read x.json"),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
def test_wrong_calls_are_named(folder, run_command, case):
    step, arguments, words = CALLS[case]
    if step:
        step()
    code, printed, complaint = run_command(*arguments)
    assert (code, printed, len(complaint)) == (2, "", 1), (printed, complaint)
    assert words in complaint[0]
    assert not (folder / "out").exists()


RECORDS = {
    "no JSON": ("hello", "is no JSON"),
    "a list": ("[1]", "holds no calibration"),
    "another method": ({"method": "magic"}, "no calibration 'magic'"),
    "no parameters": ({"method": "platt"}, "platt needs the parameters slope, intercept"),
    "text": ({"method": "temperature", "parameters": {"temperature": ["1"]}}, "temperature must be a list of finite"),
    "infinite": ({"method": "temperature", "parameters": {"temperature": [float("inf")]}}, "list of finite numbers"),
    "cold": ({"method": "temperature", "parameters": {"temperature": [0.0]}}, "the temperature must be more than 0"),
    "falling": ({"method": "platt", "parameters": {"slope": [-1.0], "intercept": [0]}}, "slope of platt is [-1.0]"),
    "two slopes": ({"method": "platt", "parameters": {"slope": [1, 1], "intercept": [0]}}, "it must be one number"),
    "falling steps": ({"method": "isotonic", "parameters": {"from": [0, 1], "to": [1, 0]}}, "equally long and rise"),
    "uneven steps": ({"method": "isotonic", "parameters": {"from": [0, 1], "to": [1]}}, "equally long and rise"),
    "a prevalence of 2": ({"method": "none", "parameters": {}, "prevalence": 2}, "prevalence is 2; valid is"),
    "no prevalence": ({"method": "none", "parameters": {}, "stated_prevalence": 0.1}, "tells no prevalence"),
}  # fmt: skip


@pytest.mark.parametrize("case", RECORDS)
def test_a_damaged_calibration_is_named(folder, run_command, case):
    content, words = RECORDS[case]
    (folder / "c.json").write_text(content if isinstance(content, str) else json.dumps(content))
    code, _, complaint = run_command("calibrate", "--apply=c.json", "--predictions=test.csv", "--out=out")
    assert (code, len(complaint)) == (2, 1), complaint
    assert "c.json" in complaint[0] and words in complaint[0]
    assert not (folder / "out").exists()


def test_two_truths_are_refused_where_the_table_tells_none(folder, run_command):
    _table("train.csv").drop(columns="target").to_csv("train.csv", index=False)
    b = _table("b.csv")
    b.loc[b["image_name"] == "ISIC_0000003", "target"] = 1 - b.loc[b["image_name"] == "ISIC_0000003", "target"]
    b.to_csv("b.csv", index=False)
    code, _, complaint = run_command(*INPUT["compare"])
    assert code == 2 and "target of ISIC_0000003 differs between a.csv and b.csv (1 of" in complaint[0]
