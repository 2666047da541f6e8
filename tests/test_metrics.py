"""Exact AUC and its interval, against scikit-learn, plain loops and a bootstrap over patients."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from melanoma_tf import metrics
from melanoma_tf.errors import UserError

few_scores = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4)), min_size=2, max_size=40)  # few values: many ties


@settings(max_examples=80, deadline=None, derandomize=True)
@given(few_scores)
def test_auc_equals_sklearn_with_ties(pairs):
    target, score = np.array(pairs).T
    assume(0 < target.sum() < len(target))
    assert metrics.roc_auc(target, score / 4) == pytest.approx(roc_auc_score(target, score), abs=1e-12)


def test_golden_auc():
    # Pairs in the right order: .8 beats all 4 benign, .4 beats two and ties one, .35 beats two.
    target = [1, 1, 1, 0, 0, 0, 0]
    score = [0.8, 0.4, 0.35, 0.1, 0.3, 0.4, 0.7]
    assert metrics.roc_auc(target, score) == (4 + 2.5 + 2) / 12
    assert metrics.roc_auc([0, 1, 0, 1], [0.1, 0.9, 0.2, 0.8]) == 4 / 4
    assert metrics.roc_auc([0, 1], [0.5, 0.5]) == 1 / 2


@pytest.mark.parametrize(("target", "words"), [([0, 0], "no melanoma"), ([1, 1], "nothing but melanoma")])
def test_one_class_has_no_auc(target, words):
    with pytest.raises(UserError, match=words):
        metrics.roc_auc(target, [0.1, 0.2])


def _delong_variance(target, score):
    """DeLong's variance by its definition, pair by pair."""
    positive, negative = score[target == 1], score[target == 0]
    wins = np.array([[(p > n) + 0.5 * (p == n) for n in negative] for p in positive])
    return wins.mean(axis=1).var(ddof=1) / len(positive) + wins.mean(axis=0).var(ddof=1) / len(negative)


def test_without_clusters_it_is_delong():
    generator = np.random.default_rng(1)
    target = np.array([1] * 17 + [0] * 60)
    score = np.round(generator.normal(target * 0.9), 1)
    auc = metrics.auc_interval(target, score)
    deviation = _delong_variance(target, score) ** 0.5 / (auc.value * (1 - auc.value))
    centre = np.log(auc.value / (1 - auc.value))
    expected = 1 / (1 + np.exp(-(centre + np.array([-1, 1]) * 1.959963984540054 * deviation)))
    assert (auc.low, auc.high) == pytest.approx(tuple(expected), abs=1e-12)
    assert (auc.images, auc.positives, auc.clusters) == (77, 17, 77)


def test_placements_average_to_the_auc():
    target = np.array([1, 0, 1, 0, 0, 1])
    score = np.array([0.5, 0.5, 0.7, 0.1, 0.9, 0.2])
    components = metrics.placements(target, score)
    auc = roc_auc_score(target, score)
    assert components[target == 1].mean() == pytest.approx(auc)
    assert components[target == 0].mean() == pytest.approx(auc)


def _clustered(generator, patients=400, images=6, mixed=False):
    """Images of a patient share most of their score; melanoma is in 3 of 10 patients, or `mixed` over all images."""
    patient = np.repeat(np.arange(patients), images)
    ill = np.ones(len(patient), bool) if mixed else (generator.random(patients) < 0.3)[patient]
    target = (ill & (generator.random(len(patient)) < (0.3 if mixed else 0.8))).astype(int)
    score = generator.normal(size=patients)[patient] + 0.5 * generator.normal(size=len(patient)) + target
    return target, score, patient


@pytest.mark.parametrize("mixed", [False, True])  # only mixed patients have a covariance of their two classes
def test_clustered_interval_against_a_bootstrap_over_patients(mixed):
    target, score, patient = _clustered(np.random.default_rng(3), mixed=mixed)
    members = np.split(np.arange(len(patient)), 400)
    generator, aucs = np.random.default_rng(4), []
    for _ in range(1000):
        drawn = np.concatenate([members[number] for number in generator.integers(0, 400, 400)])
        aucs.append(metrics.roc_auc(target[drawn], score[drawn]))
    clustered, independent = metrics.auc_interval(target, score, patient), metrics.auc_interval(target, score)
    width = clustered.high - clustered.low
    low, high = np.percentile(aucs, (2.5, 97.5))
    assert width == pytest.approx(high - low, rel=0.08)
    assert width > (1.1 if mixed else 1.5) * (independent.high - independent.low)


