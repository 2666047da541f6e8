"""Patient context: leave-one-out statistics, what changes nothing, planted effects, and what a bad call says."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from melanoma_tf import __main__, context, metrics, tables
from melanoma_tf.context import evidence, model
from melanoma_tf.context.model import direction, fit_trees, judge_folds
from melanoma_tf.context.others import Others
from melanoma_tf.cross_fit import patient_folds
from melanoma_tf.errors import UserError
from melanoma_tf.paired import auc_difference
from melanoma_tf.predictions import Predictions, read_predictions

QUICK = context.ContextSettings(seeds=1)
groups = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(groups)
def test_companions_against_a_loop(pairs):
    group, values = np.array(pairs).T
    found = Others(group, values)
    for row in range(len(group)):
        rest = values[(group == group[row]) & (np.arange(len(group)) != row)]
        expected = {
            "count": len(rest),
            "mean": rest.mean() if len(rest) else np.nan,
            "deviation": rest.std() if len(rest) > 1 else np.nan,
            "second_highest": np.sort(rest)[-2] if len(rest) > 1 else np.nan,
            "share_above": np.mean((rest > values[row]) + 0.5 * (rest == values[row])) if len(rest) else np.nan,
        }
        assert found.count[row] == expected.pop("count")
        for name, value in expected.items():
            assert getattr(found, name)()[row] == pytest.approx(value, abs=1e-9, nan_ok=True), name
        for share in (0, 0.25, 0.9, 1):
            value = np.quantile(rest, share) if len(rest) else np.nan
            assert found.quantile(share)[row] == pytest.approx(value, abs=1e-9, nan_ok=True)


def cohort(offset=0.0, signal=1.5, patients=150, seed=0, fewest=2):
    """(scores, table, target): logit = signal for melanoma + noise + a patient's own offset; metadata tells nothing."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), random.integers(fewest, 9, patients))
    count = len(patient)
    target = (random.random(count) < 0.15).astype(int)
    logits = signal * target + random.normal(size=count) + offset * random.normal(size=patients)[patient] - 2
    table = pd.DataFrame({
        "image_name": [f"ISIC_{number:07d}" for number in range(count)],
        "patient_id": [f"IP_{number:04d}" for number in patient],
        "sex": random.choice(["male", "female", None], patients)[patient],
        "age_approx": random.choice([30.0, 50.0, np.nan], patients)[patient],
        "anatom_site_general_challenge": random.choice([*tables.SITES, None], count),
    })  # fmt: skip
    return expit(logits), table, target


def test_a_planted_patient_effect_is_found():
    scores, table, target = cohort(offset=2.5)
    judged = context.cross_fitted_context(scores, table, target, QUICK)
    gain = auc_difference(target, scores, judged, table["patient_id"].to_numpy())
    assert gain.low > 0.05
    assert ((judged > 0) & (judged < 1)).all()


def test_where_there_is_no_effect_nothing_is_lost_beyond_noise():
    scores, table, target = cohort(offset=0.0)
    judged = context.cross_fitted_context(scores, table, target, QUICK)
    change = auc_difference(target, scores, judged, table["patient_id"].to_numpy())
    assert change.low < 0 < change.high or abs(change.value) < 0.01
    assert change.value > -0.03


@pytest.mark.parametrize("single", [False, True])
def test_a_monotone_change_of_scores_and_the_order_of_rows_change_nothing(single):
    scores, table, _ = cohort(offset=1.0, fewest=1)
    which = {"single": single, "extremes": True, "shortcuts": True}
    features = context.context_features(scores, table, **which)
    pd.testing.assert_frame_equal(context.context_features(np.log(scores) * 3, table, **which), features)
    order = np.random.default_rng(1).permutation(len(table))
    turned = context.context_features(scores[order], table.iloc[order], **which)
    pd.testing.assert_frame_equal(turned.sort_index(), features, rtol=1e-9)


def test_the_reference_is_of_the_training_patients_alone():
    scores, table, _ = cohort(fewest=1)
    kept = table["patient_id"] < "IP_0100"
    reference = context.fit_reference(scores[kept], table[kept])
    new = ~kept & (table["patient_id"] < "IP_0110")
    some = context.context_features(scores[new], table[new], reference)
    every = context.context_features(scores[~kept], table[~kept], reference)
    pd.testing.assert_frame_equal(some, every.loc[some.index])
    assert not np.allclose(some, context.context_features(scores[new], table[new]), equal_nan=True)


def test_a_patient_with_one_image_is_judged_as_without_companions():
    scores, table, target = cohort(offset=2.0)
    lone = pd.DataFrame({column: table[column].iloc[:1] for column in table}).assign(
        patient_id="IP_alone", age_approx=50.0
    )
    fitted = context.fit_context(scores, table, target, QUICK)
    features = context.context_features([0.3], lone, fitted.reference, extremes=True)
    assert np.isfinite(features.drop(columns=["male", "age_if_male"])).all(axis=None)
    single = context.fit_context(scores, table, target, context.ContextSettings(single=True, seeds=1))
    np.testing.assert_array_equal(fitted.judge([0.3], lone), single.judge([0.3], lone))
    beside = pd.concat([table, lone], ignore_index=True)
    assert fitted.judge(np.append(scores, 0.3), beside)[-1] == pytest.approx(single.judge([0.3], lone)[0])


