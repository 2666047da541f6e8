"""Groups over bins: whole, even, and the same everywhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melanoma_tf.balance import balanced_bins


def sums(counts, assigned, bins):
    return np.stack([counts[assigned == number].sum(0) for number in range(bins)])


def patients(count, seed=0):
    """Images, melanoma and 1 of each patient, spread as in the 2020 training set: 2-115 images, few with melanoma."""
    random = np.random.default_rng(seed)
    images = 2 + random.negative_binomial(1, 0.06, count)
    melanoma = np.minimum(images, random.choice([0, 0, 0, 0, 1, 1, 2, 5], count))
    return np.stack([images, melanoma, np.ones(count, int)], axis=1)


@pytest.mark.parametrize("bins", [5, 15])
def test_every_count_is_even(bins):
    counts = patients(400)
    spread = np.ptp(sums(counts, balanced_bins(counts, bins), bins), axis=0)
    assert spread[0] <= 2 and spread[1] <= 1 and spread[2] <= 1


def test_what_can_be_even_is():
    counts = np.array([[3, 1], [1, 0], [1, 0], [1, 0], [3, 1], [3, 1]])
    assert sums(counts, balanced_bins(counts, 3), 3).tolist() == [[4, 1]] * 3


def test_a_giant_stays_whole_and_alone():
    counts = np.array([[100, 0], *[[1, 0]] * 8])
    assigned = balanced_bins(counts, 3)
    assert sorted(sums(counts, assigned, 3)[:, 0].tolist()) == [4, 4, 100]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3)), min_size=1, max_size=40), st.integers(1, 7))
def test_any_counts_give_valid_bins_no_worse_than_dealt(rows, bins):
    counts = np.array(rows)
    assigned = balanced_bins(counts, bins)
    assert assigned.shape == (len(rows),) and set(assigned) <= set(range(bins))
    np.testing.assert_array_equal(assigned, balanced_bins(counts, bins))
    order = np.argsort(-counts[:, 0], kind="stable")
    dealt = np.empty(len(rows), int)
    dealt[order] = np.arange(len(rows)) % bins
    weight = 1 / np.maximum(counts.sum(0), 1) ** 2

    def cost(found):
        return (sums(counts, found, bins).var(0) * weight).sum()

    assert cost(assigned) <= cost(dealt) + 1e-9 or cost(assigned) < 0.05
