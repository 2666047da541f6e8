"""Calibration against scikit-learn, planted distortions and exact guarantees; nothing is judged by its own labels."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from melanoma_tf import calibration
from melanoma_tf.calibration import CALIBRATORS, fit_calibration
from melanoma_tf.calibration.study import study_calibration
from melanoma_tf.cross_fit import patient_folds
from melanoma_tf.errors import UserError


def cohort(seed=0, patients=1500, distort=lambda logits: logits):
    """(target, probability, patient) whose undistorted probabilities hold by the way they are drawn."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), random.integers(1, 7, patients))
    logits = 1.5 * random.normal(size=len(patient)) - 2
    target = (random.random(len(patient)) < expit(logits)).astype(int)
    return target, expit(distort(logits)), patient


DISTORTIONS = {
    "none": lambda logits: logits,
    "temperature": lambda logits: 2.5 * logits,
    "platt": lambda logits: 2 * logits + 3,
    # Beta: log odds are .5 log p - 1.5 log(1 - p) + 1 of the distorted p, found by bisection below.
    "beta": lambda logits: _invert(lambda p: 0.5 * np.log(p) - 1.5 * np.log1p(-p) + 1, logits),
    "isotonic": lambda logits: np.where(logits < -2, logits - 4, np.where(logits < -1, 0.1 * logits, logits + 3)),
}


def _invert(log_odds, wanted):
    low, high = np.full_like(wanted, -30), np.full_like(wanted, 30)
    for _ in range(60):
        middle = (low + high) / 2
        below = log_odds(expit(middle)) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


def soft_logistic(features, target, intercept):
    """Coefficients by scikit-learn, without a penalty, of Platt's targets: each image once as either class."""
    positives, negatives = target.sum(), (1 - target).sum()
    soft = np.where(target == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    model = LogisticRegression(C=1e12, fit_intercept=intercept, tol=1e-10, max_iter=10000)
    weight = np.concatenate([soft, 1 - soft])
    model.fit(np.vstack([features.T] * 2), np.repeat([1, 0], len(target)), sample_weight=weight)
    return [*model.coef_[0], *(model.intercept_ if intercept else [])]


def test_fits_equal_scikit_learn():
    target, probability, _ = cohort(distort=DISTORTIONS["platt"])
    logits = calibration.log_odds(probability)[None]
    (slope,) = soft_logistic(logits, target, False)
    assert fit_calibration("temperature", target, probability).parameters["temperature"] == [
        pytest.approx(1 / slope, rel=1e-4)
    ]
    found = fit_calibration("platt", target, probability).parameters
    assert found["slope"] + found["intercept"] == pytest.approx(soft_logistic(logits, target, True), rel=1e-4)
    found = fit_calibration("beta", target, probability).parameters
    features = np.stack([np.log(probability), -np.log1p(-probability)])
    assert [found[name][0] for name in "abc"] == pytest.approx(soft_logistic(features, target, True), rel=1e-3)


def test_isotonic_equals_scikit_learn():
    target, probability, _ = cohort(patients=200)
    soft = np.where(target == 1, (target.sum() + 1) / (target.sum() + 2), 1 / ((1 - target).sum() + 2))
    expected = IsotonicRegression(out_of_bounds="clip").fit(probability, soft).predict(probability)
    np.testing.assert_allclose(fit_calibration("isotonic", target, probability)(probability), expected, atol=1e-12)


@pytest.mark.parametrize("method", ["temperature", "platt", "beta", "isotonic"])
def test_a_planted_distortion_is_undone_on_new_images(method):
    target, distorted, _ = cohort(1, 4000, DISTORTIONS[method])
    _, new, _ = cohort(2, 500, DISTORTIONS[method])
    _, truth, _ = cohort(2, 500)
    found = fit_calibration(method, target, distorted)(new)
    assert np.abs(found - truth).mean() < 0.02 < np.abs(new - truth).mean()


@pytest.mark.parametrize("method", DISTORTIONS)
def test_the_right_method_is_about_the_best_one(method):
    found = calibration.calibrate(*cohort(3, distort=DISTORTIONS[method]), replicates=200)
    assert set(found.log_loss) == set(CALIBRATORS)
    assert found.log_loss[method] < min(found.log_loss.values()) + 0.001
    assert found.log_loss[found.calibration.method] == min(found.log_loss.values())
    if method != "none":
        assert found.gain[method].high < 0
        assert found.gain["none"].value == found.gain["none"].low == 0


def test_a_named_method_is_taken_even_where_another_is_better():
    target, probability, patient = cohort(3, 300, DISTORTIONS["platt"])
    found = calibration.calibrate(target, probability, patient, replicates=2, taken="none")
    assert found.calibration.method == "none" != min(found.log_loss, key=found.log_loss.get)
    np.testing.assert_array_equal(found.probability, probability)


def test_labels_of_a_patient_do_not_reach_his_probabilities():
    target, probability, patient = cohort(4, 300, DISTORTIONS["platt"])
    before = calibration.calibrate(target, probability, patient, methods=["beta"], replicates=2)
    rows = np.flatnonzero(patient == next(p for p in patient if len(set(target[patient == p])) == 2))
    changed = target.copy()
    changed[rows] = np.roll(target[rows], 1)  # as many melanoma of the patient, so the folds stay
    after = calibration.calibrate(changed, probability, patient, methods=["beta"], replicates=2)
    np.testing.assert_array_equal(before.fold, after.fold)
    held_out = before.fold == before.fold[rows[0]]
    np.testing.assert_array_equal(before.probability[held_out], after.probability[held_out])
    assert (before.probability[~held_out] != after.probability[~held_out]).all()  # the change would have been seen


rows = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0, 1e-9, 0.01, 0.3, 0.5, 0.9, 1])), min_size=2)


