"""Blends without anything to learn: formulas of scores and weights. Add one with a function and a line in `BLENDS`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import expit, logit
from scipy.stats import rankdata

Blend = Callable[[np.ndarray, np.ndarray], np.ndarray]
SMALLEST = 1e-12  # keeps logarithms finite; far below what a float32 sigmoid can tell from 0 or 1
POWER = 4.0


def mean(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted arithmetic mean. scores float64[K,N] in [0, 1], weights float64[K] -> float64[N]."""
    return np.average(scores, axis=0, weights=weights)


def geometric(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted geometric mean: one member's confident "no" counts. float64[K,N], float64[K] -> float64[N]."""
    return np.exp(mean(np.log(np.maximum(scores, SMALLEST)), weights))


def rank(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean of ranks in (0, 1), for members on different scales. float64[K,N], float64[K] -> float64[N].

    Ranks go over the whole set: ranks inside a fold would set every fold's rate of melanoma equal. The result is an
    order, no probability.
    """
    return mean((rankdata(scores, axis=1) - 0.5) / scores.shape[1], weights)


def log_odds(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sigmoid of the weighted mean of logits. float64[K,N], float64[K] -> float64[N]."""
    return expit(mean(logit(np.clip(scores, SMALLEST, 1 - SMALLEST)), weights))


def power(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted power mean with exponent 4: the most alarmed member leads. float64[K,N], float64[K] -> float64[N]."""
    return mean(scores**POWER, weights) ** (1 / POWER)


BLENDS: dict[str, Blend] = {"mean": mean, "geometric": geometric, "rank": rank, "logit": log_odds, "power": power}
