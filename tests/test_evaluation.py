"""Metrics of many weightings at once against scikit-learn, one at a time; intervals against DeLong and the truth."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from melanoma_tf import evaluation
from melanoma_tf.errors import UserError
from melanoma_tf.evaluation import METRICS, Sample, Weighted, comparison, resampling
from melanoma_tf.evaluation.comparison import holm
from melanoma_tf.evaluation.probabilistic import equal_count_bins
from melanoma_tf.metrics import auc_interval
from melanoma_tf.paired import auc_difference


def cohort(seed=0, patients=300, rate=0.1, digits=6):
    """(target, probability, patient): a patient's images share part of their logit."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), random.integers(1, 9, patients))
    target = (random.random(len(patient)) < rate).astype(int)
    logit = 1.5 * target + random.normal(size=len(patient)) + 0.7 * random.normal(size=patients)[patient] - 2.5
    return target, np.round(1 / (1 + np.exp(-logit)), digits), patient


def partial_auc(target, score, weight):
    """As the ISIC 2024 challenge computes it: turned round, by scikit-learn's partial area, which is scaled back."""
    scaled = reference.roc_auc_score(1 - target, -score, max_fpr=0.2, sample_weight=weight)
    return 0.5 * 0.2**2 + (0.2 - 0.5 * 0.2**2) / 0.5 * (scaled - 0.5)


def roc_points(target, score, weight):
    false, true, _ = reference.roc_curve(target, score, sample_weight=weight, drop_intermediate=False)
    return false, true


def sensitivity_at(specificity):
    def of(target, score, weight):
        false, true = roc_points(target, score, weight)
        return true[false <= 1 - specificity + 1e-9].max()

    return of


def specificity_at(sensitivity):
    def of(target, score, weight):
        false, true = roc_points(target, score, weight)
        return 1 - false[true >= sensitivity - 1e-9].min()

    return of


def calibration_error(target, score, weight):
    number, total = equal_count_bins(score), 0.0
    for part in np.unique(number):
        mask = (number == part) & (weight > 0)
        if mask.any():
            gap = np.average(score[mask], weights=weight[mask]) - np.average(target[mask], weights=weight[mask])
            total += abs(gap) * weight[mask].sum()
    return total / weight.sum()


REFERENCES = {
    "roc_auc": lambda t, p, w: reference.roc_auc_score(t, p, sample_weight=w),
    "partial_auc": partial_auc,
    "average_precision": lambda t, p, w: reference.average_precision_score(t, p, sample_weight=w),
    "sensitivity_at_90_specificity": sensitivity_at(0.90),
    "sensitivity_at_95_specificity": sensitivity_at(0.95),
    "specificity_at_80_sensitivity": specificity_at(0.80),
    "specificity_at_90_sensitivity": specificity_at(0.90),
    "specificity_at_95_sensitivity": specificity_at(0.95),
    "log_loss": lambda t, p, w: reference.log_loss(t, p, sample_weight=w),
    "brier": lambda t, p, w: reference.brier_score_loss(t, p, sample_weight=w),
    "calibration_error": calibration_error,
    "observed_to_expected": lambda t, p, w: np.average(t, weights=w) / np.average(p, weights=w),
}


@pytest.mark.parametrize("digits", [1, 2, 6])  # few digits make many ties
@pytest.mark.parametrize("name", METRICS)
def test_equals_scikit_learn_in_every_draw(name, digits):
    target, probability, patient = cohort(seed=digits, patients=60, digits=digits)
    sample = Sample(target, probability, patient)
    weights = next(evaluation.patient_weights(sample, replicates=20, seed=1))
    weights = np.hstack([np.ones((sample.clusters, 1)), weights])
    found = METRICS[name].of(Weighted(sample, weights))
    expected = [REFERENCES[name](target, probability, weight[sample.cluster]) for weight in weights.T]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4), st.integers(0, 9)), min_size=2, max_size=30))
