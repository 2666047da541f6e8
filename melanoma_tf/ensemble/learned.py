"""Blends that learn from the truth. Add one with a function and a line in `LEARNED`.

Judge them by cross-fitted scores only (`ensemble.choice`): fitted on an image they know its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from melanoma_tf.ensemble.scales import RankScale, logits
from melanoma_tf.ensemble.selection import doubled_ranks, forward_selection

STEPS = (0.5, 0.2, 0.1, 0.05)  # of a weight in coordinate ascent, the sum being near 1
SMALLEST_GAIN = 1e-5  # of AUC; below it ascent follows the noise of single pairs
MOST_CLIMBED = 12  # members whose weights ascent varies; with more, those that forward selection takes
RIDGE = 1.0  # penalty of stacking, in images: sum of squared weights of standardised members


@dataclass(frozen=True)
class Fitted:
    """Attributes: score: float64[K,n] -> float64[n] in [0, 1], for any rows. weights: float64[K] that sum to 1, or None
    where the members have no single weight."""

    score: Callable[[np.ndarray], np.ndarray]
    weights: np.ndarray | None = None


Learner = Callable[[np.ndarray, np.ndarray], Fitted]


def selection(scores: np.ndarray, target: np.ndarray) -> Fitted:
    """Mean rank of the members that forward selection takes, as often as it does. float64[K,N], int[N]."""
    weights = forward_selection(doubled_ranks(scores), target).weights(len(scores))
    scale = RankScale(scores)
    return Fitted(lambda rows: weights @ scale(rows), weights)


def ascent(scores: np.ndarray, target: np.ndarray) -> Fitted:
    """Weighted sum of standardised logits, weights by coordinate ascent on the AUC. float64[K,N], int[N].

    From equal weights, one weight at a time goes up or down while the AUC rises by `SMALLEST_GAIN`, in ever smaller
    `STEPS`. A sigmoid brings the sum into (0, 1): an order, no probability.
    """
    taken = _most_useful(scores, target)
    centre, deviation = _location(logits(scores))
    standardised = (logits(scores)[taken] - centre[taken]) / deviation[taken]
    weights = np.zeros(len(scores))
    weights[taken] = _climb(standardised, np.asarray(target).astype(bool))
    return Fitted(lambda rows: expit(weights @ ((logits(rows) - centre) / deviation)), weights)


def _most_useful(scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    if len(scores) <= MOST_CLIMBED:
        return np.arange(len(scores))
    weights = forward_selection(doubled_ranks(scores), target).weights(len(scores))
    return np.sort(np.argsort(-weights, kind="stable")[: min(MOST_CLIMBED, np.count_nonzero(weights))])


def _location(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    deviation = values.std(1, keepdims=True)
    return values.mean(1, keepdims=True), np.where(deviation > 0, deviation, 1.0)


def _climb(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    positive, negative = values[:, target], values[:, ~target]
    weights = np.full(len(values), 1 / len(values))
    best = _auc(weights @ positive, weights @ negative)
    for step in STEPS:
        improved = True
        while improved:
            improved = False
            for member in range(len(values)):
                for change in (step, -step):
                    tried = weights.copy()
                    tried[member] = max(tried[member] + change, 0.0)
                    if not tried.any():
                        continue
                    auc = _auc(tried @ positive, tried @ negative)
                    if auc > best + SMALLEST_GAIN:
                        weights, best, improved = tried / tried.sum(), auc, True
    return weights


def _auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """`metrics.roc_auc` without ranking the negatives among themselves: five times as fast."""
    negative = np.sort(negative)
    below = np.searchsorted(negative, positive, "left").sum() + np.searchsorted(negative, positive, "right").sum()
    return float(below) / (2 * len(positive) * len(negative))


def stacking(scores: np.ndarray, target: np.ndarray) -> Fitted:
    """Logistic regression on logits with weights of 0 or more: a probability. float64[K,N], int[N].

    Source: D. Wolpert, Stacked generalization, Neural Networks 5 (1992) 241-259; that weights should not be negative:
    L. Breiman, Stacked regressions, Machine Learning 24 (1996) 49-64.
    """
    return _stacked(logits, scores, target)


def rank_stacking(scores: np.ndarray, target: np.ndarray) -> Fitted:
    """`stacking` on the logits of ranks among the fitted rows, for members on scales that no line joins."""
    scale = RankScale(scores)
    return _stacked(lambda rows: logits(scale(rows)), scores, target)


def _stacked(transform: Callable[[np.ndarray], np.ndarray], scores: np.ndarray, target: np.ndarray) -> Fitted:
    values = transform(scores)
    centre, deviation = _location(values)
    intercept, slopes = _logistic((values - centre) / deviation, np.asarray(target, np.float64))
    total = slopes.sum()
    return Fitted(
        lambda rows: expit(intercept + slopes @ ((transform(rows) - centre) / deviation)),
        slopes / total if total > 0 else None,
    )


def _logistic(values: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """Intercept and slopes of 0 or more that minimise log loss and `RIDGE`. values float64[K,N], target float64[N]."""

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        line = parameters[0] + parameters[1:] @ values
        error = expit(line) - target
        value = np.logaddexp(0, line).sum() - target @ line + RIDGE / 2 * parameters[1:] @ parameters[1:]
        slope = np.concatenate([[error.sum()], values @ error + RIDGE * parameters[1:]])
        return float(value) / len(target), slope / len(target)

    rate = target.mean()
    start = np.concatenate([[np.log(rate / (1 - rate))], np.full(len(values), 1 / len(values))])
    bounds = [(None, None), *[(0, None)] * len(values)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12, "gtol": 1e-7})
    return float(found.x[0]), found.x[1:]


def boosting(scores: np.ndarray, target: np.ndarray) -> Fitted:
    """Gradient boosted trees that rise with every member: a probability. float64[K,N], int[N].

    On ranks among the fitted rows and the mean logit. Rising only (monotone): what a member calls more suspicious must
    not count as less, and 584 melanoma cannot teach more.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    scale = RankScale(scores)
    features = lambda rows: np.vstack([scale(rows), logits(rows).mean(0)]).T  # noqa: E731
    model = HistGradientBoostingClassifier(
        learning_rate=0.06, max_iter=100, max_leaf_nodes=6, min_samples_leaf=min(100, max(len(target) // 50, 5)),
        l2_regularization=10.0, early_stopping=False, random_state=0, monotonic_cst=[1] * (len(scores) + 1),
    )  # fmt: skip
    model.fit(features(scores), np.asarray(target, int))
    return Fitted(lambda rows: model.predict_proba(features(rows))[:, 1])


LEARNED: dict[str, Learner] = {
    "selection": selection, "ascent": ascent, "stacking": stacking, "rank_stacking": rank_stacking,
    "boosting": boosting,
}  # fmt: skip
