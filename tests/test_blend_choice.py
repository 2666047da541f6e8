"""Learned blends and the choice among them: what is reported was neither fitted nor chosen on the images it judges."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from melanoma_tf import metrics
from melanoma_tf.cross_fit import patient_folds
from melanoma_tf.ensemble import BLENDS, LEARNED, choice, learned, scales
from melanoma_tf.ensemble.formulas import rank


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):  # as `blend_members` has it
        yield


def _world(seed=0, rows=1500, signal=(1.5, 1.0, 0.0), noise=(1.0, 1.0, 1.0)):
    generator = np.random.default_rng(seed)
    patient = np.arange(rows) % (rows // 5)
    target = (generator.random(rows) < 0.08).astype(int)
    values = np.outer(signal, target) + np.array(noise)[:, None] * generator.normal(size=(len(signal), rows))
    return expit(values - 3), target, patient, patient_folds(target, patient)


@pytest.mark.parametrize("method", LEARNED)
def test_every_learned_blend_is_bounded_finds_the_good_members_and_repeats(method):
    scores, target, _, _ = _world()
    fitted = LEARNED[method](scores, target)
    blended = fitted.score(scores)
    assert blended.shape == target.shape
    assert ((blended >= 0) & (blended <= 1)).all()
    assert metrics.roc_auc(target, blended) > max(metrics.roc_auc(target, score) for score in scores)
    new, truth, _, _ = _world(seed=1)
    assert metrics.roc_auc(truth, fitted.score(new)) > metrics.roc_auc(truth, BLENDS["mean"](new, np.ones(3)))
    np.testing.assert_array_equal(LEARNED[method](scores, target).score(new), fitted.score(new))
    if fitted.weights is not None:
        assert fitted.weights.sum() == pytest.approx(1)
        assert (fitted.weights >= 0).all()
        assert fitted.weights.argmin() == 2


@pytest.mark.parametrize("method", LEARNED)
def test_a_row_is_judged_alone(method):
    scores, target, _, _ = _world(rows=600)
    fitted = LEARNED[method](scores, target)
    few = scores[:, [5, 3]]
    np.testing.assert_allclose(fitted.score(few), fitted.score(scores)[[5, 3]], rtol=1e-12)


@pytest.mark.parametrize("method", LEARNED)
def test_zero_and_one_and_a_constant_member_are_taken(method):
    scores, target, _, _ = _world(rows=600)
    scores = np.vstack([np.where(scores[:1] > 0.1, 1.0, 0.0), scores, np.full((1, 600), 0.25)])
    assert np.isfinite(LEARNED[method](scores, target).score(scores)).all()


def test_stacking_is_the_logistic_regression_of_scikit_learn_where_no_weight_is_negative():
    scores, target, _, _ = _world(signal=(1.5, 1.0, 0.5))
    values = scales.logits(scores)
    values = (values - values.mean(1, keepdims=True)) / values.std(1, keepdims=True)
    reference = LogisticRegression(C=1 / learned.RIDGE, tol=1e-10, max_iter=1000).fit(values.T, target)
    assert (reference.coef_ > 0).all()
    expected = reference.predict_proba(values.T)[:, 1]
    np.testing.assert_allclose(learned.stacking(scores, target).score(scores), expected, atol=1e-5)


def test_stacking_gives_no_negative_weight_and_keeps_the_rate():
    scores, target, _, _ = _world()
    scores[2] = 1 - scores[0]
    fitted = learned.stacking(scores, target)
    assert fitted.weights[2] == 0
    assert fitted.score(scores).mean() == pytest.approx(target.mean(), rel=1e-3)


def test_ranks_among_fitted_rows_are_those_of_the_formula():
    scores, _, _, _ = _world(rows=600)
    scores[0] = np.round(scores[0], 2)  # ties
    scale = scales.RankScale(scores)
    np.testing.assert_allclose(scale(scores).mean(0), rank(scores, np.ones(3)), rtol=1e-12)
    known = scales.RankScale(np.array([[0.1, 0.2, 0.2, 0.4]]))
    assert known(np.array([[0.0, 0.15, 0.2, 0.9]])).tolist() == [[0.5 / 4, 1 / 4, 2 / 4, 3.5 / 4]]


def test_cross_fitted_scores_do_not_know_the_truth_they_are_judged_by():
    """Members of pure noise: what is fitted on itself looks better than chance, what is cross-fitted does not."""
    generator = np.random.default_rng(0)
    nested, apparent = [], []
    for _ in range(3):
        target = (generator.random(400) < 0.2).astype(int)
        fold = patient_folds(target, np.arange(400) // 2)
        found = choice.choose(generator.random((12, 400)), target, fold, ("selection", "rank_stacking"))
        nested.append(metrics.roc_auc(target, found.scores))
        apparent.append(metrics.roc_auc(target, found.apparent))
    assert np.mean(apparent) > 0.57
    assert np.mean(nested) < 0.53


def test_a_fold_is_scored_without_its_truth():
    """Turning the truth of one fold over changes nothing of what is said of that fold."""
    scores, target, _, fold = _world(rows=600)
    turned = np.where(fold == 2, 1 - target, target)
    for method in ("selection", "stacking"):
        before, after = (choice.learn(method, scores, truth, fold).scores for truth in (target, turned))
        np.testing.assert_array_equal(before[fold == 2], after[fold == 2])
        assert (before != after).any()
        one, two = (choice._without_two(method, scores, truth, fold) for truth in (target, turned))
        np.testing.assert_array_equal(one[2][fold != 2], two[2][fold != 2])
        assert np.isnan(one[2][fold == 2]).all()


@pytest.mark.parametrize(
    ("signal", "noise", "taken"),
    [((1.2, 1.2, 1.2), (1, 1, 1), set(BLENDS)), ((1.5, 0.0, 0.0), (1, 5, 5), {"selection", "ascent", *LEARNED})],
)
def test_auto_takes_what_suits_the_members(signal, noise, taken):
    scores, target, _, fold = _world(signal=signal, noise=noise)
    found = choice.choose(scores, target, fold, ("mean", "rank", "logit", "selection", "ascent", "stacking"))
    assert found.method in taken
    assert found.aucs[found.method] == max(found.aucs.values())
    assert sum(found.chosen.values()) == 5


def test_one_method_is_as_good_as_it_is_without_a_choice():
    scores, target, _, fold = _world(rows=600)
    chosen, alone = choice.choose(scores, target, fold, ("stacking",)), choice.learn("stacking", scores, target, fold)
    np.testing.assert_array_equal(chosen.scores, alone.scores)
    np.testing.assert_array_equal(chosen.apparent, alone.apparent)
    formula = choice.learn("mean", scores, target, fold)
    np.testing.assert_allclose(formula.scores, scores.mean(0))
    np.testing.assert_array_equal(formula.scores, formula.apparent)


def test_what_another_method_was_chosen_for_comes_on_the_scale_of_the_best():
    among, scale = np.array([0.0, 10.0, 20.0, 30.0, 40.0]), np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    mapped = choice._on_scale(np.array([20.0, -5.0, 99.0]), among, scale)
    assert mapped.tolist() == pytest.approx([0.3, 0.1 + 0.04, 0.5 - 0.04])


def test_ascent_of_many_members_climbs_only_what_selection_takes():
    generator = np.random.default_rng(0)
    target = (generator.random(600) < 0.15).astype(int)
    scores = expit(np.where(np.arange(20) < 3, 1.5, 0.0)[:, None] * target + generator.normal(size=(20, 600)))
    weights = learned.ascent(scores, target).weights
    assert np.count_nonzero(weights) <= learned.MOST_CLIMBED
    assert weights[:3].sum() > 0.5
