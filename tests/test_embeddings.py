"""Embeddings in the patient context: the arithmetic, what changes nothing, a planted signal, and bad files."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from melanoma_tf import context, tables
from melanoma_tf.context import model
from melanoma_tf.context.alike import beside_others
from melanoma_tf.context.features import EMBEDDING
from melanoma_tf.context.study import Images, study_context
from melanoma_tf.embeddings import centred_directions, directions_of, read_embeddings, write_embeddings
from melanoma_tf.errors import UserError
from melanoma_tf.predictions import Predictions, read_predictions

QUICK = context.ContextSettings(seeds=1, embeddings=True)
GROUP = {"from_others", "from_nearest", "stands_out", "attended", "over_attended"}


def test_three_images():
    """At 0, 60 and 180 degrees: cosines 1/2, -1 and -1/2."""
    angle = np.deg2rad([0, 60, 180])
    directions = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    found = beside_others(np.array(["a"] * 3), directions, np.array([2.0, 1.0, -3.0]))
    # The others' mean points to 120 degrees; to 0 and 180 together to nowhere, which is 1 from everything; to 30.
    np.testing.assert_allclose(found["from_others"], [1 - (-1 / 2), 1 - 0, 1 - (-(3**0.5) / 2)], atol=1e-12)
    np.testing.assert_allclose(found["from_nearest"], [1 / 2, 1 / 2, 3 / 2], atol=1e-12)
    np.testing.assert_array_equal(found["stands_out"], [1 / 2, 0, 1])
    attended = [expit(15) * 1 + expit(-15) * -3, expit(10) * 2 + expit(-10) * -3, expit(5) * 1 + expit(-5) * 2]
    np.testing.assert_allclose(found["attended"], attended, rtol=1e-12)


def test_two_images_are_equally_far_and_one_alone_is_far_from_nothing():
    directions = centred_directions(np.random.default_rng(0).normal(size=(5, 7)))
    position = np.arange(5.0)
    found = beside_others(np.array(list("xyxzz")), directions, position)
    assert all(np.isnan(column[1]) for column in found.values())
    np.testing.assert_allclose(found["from_others"][0], 1 - directions[0] @ directions[2], rtol=1e-6)
    np.testing.assert_allclose(found["from_others"], found["from_nearest"], rtol=1e-6)
    np.testing.assert_array_equal(found["stands_out"][[0, 2, 3, 4]], 1 / 2)
    np.testing.assert_array_equal(found["attended"][[0, 2, 3, 4]], position[[2, 0, 4, 3]])


def test_directions_are_without_the_mean():
    directions = centred_directions(np.array([[1.0, 5.0], [3.0, 5.0], [2.0, 5.0]]))
    np.testing.assert_array_equal(directions, [[-1, 0], [1, 0], [0, 0]])


def cohort(seed=0, patients=150, signal=3.0, fewest=1):
    """(scores, table with embeddings, target): a weak score; a melanoma looks unlike its patient's other images."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), random.integers(fewest, 9, patients))
    count = len(patient)
    target = (random.random(count) < 0.15).astype(int)
    skin = 2 * random.normal(size=(patients, 6))[patient]
    vectors = skin + random.normal(size=(count, 6)) + signal * target[:, None] * random.normal(size=(count, 6))
    table = pd.DataFrame({
        "image_name": [f"ISIC_{seed}{number:06d}" for number in range(count)],
        "patient_id": [f"IP_{seed}{number:04d}" for number in patient],
        "sex": "male", "age_approx": 50.0, "anatom_site_general_challenge": random.choice(tables.SITES, count),
    })  # fmt: skip
    table[EMBEDDING] = list(centred_directions(vectors))
    return expit(0.5 * target + random.normal(size=count) - 2), table, target


def test_the_order_of_rows_and_other_patients_change_nothing():
    scores, table, _ = cohort()
    features = context.context_features(scores, table, embeddings=True)
    assert set(features) - set(context.context_features(scores, table)) == GROUP
    reference = context.fit_reference(scores, table)
    order = np.random.default_rng(1).permutation(len(table))
    turned = context.context_features(scores[order], table.iloc[order], embeddings=True)
    pd.testing.assert_frame_equal(turned.sort_index(), features, rtol=1e-9)
    few = (table["patient_id"] < "IP_00020").to_numpy()
    some = context.context_features(scores[few], table[few], reference, embeddings=True)
    pd.testing.assert_frame_equal(some, features[few])


def test_an_only_image_is_judged_as_without_embeddings():
    scores, table, target = cohort()
    only = (~table["patient_id"].duplicated(keep=False)).to_numpy()
    features = context.context_features(scores, table, embeddings=True)
    assert only.any() and features.loc[only, sorted(GROUP)].isna().all(axis=None)
    assert np.isfinite(features.loc[~only, sorted(GROUP)]).all(axis=None)
    with_them = context.fit_context(scores, table, target, QUICK).judge(scores, table)
    single = context.fit_context(scores, table, target, context.ContextSettings(single=True, seeds=1))
    np.testing.assert_array_equal(with_them[only], single.judge(scores[only], table[only]))