def test_single_is_independent_of_the_other_images():
    scores, table, target = cohort(offset=2.0)
    fitted = context.fit_context(scores, table, target, context.ContextSettings(single=True, seeds=1))
    every = fitted.judge(scores, table)
    first = ~table["patient_id"].duplicated().to_numpy()
    np.testing.assert_allclose(fitted.judge(scores[first], table[first]), every[first])
    others = np.where(first, scores, 1 - scores)
    np.testing.assert_allclose(fitted.judge(others, table)[first], every[first])


def test_labels_of_held_out_patients_are_not_looked_at():
    scores, table, target = cohort(offset=1.0)
    fold = patient_folds(target, table["patient_id"].to_numpy(object), 3)
    before = judge_folds(scores, table, target, fold, QUICK)
    changed = np.where(fold == 1, 1 - target, target)
    after = judge_folds(scores, table, changed, fold, QUICK)
    np.testing.assert_array_equal(after.context[fold == 1], before.context[fold == 1])
    np.testing.assert_array_equal(after.single[fold == 1], before.single[fold == 1])
    assert (after.context[fold != 1] != before.context[fold != 1]).all()  # the change would have been seen


def test_trees_do_not_fall_where_the_score_rises():
    scores, table, target = cohort(signal=0.3)
    features = context.context_features(scores, table)
    log_odds = fit_trees(features, target, 0)
    raised = features + np.array([direction(name) for name in features.columns]) * 1.0
    assert (log_odds(raised) >= log_odds(features)).all()


def test_members_add_their_scores():
    scores, table, target = cohort()
    members = np.stack([scores, scores**2, 1 - scores])
    features = context.context_features(members, table)
    assert {"member_1", "member_2", "members_deviation"} <= set(features)
    np.testing.assert_allclose(features["member_1"], features["score"])
    np.testing.assert_allclose(features["member_2"], -features["score"])
    np.testing.assert_allclose(features["members_deviation"], features["score"].abs())
    assert len(context.cross_fitted_context(members, table, target, QUICK, folds=2)) == len(table)


def test_shortcuts_are_off_by_default():
    scores, table, _ = cohort()
    table = table.assign(width=6000, height=4000)
    plain, more = (context.context_features(scores, table, shortcuts=shortcuts) for shortcuts in (False, True))
    assert sorted(set(more) - set(plain)) == ["height", "images_of_patient", "width"]
    np.testing.assert_array_equal(more["images_of_patient"], evidence.images_of_patient(table["patient_id"]))


def test_without_extremes_features_tell_less_of_the_count():
    scores, table, target = cohort(patients=300)
    patients = table["patient_id"].to_numpy()
    fold = patient_folds(target, patients, 3)
    plain, more = (context.context_features(scores, table, extremes=extremes) for extremes in (False, True))
    assert set(plain) < set(more) and {"others_q100", "others_second", "share_above"} <= set(more) - set(plain)
    assert evidence.count_told(plain, patients, fold) < evidence.count_told(more, patients, fold) - 0.1


def test_matched_auc_is_blind_to_the_number_of_images():
    random = np.random.default_rng(0)
    size = np.repeat([2, 3, 20, 30], 40)
    patient = np.repeat(np.arange(160), size)
    few = np.repeat(size, size)
    target = (random.random(len(few)) < 1 / few).astype(int)
    assert metrics.roc_auc(target, -few) > 0.7
    assert evidence.matched_auc(target, -few, patient) == 1 / 2
    # Two melanoma; that of the patient with 2 images beats 1 of 1, that of 3 images ties with one of two.
    golden = evidence.matched_auc([1, 0, 1, 0, 0], np.array([0.9, 0.1, 0.5, 0.5, 0.7]), list("aabbb"))
    assert golden == (1 + 0.5 / 2) / 2


def test_count_told_finds_the_count():
    scores, table, target = cohort()
    fold = patient_folds(target, table["patient_id"].to_numpy(object), 3)
    patients = table["patient_id"].to_numpy()
    told = pd.DataFrame({"count": evidence.images_of_patient(patients) * 1.0})
    assert evidence.count_told(told, patients, fold) > 0.97
    assert abs(evidence.count_told(pd.DataFrame({"score": scores}), patients, fold)) < 0.2


@pytest.mark.parametrize(("scores", "words"), [
    ([0.1, np.nan], "1 of 2 images have a score that is no number, the first in row 1"),
    ([0.1, 0.2, 0.3], "one score per image"),
])  # fmt: skip
def test_bad_scores(scores, words):
    with pytest.raises(UserError, match=words):
        context.context_features(np.array(scores), cohort()[1].iloc[:2])


