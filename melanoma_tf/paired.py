"""Is one model better than another on the same images? The paired difference of two AUCs with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from melanoma_tf.metrics import (
    Interval,
    cluster_variance,
    independent_pairs,
    placements,
    require_two_classes,
    roc_auc,
)


@dataclass(frozen=True)
class Difference(Interval):
    """AUC of b minus AUC of a, with confidence limits; `p_value` is two-sided, of no difference."""

    p_value: float

    def __str__(self) -> str:
        return f"{self.value:+.4f} [{self.low:+.4f}, {self.high:+.4f}] (p={self.p_value:.2g})"


def auc_difference(
    target: np.ndarray,
    score_a: np.ndarray,
    score_b: np.ndarray,
    patients: np.ndarray | None = None,
    confidence: float = 0.95,
) -> Difference:
    """AUC of `score_b` minus AUC of `score_a` on the same images, a patient's images being one cluster.

    Args:
      target: int[N] of 0 and 1. score_a, score_b: float[N], on any scale each. patients: [N] cluster labels; None
        means independent images. confidence: coverage of the interval, symmetric on the scale of the difference.

    Two scores that order all pairs alike have the interval [0, 0] and a p-value of 1. Where all melanoma, or all benign
    images, are of one patient, how the difference varies cannot be known: the interval is [-1, 1]. Where every image's
    part of the difference is the same, as between a perfect and a constant score, see `_limits_of_equal_parts`.
    Source: N. A. Obuchowski, Nonparametric analysis of clustered ROC curve data, Biometrics 53 (1997) 567-578: the
    structural components of the difference are the differences of the components. With clusters of one image it is the
    paired test of DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988) 837-845.
    Raises: UserError for one class only.
    """
    target = np.asarray(target).astype(bool)
    require_two_classes(target, "the difference of two AUCs")
    labels = np.arange(len(target)) if patients is None else np.asarray(patients, str)
    _, cluster = np.unique(labels, return_inverse=True)
    difference = roc_auc(target, score_b) - roc_auc(target, score_a)
    components = placements(target, score_b) - placements(target, score_a)
    deviation = cluster_variance(target, components, difference, cluster) ** 0.5
    pairs, level = independent_pairs(target, cluster), (1 - confidence) / 2
    if not components.any():
        low, high, p_value = 0.0, 0.0, 1.0
    elif pairs < 2:
        low, high, p_value = -1.0, 1.0, 1.0
    elif deviation > 1e-12:
        half = -float(norm.ppf(level)) * deviation
        low, high, p_value = difference - half, difference + half, 2 * float(norm.sf(abs(difference) / deviation))
    else:
        low, high, p_value = _limits_of_equal_parts(difference, pairs, level)
    clusters = int(np.max(cluster)) + 1
    return Difference(float(difference), float(low), float(high), len(target), int(target.sum()), clusters, p_value)


def _limits_of_equal_parts(difference: float, pairs: int, level: float) -> tuple[float, float, float]:
    """Limits and p-value where m independent pairs, and all others, add the same to the difference.

    That all do is at most as likely as q^m, q the probability of it for one pair: so q is at least level^(1/m) with
    confidence, and the other pairs may add anything from -1 to 1. The p-value is that of the sign test.
    """
    q = level ** (1 / pairs)
    return q * (1 + difference) - 1, 1 - q * (1 - difference), min(1.0, 2.0 ** (1 - pairs))