def test_patients_may_be_named_in_any_way_and_order():
    target, score, patient = _clustered(np.random.default_rng(5), patients=60)
    order = np.random.default_rng(6).permutation(len(target))
    names = np.array([f"IP_{number * 7919 % 1000}" for number in patient], object)
    expected = metrics.auc_interval(target, score, patient)
    found = metrics.auc_interval(target[order], score[order], names[order])
    assert found.low == pytest.approx(expected.low)
    assert found.clusters == 60


@settings(max_examples=60, deadline=None, derandomize=True)
@given(few_scores, st.integers(1, 4))
def test_limits_enclose_the_value_and_stay_in_bounds(pairs, clusters):
    target, score = np.array(pairs).T
    assume(0 < target.sum() < len(target))
    auc = metrics.auc_interval(target, score, np.arange(len(target)) % clusters)
    assert 0 <= auc.low <= auc.value + 1e-12
    assert auc.value - 1e-12 <= auc.high <= 1


@pytest.mark.parametrize(("positives", "negatives", "pairs"), [(3, 50, 3), (50, 3, 3), (1, 1, 1), (200, 200, 200)])
def test_perfect_order_of_few_images_is_not_certain(positives, negatives, pairs):
    target = np.array([1] * positives + [0] * negatives)
    right, wrong = metrics.auc_interval(target, target * 1.0), metrics.auc_interval(target, -1.0 * target)
    # The limits are those at which m successes of m trials have the probability 0.025.
    assert (right.value, right.high, wrong.value, wrong.low) == (1, 1, 0, 0)
    assert right.low**pairs == pytest.approx(0.025)
    assert (1 - wrong.high) ** pairs == pytest.approx(0.025)


def test_limit_of_a_perfect_order_counts_patients_and_not_images():
    target = np.array([1] * 30 + [0] * 30)
    one_each = np.arange(60) // 10  # 3 patients with melanoma, 3 without
    assert metrics.auc_interval(target, target, one_each).low == pytest.approx(0.025 ** (1 / 3))
    mixed = np.arange(60) % 5  # 5 patients with both: no more than 2 pairs of different patients
    assert metrics.auc_interval(target, target, mixed).low == pytest.approx(0.025 ** (1 / 2))
    alone = metrics.auc_interval(target, target, np.zeros(60))
    assert (alone.low, alone.high) == (0, 1)


def test_limit_of_a_perfect_order_covers():
    # An AUC at the limit itself gives a perfect order of 4 + 9 images in at most 2.5 % of all samples.
    generator, auc = np.random.default_rng(7), 0.025 ** (1 / 4)
    shift = norm.ppf(auc) * 2**0.5
    scores = generator.normal(size=(20000, 13)) + np.array([shift] * 4 + [0] * 9)
    assert np.mean(scores[:, :4].min(axis=1) > scores[:, 4:].max(axis=1)) < 0.025


def test_interval_prints_its_basis():
    text = str(metrics.Interval(0.9, 0.85, 0.95, 33126, 584, 2056))
    assert text == "0.9000 [0.8500, 0.9500] (n=33,126, 584 melanoma, 2,056 patients)"


def test_one_patient_of_a_class_tells_little():
    """How melanoma vary cannot be known from one. An estimate reaches 0.9 at most 0.9 times as often as AUC / 0.9."""
    target, score = np.array([1] + [0] * 1000), np.concatenate([[900], np.arange(1000.0) + 0.5])
    auc = metrics.auc_interval(target, score)
    assert (auc.value, auc.low, auc.high) == (0.9, pytest.approx(0.9 * 0.025), pytest.approx(1 - 0.1 * 0.025))
    several = metrics.auc_interval(np.repeat(target, 3), np.repeat(score, 3), np.repeat(np.arange(1001), 3))
    assert (several.low, several.high) == (auc.low, auc.high)
    alone = metrics.auc_interval([1, 0, 0, 1, 0], [0.9, 0.2, 0.8, 0.7, 0.1], ["p"] * 5)
    assert (alone.low, alone.value, alone.high) == (0.0, 5 / 6, 1.0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(few_scores)
def test_limits_enclose_the_estimate(pairs):
    target, score = np.array(pairs).T
    assume(0 < target.sum() < len(target))
    auc = metrics.auc_interval(target, score, np.arange(len(target)) // 3)
    assert 0 <= auc.low <= auc.value <= auc.high <= 1