@pytest.fixture
def files(tmp_path, monkeypatch):
    """oof.csv and train.csv of a cohort with a patient effect, test.csv and test_table.csv of another one."""
    monkeypatch.setitem(model.TREES, "max_iter", 20)
    for prefix, seed, offset in (("", 0, 2.5), ("test_", 1, 2.5)):
        scores, table, target = cohort(offset, seed=seed, patients=100, fewest=1)
        names = table["image_name"].to_numpy(object) if not prefix else np.array([f"T{n}" for n in range(len(table))])
        table["image_name"] = names
        Predictions(names, scores, None if prefix else target).write(tmp_path / f"{prefix or 'oof'}.csv".lstrip("_"))
        (table if prefix else table.assign(target=target)).to_csv(tmp_path / f"{prefix}table.csv", index=False)
    (tmp_path / "test_.csv").rename(tmp_path / "test.csv")
    return tmp_path


def _command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["melanoma-tf", "context", *map(str, arguments)])
    code = __main__.main()
    return code, *capsys.readouterr()


def test_command(files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    given = ("--oof=oof.csv", "--table=table.csv", "--out=out", "--folds=3")
    code, printed, _ = _command(
        monkeypatch, capsys, *given, "--test=test.csv", "--test_csv=test_table.csv", "--shortcuts", "--repeats=1"
    )
    assert code == 0
    assert "WARNING, not written: with images_of_patient (AUC alone 0." in printed
    record = json.loads((files / "out" / "context.json").read_text())
    oof, test = (read_predictions(files / "out" / name) for name in ("oof.csv", "test.csv"))
    assert record["auc"]["context"]["value"] == metrics.roc_auc(oof.target, oof.probability)
    assert record["difference"]["low"] > 0 and set(record["shortcuts"]["alone"]) == {"images_of_patient"}
    assert set(test.image_name) == set(read_predictions("test.csv").image_name)
    assert sum(row["images"] for row in record["by_size"]) == len(oof)
    table = pd.read_csv("table.csv").set_index("image_name").loc[oof.image_name]
    assert (table.assign(fold=oof.fold).groupby("patient_id")["fold"].nunique() == 1).all()

    before = (files / "out" / "oof.csv").read_bytes()
    code, _, complaint = _command(monkeypatch, capsys, *given, "--single")
    assert (code, complaint.count("\n"), (files / "out" / "oof.csv").read_bytes()) == (2, 1, before)
    code, printed, _ = _command(monkeypatch, capsys, *given, "--single", "--json", "--overwrite")
    alone = json.loads(printed)
    assert set(alone["auc"]) == {"input", "single"}
    assert alone["auc"]["single"] == record["auc"]["single"]
    assert not (files / "out" / "test.csv").exists()


def same(table):
    return table


@pytest.mark.parametrize(("change", "arguments", "words"), [
    (lambda table: table.drop(columns="patient_id"), [], "no column 'patient_id'"),
    (lambda table: table.iloc[5:], [], "is not in the table (5 of"),
    (lambda table: table.assign(image_name="other" + table.image_name), [], "is not in the table"),
    (lambda table: table.assign(target=1 - table.target), [], "differs between"),
    (same, ["--oof=benign.csv", "--table=benign_table.csv"], "no melanoma among"),
    (same, ["--oof=nan.csv"], "is nan; 1 of"),
    (same, ["--test=test.csv"], "belong together"),
    (same, ["--folds=1"], "not integer >= 2"),
    (same, ["--folds=99"], "patients have a melanoma; 99 folds need 99"),
    (same, ["--oof=absent.csv"], "no table at absent.csv"),
    (same, ["--oof=unlabelled.csv", "--table=test_table.csv"], "one is needed"),
    (same, ["--test=test.csv", "--test_csv=table.csv"], "is not in the table"),
])  # fmt: skip
def test_command_with_bad_input_writes_nothing(files, monkeypatch, capsys, change, arguments, words):
    monkeypatch.chdir(files)
    table, oof = pd.read_csv("table.csv"), pd.read_csv("oof.csv")
    change(table).to_csv("table.csv", index=False)
    oof.assign(target=0).to_csv("benign.csv", index=False)
    table.assign(target=0).to_csv("benign_table.csv", index=False)
    oof.assign(probability=oof["probability"].mask(oof.index == 3)).to_csv("nan.csv", index=False)
    pd.read_csv("test.csv").to_csv("unlabelled.csv", index=False)
    given = {"--oof": "oof.csv", "--table": "table.csv", "--out": "out"}
    given |= dict(argument.split("=") for argument in arguments)
    code, printed, complaint = _command(monkeypatch, capsys, *(f"{name}={value}" for name, value in given.items()))
    assert (code, printed, complaint.count("\n")) == (2, "", 1), complaint
    assert words in complaint
    assert not (files / "out").exists()
