"""The paired difference of two AUCs, against DeLong by its definition and a bootstrap over patients."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from melanoma_tf import metrics
from melanoma_tf.errors import UserError
from melanoma_tf.paired import auc_difference


def _delong(target, score_a, score_b):
    """Difference and its variance by the covariance matrices of the components, pair by pair."""
    wins = []
    for score in (score_a, score_b):
        positive, negative = score[target == 1], score[target == 0]
        wins.append((positive[:, None] > negative) + 0.5 * (positive[:, None] == negative))
    rows, columns = np.array([w.mean(axis=1) for w in wins]), np.array([w.mean(axis=0) for w in wins])
    covariance = np.cov(rows) / rows.shape[1] + np.cov(columns) / columns.shape[1]
    contrast = np.array([-1, 1])
    return wins[1].mean() - wins[0].mean(), contrast @ covariance @ contrast


def test_single_images_are_delong():
    generator = np.random.default_rng(1)
    target = np.array([1] * 19 + [0] * 80)
    shared = generator.normal(size=99)
    a, b = (np.round(shared + generator.normal(target * shift), 1) for shift in (0.5, 1.5))
    found = auc_difference(target, a, b)
    value, variance = _delong(target, a, b)
    assert found.value == pytest.approx(value, abs=1e-12)
    assert found.high - found.value == pytest.approx(norm.ppf(0.975) * variance**0.5, abs=1e-12)
    assert found.p_value == pytest.approx(2 * norm.sf(abs(value) / variance**0.5))
    assert (found.images, found.positives, found.clusters) == (99, 19, 99)


@pytest.mark.parametrize("mixed", [False, True])  # only patients with both classes have a covariance of them
def test_clusters_against_a_bootstrap_over_patients(mixed):
    generator = np.random.default_rng(3)
    patient = np.repeat(np.arange(300), 5)
    ill = np.ones(1500, bool) if mixed else (generator.random(300) < 0.4)[patient]
    target = (ill & (generator.random(1500) < 0.4)).astype(int)
    a, b = (generator.normal(size=300)[patient] + generator.normal(size=1500) + s * target for s in (1.0, 1.4))
    rows, differences = np.split(np.arange(1500), 300), []
    for _ in range(800):
        drawn = np.concatenate([rows[number] for number in generator.integers(0, 300, 300)])
        differences.append(metrics.roc_auc(target[drawn], b[drawn]) - metrics.roc_auc(target[drawn], a[drawn]))
    clustered, independent = auc_difference(target, a, b, patient), auc_difference(target, a, b)
    low, high = np.percentile(differences, (2.5, 97.5))
    assert clustered.high - clustered.low == pytest.approx(high - low, rel=0.1)
    assert clustered.high - clustered.low > (1.05 if mixed else 1.1) * (independent.high - independent.low)
    assert clustered.clusters == 300


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4), st.integers(0, 4), st.integers(0, 5)), min_size=2))
def test_turned_round_it_is_the_opposite_and_names_do_not_matter(rows):
    target, a, b, patient = np.array(rows).T
    assume(0 < target.sum() < len(target))
    there, back = auc_difference(target, a, b, patient), auc_difference(target, b, a, [f"IP_{p}" for p in patient])
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low), abs=1e-12)
    assert there.value == pytest.approx(metrics.roc_auc(target, b) - metrics.roc_auc(target, a), abs=1e-12)
    assert 0 <= there.p_value <= 1


def test_the_same_order_has_no_difference():
    found = auc_difference([0, 1, 0, 1], [0.1, 0.4, 0.5, 0.9], [1, 4, 5, 9])
    assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    assert str(found) == "+0.0000 [+0.0000, +0.0000] (p=1)"


def test_golden():
    # Of 2 x 2 pairs a has 1 right, b 3.
    assert auc_difference([1, 1, 0, 0], [1, 4, 2, 5], [3, 4, 2, 3.5]).value == 3 / 4 - 1 / 4


def test_one_class_has_no_difference():
    with pytest.raises(UserError, match="no melanoma among 2 images"):
        auc_difference([0, 0], [1, 2], [2, 1])