@pytest.mark.parametrize("signal", [3.0, 0.0])
def test_a_planted_signal_is_found_and_none_is_not(signal, monkeypatch):
    monkeypatch.setitem(model.TREES, "max_iter", 40)
    scores, table, target = cohort(signal=signal)
    record = study_context(Images(scores, table, target), QUICK, folds=3).record
    gain = record["difference_of_embeddings"]
    assert list(record["auc"]) == ["input", "single", "scores", "context"]
    assert gain["value"] == pytest.approx(record["auc"]["context"]["value"] - record["auc"]["scores"]["value"])
    assert gain["low"] > 0.02 if signal else gain["low"] < 0
    plain = study_context(Images(scores, table.drop(columns=EMBEDDING), target), context.ContextSettings(seeds=1), 3)
    assert plain.record["auc"]["context"] == record["auc"]["scores"]
    assert plain.record["difference_of_embeddings"] is None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(model.TREES, "max_iter", 20)
    for name, seed in (("oof", 0), ("test", 1)):
        scores, table, target = cohort(seed, patients=100)
        vectors = np.stack(list(table.pop(EMBEDDING)))
        Predictions(table["image_name"], scores, target if name == "oof" else None).write(f"{name}.csv")
        table.assign(target=target).to_csv(f"{name}_table.csv", index=False)
        shuffled = np.random.default_rng(0).permutation(len(table))
        write_embeddings(f"{name}.npz", table["image_name"].to_numpy(object)[shuffled], vectors[shuffled])
    write_embeddings("few.npz", table["image_name"][:3].tolist(), np.eye(3))
    return tmp_path


TRAIN = ("context", "--oof=oof.csv", "--table=oof_table.csv", "--out=out", "--folds=3")
TEST = ("--test=test.csv", "--test_csv=test_table.csv")


def test_command(folder, run_command):
    code, printed, complaint = run_command(*TRAIN, *TEST, "--embeddings=oof.npz", "--test_embeddings=test.npz")
    assert (code, complaint) == (0, [])
    record = json.loads((folder / "out" / "context.json").read_text())
    gain = record["difference_of_embeddings"]
    assert f"of it by the embeddings     {gain['value']:+.4f} [{gain['low']:+.4f}" in printed
    assert "with the others' scores     0." in printed and ", embeddings 0." in printed
    assert record["settings"]["embeddings"] and set(record["inputs"]) >= {"embeddings", "test_embeddings"}
    names = read_predictions("test.csv").image_name
    assert read_predictions("out/test.csv").image_name.tolist() == names.tolist()
    table = tables.read_table("oof_table.csv", target=True)
    np.testing.assert_allclose(
        directions_of(table["image_name"].to_numpy(object), "oof.npz"),
        centred_directions(np.stack(list(cohort(0, patients=100)[1][EMBEDDING]))), atol=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), [
    (["--embeddings=few.npz"], "few.npz has no embedding of ISIC_0000000 ("),
    (["--embeddings=absent.npz"], "no file absent.npz"),
    (["--embeddings=oof.csv"], "is no .npz of plain arrays"),
    (["--embeddings=oof.npz", "--single"], "--single leaves them out"),
    (["--embeddings=oof.npz", *TEST], "--test_embeddings belongs to"),
    (["--embeddings=oof.npz", "--test_embeddings=test.npz"], "--test_embeddings belongs to"),
    ([*TEST, "--test_embeddings=test.npz"], "--test_embeddings belongs to"),
    (["--embeddings=oof.npz", *TEST, "--test_embeddings=few.npz"], "images lack one)"),
])  # fmt: skip
def test_bad_input_writes_nothing(folder, run_command, arguments, words):
    code, printed, complaint = run_command(*TRAIN, *arguments)
    assert (code, printed, len(complaint)) == (2, "", 1), complaint
    assert words in complaint[0]
    assert not (folder / "out").exists()


def test_a_missing_image_is_named():
    with pytest.raises(UserError, match="no file"):
        directions_of(np.array(["a"]), "absent.npz")


@pytest.mark.parametrize("kind", ["npy", "cut", "empty"])
def test_files_that_are_no_archive_are_one_line(tmp_path, kind):
    path = tmp_path / "e.npz"
    np.savez_compressed(path, names=np.array(["a", "b"]), embeddings=np.random.default_rng(0).random((2, 500)))
    content = path.read_bytes()
    if kind == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros((2, 3)))
    else:
        path.write_bytes(content[: len(content) // 2] if kind == "cut" else b"")
    with pytest.raises(UserError, match=r"no \.npz of plain arrays"):
        read_embeddings(path)
