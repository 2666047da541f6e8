"""The scales that learned blends add scores on: ranks among the rows of the fit, and logits."""

from __future__ import annotations

import numpy as np
from scipy.special import logit

LARGEST_LOGIT = 14.0  # a float32 sigmoid near 1 knows no larger one, and one image at -27 would lead a linear fit


class RankScale:
    """The share of the fitted rows below a score, ties counted half, in (0, 1).

    Fitted on rows, and applied to any: a held-out row or a test image does not change the rank of another one, and no
    rank is taken within a fold. On the fitted rows it is `ensemble.rank` of one member.
    """

    def __init__(self, scores: np.ndarray):
        """scores: float64[K,N] of the rows to be ranked among."""
        self.sorted = np.sort(scores, axis=1)

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """float64[K,n] -> float64[K,n]."""
        count = self.sorted.shape[1]
        both = [
            np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")
            for known, values in zip(self.sorted, scores)
        ]
        return np.clip(np.array(both) / (2 * count), 0.5 / count, 1 - 0.5 / count)


def logits(scores: np.ndarray) -> np.ndarray:
    """Log odds of float64[...] in [0, 1], within +-`LARGEST_LOGIT`."""
    with np.errstate(divide="ignore"):
        return np.clip(logit(scores), -LARGEST_LOGIT, LARGEST_LOGIT)
