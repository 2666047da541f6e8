"""Forward selection: the members that a loop over exact AUCs takes, whatever the ties and the sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from melanoma_tf.ensemble import selection
from melanoma_tf.ensemble.selection import doubled_ranks, forward_selection


def _pairs(target, score):
    """The AUC by its definition."""
    positive, negative = score[target == 1][:, None], score[target == 0]
    return float(((positive > negative) + 0.5 * (positive == negative)).mean())


def _loop(ranks, target, rounds, auc=_pairs):
    total, picks, aucs = 0, [], []
    for _ in range(rounds):
        found = [auc(target, total + rank) for rank in ranks.astype(int)]
        picks.append(int(np.argmax(np.round(found, 12))))  # equal AUCs may differ in the last digit
        aucs.append(found[picks[-1]])
        total = total + ranks[picks[-1]].astype(int)
    return picks, aucs


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(4, 60), st.sampled_from([2, 5, 10**6]))
def test_picks_what_the_loop_picks(seed, members, rows, levels):
    generator = np.random.default_rng(seed)
    target = np.zeros(rows, int)
    target[: 1 + seed % (rows - 1)] = 1
    scores = generator.integers(0, levels, (members, rows)) + generator.integers(0, levels, (members, 1)) * target
    picks, aucs = _loop(doubled_ranks(scores), target, 6)
    found = forward_selection(doubled_ranks(scores), target, 6)
    np.testing.assert_allclose(found.aucs, aucs, rtol=0, atol=1e-12)
    assert found.picks == picks[: int(np.argmax(np.round(aucs, 12))) + 1]


def test_picks_what_the_loop_picks_on_many_rows_where_bounds_leave_few_in_doubt():
    generator = np.random.default_rng(0)
    target = (generator.random(6000) < 0.02).astype(int)
    scores = 1.5 * target + generator.normal(size=6000) + generator.normal(size=(12, 6000))
    sorted_members = []
    count = selection._PairCounter._exact

    def counted(self, member):
        sorted_members.append(member)
        return count(self, member)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection._PairCounter, "_exact", counted)
        found = forward_selection(doubled_ranks(scores), target, 5)
    picks, aucs = _loop(doubled_ranks(scores), target, 5, roc_auc_score)
    assert found.picks == picks[: int(np.argmax(aucs)) + 1]
    assert len(sorted_members) < 5 * 12 / 2


def test_equal_members_and_rounds_take_the_first():
    scores = np.array([[0.1, 0.2, 0.3, 0.4]] * 3)
    found = forward_selection(doubled_ranks(scores), np.array([0, 1, 0, 1]), 4)
    assert found.picks == [0]
    assert found.aucs == [3 / 4] * 4
    assert found.weights(3).tolist() == [1, 0, 0]


def test_weights_are_shares_of_the_picks():
    assert selection.Selection([2, 0, 2, 2], []).weights(4).tolist() == [1 / 4, 0, 3 / 4, 0]


def test_two_members_that_err_on_different_images_are_better_together():
    target = np.array([1, 1, 0, 0, 0, 0])
    scores = np.array([[0.9, 0.1, 0.2, 0.3, 0.0, 0.05], [0.1, 0.9, 0.0, 0.05, 0.2, 0.3]])
    assert [_pairs(target, score) for score in scores] == [6 / 8, 6 / 8]
    found = forward_selection(doubled_ranks(scores), target, 4)
    assert (sorted(found.picks), found.aucs[1]) == ([0, 1], 1.0)


def test_ranks_are_doubled_so_that_ties_stay_whole():
    assert doubled_ranks(np.array([[0.5, 0.1, 0.5, 0.9]])).tolist() == [[5, 2, 5, 8]]


def test_sums_that_would_overflow_are_refused():
    with pytest.raises(ValueError, match="overflow"):
        forward_selection(np.array([[2**30, 1]]), np.array([1, 0]), 2)


def test_so_many_pairs_that_the_table_would_overflow_are_all_sorted(monkeypatch):
    generator = np.random.default_rng(3)
    target = (np.arange(80) % 4 == 0).astype(int)
    ranks = doubled_ranks(target + generator.normal(size=(5, 80)))
    expected = forward_selection(ranks, target, 6)
    monkeypatch.setattr(selection, "SAME_BIN", 1)
    assert forward_selection(ranks, target, 6) == expected
