"""`melanoma-tf blend --context`: the blend and the patient's other images in one command."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from melanoma_tf import metrics
from melanoma_tf.context import model
from melanoma_tf.embeddings import write_embeddings
from melanoma_tf.predictions import read_predictions

PATIENTS, EACH, NEW = 150, 6, 40


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two members that see a melanoma and a patient's own offset; tables of training and test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(model.TREES, "max_iter", 15)  # enough for so few images
    generator = np.random.default_rng(1)
    count = (PATIENTS + NEW) * EACH
    patient = np.repeat(np.arange(PATIENTS + NEW), EACH)
    truth = (generator.random(count) < 0.15).astype(int)
    offset = 2.5 * generator.normal(size=PATIENTS + NEW)[patient]
    table = pd.DataFrame({
        "image_name": [f"ISIC_{number:07d}" for number in range(count)], "target": truth,
        "patient_id": [f"IP_{number}" for number in patient], "sex": "male", "age_approx": 50,
        "anatom_site_general_challenge": "torso",
    })  # fmt: skip
    train = patient < PATIENTS
    table[train].to_csv("train.csv", index=False)
    table[~train].drop(columns="target").to_csv("test.csv", index=False)
    np.save("truth.npy", truth[~train])
    for member in "ab":
        scores = pd.DataFrame({
            "image_name": table["image_name"], "pred": expit(1.5 * truth + offset + generator.normal(size=count) - 3)
        })  # fmt: skip
        scores[train].to_csv(f"{member}.csv", index=False)
        scores[~train].to_csv(f"{member}_test.csv", index=False)
    return tmp_path


COMMAND = ("blend", "--members=a.csv,b.csv", "--method=mean", "--table=train.csv", "--out=out")


def test_context_is_written_and_judged_on_held_out_patients(folder, run_command):
    tests = ("--test_members=a_test.csv,b_test.csv", "--test_csv=test.csv")
    code, printed, complaint = run_command(*COMMAND, *tests, "--context")
    assert (code, complaint) == (0, [])
    record = json.loads((folder / "out" / "blend.json").read_text())
    oof, test = (read_predictions(folder / "out" / f"{kind}.csv") for kind in ("oof", "test"))
    interval = metrics.auc_interval(oof.target, oof.probability, np.arange(PATIENTS * EACH) // EACH)
    assert f"with patient context  {interval}" in printed
    assert record["context"]["auc"]["context"]["value"] == interval.value
    assert record["context"]["difference_to_blend"]["low"] > 0.05
    assert record["auc"]["value"] == pytest.approx(interval.value - record["context"]["difference_to_blend"]["value"])
    truth = np.load("truth.npy")
    blend = np.mean([read_predictions(f"{member}_test.csv").probability for member in "ab"], axis=0)
    assert metrics.roc_auc(truth, test.probability) > metrics.roc_auc(truth, blend) + 0.05


def test_labels_of_a_held_out_patient_change_nothing_in_its_scores(folder, run_command):
    assert run_command(*COMMAND, "--context")[0] == 0
    before = pd.read_csv("out/oof.csv")
    table = pd.read_csv("train.csv")
    fold = json.loads((folder / "out" / "blend.json").read_text())["context"]["settings"]["folds"]
    assert fold == 5
    mine = (table["patient_id"] == "IP_0").to_numpy()
    assert table.loc[mine, "target"].nunique() == 2
    # two images of the patient exchange their truth: the folds stay, as they only count melanoma
    table.loc[mine, "target"] = np.roll(table.loc[mine, "target"], 1)
    table.to_csv("train.csv", index=False)
    assert run_command(*COMMAND, "--context", "--overwrite")[0] == 0
    after = pd.read_csv("out/oof.csv")
    assert not before["target"].equals(after["target"])
    column = next(name for name in before.columns if name not in ("image_name", "target", "fold"))
    assert np.array_equal(before.loc[mine, column], after.loc[mine, column])
    assert not np.array_equal(before[column], after[column])


def write_vectors(path, table, truth):
    """A melanoma looks unlike its patient's other images, which the members do not see."""
    vectors = np.random.default_rng(2).normal(size=(len(table), 4)) * 0.2
    vectors[:, 0] += np.where(truth, -1, 1)
    write_embeddings(path, table["image_name"].to_numpy(object), vectors)


def test_embeddings_add_how_an_image_looks_beside_the_others(folder, run_command):
    train, test = pd.read_csv("train.csv"), pd.read_csv("test.csv")
    write_vectors("train.npz", train, train["target"])
    write_vectors("test.npz", test, np.load("truth.npy"))
    tests = ("--test_members=a_test.csv,b_test.csv", "--test_csv=test.csv")
    found = {}
    for name, more in (("without", ()), ("with", ("--embeddings=train.npz", "--test_embeddings=test.npz"))):
        code, printed, complaint = run_command(*COMMAND, *tests, "--context", "--overwrite", *more)
        assert (code, complaint) == (0, [])
        assert ("of it by the embeddings  +0." in printed) == (name == "with")
        record = json.loads((folder / "out" / "blend.json").read_text())["context"]
        judged = read_predictions(folder / "out" / "test.csv").probability
        found[name] = record["auc"]["context"]["value"], metrics.roc_auc(np.load("truth.npy"), judged)
    assert record["settings"]["embeddings"]
    assert found["with"][0] > found["without"][0] + 0.02 and found["with"][1] > found["without"][1] + 0.02


@pytest.mark.parametrize(("arguments", "complaint"), [
    (("--members=a.csv,b.csv", "--table=train.csv", "--embeddings=a.npz"), "without --context it tells nothing"),
    (("--members=a.csv,b.csv", "--table=train.csv", "--context", "--test_embeddings=a.npz"),
     "--test_embeddings belongs to --embeddings and predictions of test images"),
    (("--members=a.csv,b.csv", "--test_members=a_test.csv,b_test.csv", "--table=train.csv", "--test_csv=test.csv",
      "--context", "--embeddings=a.npz"), "--test_embeddings belongs to --embeddings and predictions of test images"),
    (("--members=a.csv,b.csv", "--table=train.csv", "--context", "--embeddings=absent.npz"), "no file absent.npz"),
    (("--members=a.csv,b.csv", "--context"), "--context needs --table, which tells which images are of one patient"),
    (("--members=a.csv,b.csv", "--table=train.csv", "--test_csv=test.csv"), "without --context it tells nothing"),
    (("--members=a_test.csv,b_test.csv", "--table=train.csv", "--context"), "--context learns from out-of-fold"),
    (("--members=a.csv,b.csv", "--test_members=a_test.csv,b_test.csv", "--table=train.csv", "--context",
      "--method=mean"), "needs --test_csv, their table with patient_id"),
    (("--members=a.csv,b.csv", "--table=poor.csv", "--context"), "poor.csv has no column 'patient_id'; it has: "),
])  # fmt: skip
def test_what_context_cannot_do_is_told_in_one_line(folder, run_command, arguments, complaint):
    pd.read_csv("train.csv").drop(columns="patient_id").to_csv("poor.csv", index=False)
    code, _, told = run_command("blend", *arguments, "--out=out")
    assert code == 2
    assert len(told) == 1
    assert complaint in told[0]
    assert not (folder / "out").exists()