def test_metrics_of_order_with_any_ties(rows):
    target, score, patient = np.array(rows).T
    assume(0 < target.sum() < len(target) and len(set(patient.tolist())) > 1)
    probability, weight = score / 4, np.ones(len(target))
    weighted = Weighted(Sample(target, probability, patient), np.ones((len(set(patient.tolist())), 1)))
    for name in ("roc_auc", "partial_auc", "average_precision", "sensitivity_at_90_specificity", "brier", "log_loss"):
        assert METRICS[name].of(weighted)[0] == pytest.approx(REFERENCES[name](target, probability, weight), abs=1e-12)


def test_golden():
    # In order: melanoma, benign, melanoma, then eight benign images.
    target = np.array([1, 0, 1] + [0] * 8)
    probability = np.arange(11, 0, -1) / 12
    table = evaluation.metrics_table(target, probability, replicates=10)
    assert table["roc_auc"].value == pytest.approx((9 + 8) / 18)
    assert table["average_precision"].value == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert table["partial_auc"].value == pytest.approx(0.2 * 8 / 9)  # sensitivities 0.8 to 1: one benign image above
    assert table["sensitivity_at_90_specificity"].value == 1 / 2
    assert table["specificity_at_80_sensitivity"].value == pytest.approx(8 / 9)
    assert table["observed_to_expected"].value == pytest.approx(2 / (66 / 12))
    assert (table["brier"].images, table["brier"].positives, table["brier"].clusters) == (11, 2, 11)


def test_one_alarm_of_ten_leaves_90_percent_specificity():
    assert (1 - 0.9) * 10 < 1  # in floating point
    table = evaluation.metrics_table([1] + [0] * 10, [0.8, 0.9, *[0.1] * 9], replicates=5)
    assert table["sensitivity_at_90_specificity"].value == 1


def test_guessing_has_the_partial_auc_of_guessing():
    assert evaluation.metrics_table([0, 1] * 5, [0.3] * 10, replicates=5)["partial_auc"].value == pytest.approx(0.02)


def test_bins_hold_equally_many_and_keep_ties_together():
    assert np.bincount(equal_count_bins(np.random.default_rng(0).permutation(40) / 40, 10)).tolist() == [4] * 10
    tied = equal_count_bins(np.array([0.1] * 15 + [0.2] * 5), 10)
    assert tied.tolist() == [0] * 15 + [7] * 5
    target, probability, _ = cohort()
    shares, means = calibration_curve(target, probability, n_bins=10, strategy="quantile")
    number = equal_count_bins(probability)
    assert np.abs([target[number == one].mean() for one in range(10)] - shares).max() < 0.02
    assert np.abs([probability[number == one].mean() for one in range(10)] - means).max() < 0.02


@pytest.mark.parametrize("seed", [0, 1])
def test_bootstrap_and_clustered_delong_agree(seed):
    target, probability, patient = cohort(seed, patients=500)
    sample = Sample(target, probability, patient)
    _, drawn = evaluation.bootstrap(sample, lambda weights: METRICS["roc_auc"].of(Weighted(sample, weights))[None])
    low, high = resampling.percentile_limits(drawn[0])
    delong = auc_interval(target, probability, patient)
    assert low == pytest.approx(delong.low, abs=0.1 * (delong.high - delong.low))
    assert high == pytest.approx(delong.high, abs=0.1 * (delong.high - delong.low))


def test_clusters_widen_the_interval_of_a_metric_of_order():
    target, probability, _ = cohort(seed=2, patients=400)
    copies = np.repeat(np.arange(len(target)), 4)  # every image four times: no more evidence than once
    once = evaluation.metrics_table(target, probability, replicates=600)
    clustered = evaluation.metrics_table(target[copies], probability[copies], copies, replicates=600)
    ignored = evaluation.metrics_table(target[copies], probability[copies], replicates=600)
    for name in ("average_precision", "partial_auc", "log_loss"):
        width = {key: one[name].high - one[name].low for key, one in
                 (("once", once), ("clustered", clustered), ("ignored", ignored))}  # fmt: skip
        assert width["clustered"] == pytest.approx(width["once"], rel=0.15)
        assert width["ignored"] < 0.65 * width["once"]


def test_every_interval_encloses_its_value():
    for seed in range(3):
        for name, interval in evaluation.metrics_table(*cohort(seed, patients=80), replicates=200).items():
            assert interval.low <= interval.value <= interval.high, name


