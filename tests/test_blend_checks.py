"""Doubtful members, planted: other behaviour on test images, a fold that was seen, other folds."""

import numpy as np
import pytest
from scipy.special import expit

from melanoma_tf.ensemble import checks
from melanoma_tf.errors import UserError
from melanoma_tf.metrics import Interval


def _scores(rows, seed=0, members=4, noise=0.5):
    generator = np.random.default_rng(seed)
    shared = generator.normal(size=rows)
    return expit(shared + noise * generator.normal(size=(members, rows)) - 3)


def test_no_member_drifts_where_all_correlate_more_on_test_images():
    assert checks.drifting(_scores(2000), _scores(800, seed=1, noise=0.2)) == []


def test_the_member_whose_test_rows_are_in_another_order_drifts():
    test = _scores(800, seed=1)
    test[2] = np.random.default_rng(0).permutation(test[2])
    found = checks.drifting(_scores(2000), test)
    assert [member for member, _ in found] == [2]
    assert found[0][1] > 0.5


@pytest.mark.parametrize("members, rows", [(2, 800), (4, 50)])
def test_two_members_or_few_rows_tell_nothing(members, rows):
    test = _scores(rows, seed=1, members=members)
    test[1] = test[1][::-1]
    assert checks.drifting(_scores(2000, members=members), test) == []


def test_correlations_are_those_of_ranks():
    scores = np.array([[1.0, 2, 3, 4], [1, 10, 100, 1000], [4, 3, 2, 1]])
    np.testing.assert_allclose(checks.correlations(scores), [[1, 1, -1], [1, 1, -1], [-1, -1, 1]])


def test_the_member_that_tells_test_images_from_training_images():
    oof, test = _scores(2000), _scores(800, seed=1)
    assert checks.telling_apart(oof, test) == []
    harder = expit(np.log(test / (1 - test)) + 1)
    assert checks.telling_apart(oof, harder) == [], "images that are harder for all"
    test[1] = harder[1]
    assert [member for member, _ in checks.telling_apart(oof, test)] == [1]


def _judged(seed=0, rows=3000):
    generator = np.random.default_rng(seed)
    target = (generator.random(rows) < 0.05).astype(int)
    patients, fold = np.arange(rows) // 3, np.arange(rows) // 3 % 5
    scores = np.stack([expit(target + generator.normal(size=rows)) for _ in range(3)])
    return scores, target, fold, patients


def test_a_fold_that_one_member_saw_is_named():
    scores, target, fold, patients = _judged()
    assert checks.seen_folds(scores, target, [fold] * 3, patients) == [""] * 3
    scores[1, fold == 3] = expit(5 * target[fold == 3] + np.random.default_rng(1).normal(size=(fold == 3).sum()))
    found = checks.seen_folds(scores, target, [fold, fold, None], patients)
    assert (found[0], found[2]) == ("", "")
    assert found[1].startswith("fold 3 (AUC 1.0000, 0.22")


def test_a_fold_that_is_easy_for_all_was_not_seen():
    scores, target, fold, patients = _judged()
    easy = fold == 3
    for member in range(3):
        scores[member, easy] = expit(5 * target[easy] + np.random.default_rng(member).normal(size=easy.sum()))
    assert checks.seen_folds(scores, target, [fold] * 3, patients) == [""] * 3


def test_a_single_member_and_folds_without_melanoma():
    scores, target, fold, patients = _judged()
    assert checks.seen_folds(scores[:1], target, [fold], patients) == [""]
    assert checks.seen_folds(scores[:1], np.where(fold == 0, target, 0), [fold], patients) == [""]


def test_folds_are_the_same_whatever_their_numbers():
    first = np.array([0, 0, 1, 1, 2, 2])
    assert checks.refuse_other_folds([first, None, 7 - first], "abc", False) == ""
    other = np.array([0, 1, 1, 1, 2, 2])
    with pytest.raises(UserError, match=r"c \(3 folds\) was trained on other folds than a \(3 folds\).*--any_folds"):
        checks.refuse_other_folds([first, None, other], "abc", False)
    assert "other folds" in checks.refuse_other_folds([first, None, other], "abc", True)
    with pytest.raises(UserError, match="1 folds"):
        checks.refuse_other_folds([first, np.zeros(6)], "ab", False)


def test_a_member_that_is_too_good_among_the_others():
    interval = lambda value: Interval(value, value - 0.01, value + 0.005, 1000, 50, 500)  # noqa: E731
    assert checks.far_better([interval(0.90), interval(0.99), interval(0.91)]) == [1]
    assert checks.far_better([interval(0.90), interval(0.96)]) == []
    assert checks.far_better([interval(0.985), interval(0.99)]) == []
    assert checks.far_better([interval(0.99)]) == []