@pytest.mark.parametrize("method", CALIBRATORS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(rows)
def test_whatever_is_fitted_never_falls_and_stays_a_probability(method, rows):
    target, probability = np.array(rows).T
    assume(0 < target.sum() < len(target))
    found = fit_calibration(method, target, probability)
    judged = found(np.linspace(0, 1, 101))
    assert (np.diff(judged) >= -1e-12).all()
    assert ((judged >= 0) & (judged <= 1)).all()
    if method != "none":
        assert np.isfinite([value for values in found.parameters.values() for value in values]).all()
        assert 0 < fit_calibration(method, [0, 1], [0, 1])([0.5])[0] < 1
    assert tuple(found.parameters) == CALIBRATORS[method].names


def test_one_class_cannot_be_calibrated():
    with pytest.raises(UserError, match="calibration by platt: no melanoma among 2 images"):
        fit_calibration("platt", [0, 0], [0.1, 0.2])


def test_prevalence_golden():
    assert calibration.shift_prevalence([0.5], 0.5, 0.1)[0] == pytest.approx(0.1)
    assert calibration.shift_prevalence([0.2], 0.2, 0.02)[0] == pytest.approx(0.02)
    # Odds 1/3 by the ratio of the prior odds, (1/99) / (1/4) = 4/99: 4/297.
    assert calibration.shift_prevalence([0.25], 0.2, 0.01)[0] == pytest.approx((4 / 297) / (1 + 4 / 297))
    assert calibration.shift_prevalence([0, 1], 0.2, 0.01).tolist() == [0, 1]


def test_prevalence_of_a_thinned_cohort_holds():
    target, probability, _ = cohort(5, 6000)
    kept = (target == 1) | (np.random.default_rng(6).random(len(target)) < 0.25)  # a quarter of the benign images
    shifted = calibration.shift_prevalence(probability[kept], target.mean(), target[kept].mean())
    assert target[kept].mean() > 2 * target.mean()
    assert target[kept].sum() / shifted.sum() == pytest.approx(1, abs=0.03)
    assert target[kept].sum() / probability[kept].sum() > 1.5


@pytest.mark.parametrize("share", [0, 1, -0.1, 5])
def test_an_impossible_prevalence_is_refused(share):
    with pytest.raises(UserError, match="valid is more than 0 and less than 1"):
        calibration.shift_prevalence([0.5], 0.5, share)


def test_threshold_golden():
    target, probability = [1, 1, 1, 1, 1, 0], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    wanted = (0.2, 0.6, 0.61, 0.8, 1)
    assert [calibration.threshold_at(target, probability, one) for one in wanted] == [0.9, 0.7, 0.6, 0.6, 0.5]
    assert 0.07 * 100 > 7  # in floating point; 7 of 100 melanoma are enough all the same
    assert calibration.threshold_at([1] * 100, np.arange(100, 0, -1) / 100, 0.07) == 94 / 100


def test_operating_points_on_held_out_patients():
    target, probability, patient = cohort(7, 400)
    for point in calibration.operating_points(target, probability, patient, replicates=200):
        assert point.threshold.value == calibration.threshold_at(target, probability, point.wanted)
        assert point.apparent_sensitivity >= point.wanted > point.apparent_sensitivity - 1 / target.sum()
        assert point.apparent_specificity == (probability < point.threshold.value)[target == 0].mean()
        assert point.sensitivity.low <= point.wanted <= point.sensitivity.high
        assert point.threshold.low <= point.threshold.value <= point.threshold.high
        assert point.precision.value == pytest.approx(
            point.sensitivity.value * target.sum() / (point.flagged.value * len(target))
        )


def test_a_threshold_of_few_melanoma_is_found_too_good():
    # On average over cohorts a threshold for 90 % reaches at least that where it was chosen, and less elsewhere.
    reached = []
    for seed in range(20):
        target, probability, patient = cohort(seed + 20, 60)
        point = calibration.operating_points(target, probability, patient, (0.9,), replicates=2)[0]
        reached.append((point.apparent_sensitivity, point.sensitivity.value))
    apparent, held_out = np.mean(reached, axis=0)
    assert held_out < 0.9 < apparent


def test_net_benefit_by_its_definition():
    target, probability, patient = cohort(8, 200)
    curve = calibration.decision_curve(target, probability, patient, thresholds=[0.1, 0.3], replicates=100)
    for threshold, benefit, every in zip(curve.thresholds, curve.model, curve.treat_all):
        flagged, odds = probability >= threshold, threshold / (1 - threshold)
        found, excised = (flagged & (target == 1)).sum(), (flagged & (target == 0)).sum()
        assert benefit == pytest.approx((found - excised * odds) / len(target))
        assert every == pytest.approx((target.sum() - (1 - target).sum() * odds) / len(target))
    assert (curve.low <= curve.model).all() and (curve.model <= curve.high).all()
    assert curve.none.tolist() == [0, 0]
    low = calibration.decision_curve(target, probability, patient, thresholds=[probability.min()], replicates=2)
    assert low.model == pytest.approx(low.treat_all)


def test_net_benefit_at_another_prevalence():
    target, probability, _ = cohort(9, 200)
    twice = np.repeat(np.arange(len(target)), 1 + 2 * target)  # every melanoma three times
    share = target[twice].mean()
    stated = calibration.decision_curve(target, probability, thresholds=[0.2], prevalence=share, replicates=2)
    drawn = calibration.decision_curve(target[twice], probability[twice], thresholds=[0.2], replicates=2)
    assert stated.model == pytest.approx(drawn.model)
    assert stated.treat_all == pytest.approx(drawn.treat_all)


def test_calibrated_probabilities_lie_on_the_diagonal():
    target, probability, patient = cohort(10, 3000)
    curve = calibration.reliability_curve(target, probability, patient, replicates=300)
    inside = [one.low <= mean <= one.high for mean, one in zip(curve.mean, curve.share)]
    assert sum(inside) >= 8
    assert sum(one.images for one in curve.share) == len(target)
    off = calibration.reliability_curve(target, expit(2 * logit(probability)), patient, replicates=300)
    assert sum(one.low <= mean <= one.high for mean, one in zip(off.mean, off.share)) <= 3
    tied = calibration.reliability_curve(target, np.where(probability < 0.2, 0.1, 0.4), patient, replicates=10)
    assert tied.mean.tolist() == pytest.approx([0.1, 0.4])


def test_set_limits_golden():
    target = [1] * 9 + [0] * 9
    probability = np.arange(1, 19) / 20
    probability = np.concatenate([probability[9:], probability[:9]])  # melanoma .5 to .9, benign .05 to .45
    assert calibration.set_limits(target, probability, 0.1) == (0.5, 0.45)  # k = floor(.1 * 10) = 1
    assert calibration.set_limits(target, probability, 0.35) == (0.6, 0.35)  # k = 3
    assert calibration.set_limits(target, probability, 0.05) == (0.0, 1.0)  # nine images cannot tell 5 %


def test_sets_cover_exactly_as_often_as_promised():
    # Of scores without ties the share of melanoma left out is k / (n + 1) on average, whatever their distribution.
    random, n, error = np.random.default_rng(11), 24, 0.13  # k = floor(.13 * 25) = 3
    target = np.repeat([1, 0], n)
    missed = []
    for _ in range(3000):
        melanoma, benign = random.beta(2, 5, n + 1), random.beta(1, 9, n + 1)
        from_, to = calibration.set_limits(target, np.concatenate([melanoma[1:], benign[1:]]), error)
        missed.append((melanoma[0] < from_, benign[0] > to))
    assert np.mean(missed, axis=0) == pytest.approx(3 / 25, abs=0.017)  # three standard errors
    assert 3 / 25 <= error


def test_sets_of_held_out_patients():
    target, probability, patient = cohort(12, 2000)
    sets = calibration.conformal_sets(target, probability, patient, error=0.1, replicates=200)
    assert (sets.melanoma_from, sets.benign_to) == calibration.set_limits(target, probability, 0.1)
    for interval in sets.coverage.values():
        assert interval.low <= 0.9 <= interval.high
    assert sum(interval.value for interval in sets.shares.values()) == pytest.approx(1)
    assert sets.coverage["melanoma"].images == target.sum()
    with pytest.raises(UserError, match="an error of 1 of conformal sets"):
        calibration.conformal_sets(target, probability, patient, error=1)


def test_coverage_is_of_limits_that_never_saw_the_patient():
    target, probability, patient = cohort(19, 60)
    fold = patient_folds(target, patient)
    covered = 0
    for number in range(5):
        from_, _ = calibration.set_limits(target[fold != number], probability[fold != number], 0.2)
        covered += (probability[(fold == number) & (target == 1)] >= from_).sum()
    found = calibration.conformal_sets(target, probability, patient, 0.2, replicates=2)
    assert found.coverage["melanoma"].value == covered / target.sum()
    assert covered != (probability[target == 1] >= found.melanoma_from).sum()


def test_steps_that_were_fitted_to_the_held_out_truths_are_no_finding():
    """Of scores that are noise isotonic makes steps where melanoma happen to lie; held out they are worth nothing."""
    gained = []
    for seed in range(8):
        random = np.random.default_rng(seed)
        target, patients = (random.random(400) < 0.15).astype(int), np.arange(400)
        study = study_calibration(target, random.random(400), patients, "isotonic", (0.8,))
        point, sets = study.record["thresholds"][0], study.record["conformal"]
        gained.append(point["sensitivity"]["value"] + point["specificity"]["value"] - 1)
        assert sets["coverage"]["benign"]["value"] > 0.85  # ties may cover more
    assert abs(np.mean(gained)) < 0.05


def test_a_map_that_keeps_the_order_decides_as_the_scores_do():
    target, probability, patients = cohort(patients=400)
    study = study_calibration(target, probability, patients, "platt", (0.9,))
    plain = calibration.operating_points(target, probability, patients, (0.9,))[0]
    assert study.record["thresholds"][0]["sensitivity"]["value"] == plain.sensitivity.value
    assert study.record["thresholds"][0]["specificity"]["value"] == plain.specificity.value