def test_draws_do_not_depend_on_the_size_of_chunks(monkeypatch):
    sample = Sample(*cohort(patients=50))
    whole = np.hstack([*evaluation.patient_weights(sample, 30)])
    monkeypatch.setattr(resampling, "CELLS", 1)
    np.testing.assert_array_equal(np.hstack([*evaluation.patient_weights(sample, 30)]), whole)
    assert whole.sum(0).tolist() == [50] * 30


def test_draws_of_one_class_are_drawn_again():
    target, patient = np.array([1, 0, 0, 0]), np.arange(4)  # without one of the patients there is no melanoma
    weights = np.hstack([*evaluation.patient_weights(Sample(target, target / 2, patient), 200)])
    assert weights.shape == (4, 200)
    assert (weights[0] > 0).all() and (weights[1:].sum(0) > 0).all()


def test_no_failure_among_few_patients_is_not_certain():
    target = np.array([1] * 6 + [0] * 60)
    table = evaluation.metrics_table(target, 0.2 + 0.6 * target, np.arange(66) // 3, replicates=50)
    limit = 0.025 ** (1 / 2)  # two patients with melanoma
    assert table["sensitivity_at_95_specificity"].low == pytest.approx(limit)
    assert table["partial_auc"].low == pytest.approx(0.2 * limit)
    assert table["roc_auc"].low == pytest.approx(limit)
    backwards = evaluation.metrics_table(target, 0.8 - 0.6 * target, np.arange(66) // 3, replicates=50)
    assert backwards["sensitivity_at_95_specificity"].high == pytest.approx(1 - limit)


def test_interval_of_the_calibration_error_covers_where_percentiles_do_not():
    random, shares = np.random.default_rng(5), np.linspace(0.05, 0.5, 10)
    of, truth = METRICS["calibration_error"].of, 0.03  # every bin's share is 0.03 above its probability
    covered = {"turned": 0, "percentile": 0}
    for seed in range(60):
        probability = np.repeat(shares, 60)
        target = random.random(600) < probability + truth
        sample = Sample(target, probability)
        found = evaluation.metrics_table(target, probability, replicates=200, seed=seed)["calibration_error"]
        drawn = evaluation.bootstrap(sample, lambda w, s=sample: of(Weighted(s, w))[None], 200, seed)[1]
        low, high = resampling.percentile_limits(drawn[0])
        covered["turned"] += found.low <= truth <= found.high
        covered["percentile"] += low <= truth <= high
    assert covered["turned"] >= 54 > covered["percentile"]


def test_differences_are_paired_and_agree_with_delong():
    target, a, patient = cohort(seed=3, patients=400)
    b = np.clip(a + 0.05 * target, 0, 1)
    found = evaluation.metric_differences(target, a, b, patient, replicates=1000)
    delong = auc_difference(target, a, b, patient)
    width = delong.high - delong.low
    assert found["roc_auc"].value == pytest.approx(delong.value)
    assert found["roc_auc"].high - found["roc_auc"].low == pytest.approx(width, rel=0.15)
    alone = evaluation.metrics_table(target, b, patient, replicates=200)["roc_auc"]
    assert width < 0.6 * (alone.high - alone.low)
    back = evaluation.metric_differences(target, b, a, patient, replicates=1000)
    assert back["brier"].low == pytest.approx(-found["brier"].high)
    same = evaluation.metric_differences(target, a, a, patient, replicates=20)
    assert all((one.value, one.low, one.high) == (0, 0, 0) for one in same.values())


def test_shares_of_fixed_decisions():
    target, probability, patient = cohort(seed=4, patients=400)
    flagged = probability > 0.2
    sample = Sample(target, probability, patient)
    masks = np.stack([sample.target, ~sample.target])
    sensitivity, specificity = evaluation.share_intervals(sample, np.stack([flagged, ~flagged]), masks, 500)
    assert sensitivity.value == flagged[target == 1].mean()
    assert specificity.value == (~flagged)[target == 0].mean()
    assert sensitivity.images == sensitivity.positives == target.sum()
    assert sensitivity.low < sensitivity.value < sensitivity.high
    every = evaluation.share_intervals(sample, sample.target, sample.target, 50)[0]
    assert (every.value, every.high) == (1, 1)
    assert every.low == pytest.approx(0.025 ** (1 / every.clusters))


def test_subgroups_divide_the_images():
    rows = pd.DataFrame({
        "sex": ["male", "female", None, "male"], "age_approx": [20.0, 40.0, np.nan, 80.0],
        "anatom_site_general_challenge": ["torso", None, "torso", "elsewhere"], "source": ["a", "b", "a", None],
    })  # fmt: skip
    found = {(group.what, group.name): group.mask.tolist() for group in evaluation.subgroups(rows)}
    assert found["sex", "not recorded"] == [False, False, True, False]
    assert found["age", "40 to 59"] == [False, True, False, False]
    assert found["site", "not recorded"] == [False, True, False, True]
    assert found["source", "a"] == [True, False, True, False]
    for what in ("sex", "age", "site", "source"):
        assert np.sum([mask for (one, _), mask in found.items() if one == what], axis=0).tolist() == [1] * 4


def test_holm_golden():
    # Sorted .01, .03, .04 times 3, 2, 1, never below the one before.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]).tolist() == [1, 1]
    assert holm([]).tolist() == []


def clinic(seed, lift):
    """(target, a, b, rows): b sees melanoma of the head better by `lift`, elsewhere both see alike but for noise."""
    target, a, patient = cohort(seed, patients=500)
    random = np.random.default_rng(seed + 1000)
    head = random.random(len(target)) < 0.4
    logit = np.log(a / (1 - a))
    seen_a, seen_b = (logit + 0.5 * random.normal(size=len(a)) for _ in range(2))
    rows = pd.DataFrame({
        "patient_id": patient, "sex": random.choice(["male", "female"], len(a)), "age_approx": 50.0,
        "anatom_site_general_challenge": np.where(head, "head/neck", "torso"),
    })  # fmt: skip
    expit = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    return target, expit(seen_a), expit(seen_b + lift * target * head), rows


def test_a_planted_difference_is_found_where_it_is():
    target, a, b, rows = clinic(0, lift=2.0)
    found = comparison.compare_models(target, a, b, rows, replicates=100)
    marked = {group.name for group in found.subgroups if group.marked and group.difference.value > 0}
    assert "head/neck" in marked
    assert "torso" not in {group.name for group in found.subgroups if group.marked}
    for (of, up), apart in found.apart.items():
        rise = found.rank_b - found.rank_a
        best = (rise if up else -rise)[target == of].max()
        assert len(apart) == 5
        assert (rise if up else -rise)[apart[0]] == best
        assert (target[apart] == of).all()
    decided = found.disagreement
    flagged_a = a > np.sort(a[target == 0])[int(np.ceil(0.9 * (target == 0).sum())) - 1]
    assert decided.both[0] + decided.only_a[0] == flagged_a[target == 1].sum()
    assert flagged_a[target == 1].mean() == pytest.approx(found.a["sensitivity_at_90_specificity"].value)


def test_groups_of_equal_models_are_marked_as_seldom_as_promised():
    marked = []
    for seed in range(40):
        target, a, b, rows = clinic(seed, lift=0.0)
        marked.append(any(one.marked for one in comparison.subgroup_differences(target, a, b, rows)))
    assert np.mean(marked) <= 0.15  # 5 % of the comparisons, and three standard errors


@pytest.mark.parametrize(
    ("target", "probability", "patients", "words"),
    [
        ([0, 0], [0.1, 0.2], None, "no melanoma among 2 images"),
        ([1, 1], [0.1, 0.2], None, "nothing but melanoma"),
        ([0, 1], [0.1, np.nan], None, "1 of 2 numbers are not probabilities in \\[0, 1\\], such as nan"),
        ([0, 1], [0.1, 1.5], None, "such as 1.5"),
        ([0, 1], [0.1, 0.5], ["a", "a"], "all images are of one patient"),
        ([0, 1], [0.1, 0.5, 0.6], None, "2 targets, 3 probabilities"),
    ],
)
def test_what_cannot_be_measured_is_named(target, probability, patients, words):
    with pytest.raises(UserError, match=words):
        evaluation.metrics_table(target, probability, patients)
