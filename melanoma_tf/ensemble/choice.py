"""Which blend, and how good it is on patients that it was neither fitted nor chosen on.

All is cross-fitted by patient. With F folds, a blend is fitted without every one of them and without every two: what
was fitted without f and g says, on g, how a blend does that never saw f. So blends are chosen for f without f, and f is
scored by the chosen one fitted without f: the choice is cross-fitted too (nested).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from melanoma_tf import metrics
from melanoma_tf.cross_fit import cross_fitted
from melanoma_tf.ensemble.formulas import BLENDS
from melanoma_tf.ensemble.learned import LEARNED, Fitted
from melanoma_tf.ensemble.scales import RankScale

METHODS = (*BLENDS, *LEARNED)  # of two with the same AUC the first is taken: formulas before what was learned


@dataclass(frozen=True)
class Choice:
    """A blend, and what it is worth.

    Attributes:
      method: a name in `METHODS`.
      scores: float64[N] in [0, 1], cross-fitted; where a choice was made, scored by what was chosen without the fold.
      apparent: float64[N], of the blend fitted on the same rows: never to be reported alone.
      fitted: the blend fitted on all rows, for other images.
      aucs: cross-fitted AUC by method that was tried. chosen: in how many folds a method was chosen.
    """

    method: str
    scores: np.ndarray
    apparent: np.ndarray
    fitted: Fitted
    aucs: dict[str, float]
    chosen: dict[str, int]


def fit(method: str, scores: np.ndarray, target: np.ndarray) -> Fitted:
    """The blend `method` fitted on all rows; a formula weighs all members alike. scores float64[K,N], target int[N]."""
    if method in LEARNED:
        return LEARNED[method](scores, target)
    weights = np.full(len(scores), 1 / len(scores))
    return Fitted(lambda rows: BLENDS[method](rows, weights), weights)


def learn(method: str, scores: np.ndarray, target: np.ndarray, fold: np.ndarray) -> Choice:
    """One blend without a choice, cross-fitted. scores float64[K,N], target int[N], fold int[N]."""
    fitted = fit(method, scores, target)
    apparent = fitted.score(scores)
    found = _without_one(method, scores, target, fold) if method in LEARNED else apparent
    return Choice(method, found, apparent, fitted, {method: metrics.roc_auc(target, found)}, {})


def choose(
    scores: np.ndarray,
    target: np.ndarray,
    fold: np.ndarray,
    methods: Iterable[str] = METHODS,
    progress: Callable[[str], None] = lambda method: None,
) -> Choice:
    """The blend with the best cross-fitted AUC among `methods`, judged by nested cross-fitting.

    Args: scores: float64[K,N] in [0, 1]. target: int[N] of 0 and 1. fold: int[N], patients in one fold each, at least
      three folds, both classes in each. methods: names in `METHODS`. progress: called with each before it is tried.
    """
    fold = np.unique(fold, return_inverse=True)[1]
    one, two = {}, {}
    for method in methods:
        progress(method)
        one[method] = _without_one(method, scores, target, fold)
        two[method] = _without_two(method, scores, target, fold)
    aucs = {method: metrics.roc_auc(target, found) for method, found in one.items()}
    best = max(aucs, key=lambda method: aucs[method])
    chosen = [_best_without(number, two, target, fold) for number in range(fold.max() + 1)]
    nested = np.empty(len(fold))
    for number, method in enumerate(chosen):
        held_out, rest = fold == number, fold != number
        values = one[method][held_out]
        # what another method was chosen for goes on the scale of `best` by its rank among the rows of the choice
        nested[held_out] = (
            values if method == best else _on_scale(values, *(two[name][number, rest] for name in (method, best)))
        )
    fitted = fit(best, scores, target)
    return Choice(best, nested, fitted.score(scores), fitted, aucs, dict(Counter(chosen).most_common()))


def _without_one(method: str, scores: np.ndarray, target: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """float64[N]: each fold scored by the blend fitted without it. A formula has nothing to fit: all rows at once."""
    if method not in LEARNED:
        return fit(method, scores, target).score(scores)

    def judge(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        fitted = fit(method, scores[:, rows], target[rows])
        return lambda held_out: fitted.score(scores[:, held_out])

    return cross_fitted(judge, fold)


def _without_two(method: str, scores: np.ndarray, target: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """float64[F,N]: at [f, rows of g] the score by the blend fitted without f and g; NaN at the rows of f."""
    count = int(fold.max()) + 1
    if method not in LEARNED:
        return np.tile(fit(method, scores, target).score(scores), (count, 1))
    found = np.full((count, len(fold)), np.nan)
    for first, second in itertools.combinations(range(count), 2):
        rows = (fold != first) & (fold != second)
        fitted = fit(method, scores[:, rows], target[rows])
        for left_out, scored in ((first, fold == second), (second, fold == first)):
            found[left_out, scored] = fitted.score(scores[:, scored])
    return found


def _best_without(number: int, two: dict[str, np.ndarray], target: np.ndarray, fold: np.ndarray) -> str:
    rows = fold != number
    aucs = {method: metrics.roc_auc(target[rows], found[number, rows]) for method, found in two.items()}
    return max(aucs, key=lambda method: aucs[method])


def _on_scale(values: np.ndarray, among: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.quantile(scale, RankScale(among[None])(values[None])[0])
