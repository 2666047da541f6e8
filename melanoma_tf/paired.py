"""Is one model better than another on the same images? The paired difference of two AUCs with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from melanoma_tf.metrics import Interval, cluster_variance, placements, require_two_classes, roc_auc


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

    Two scores that order all pairs alike have the interval [0, 0] and a p-value of 1.
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
    half = float(norm.ppf((1 + confidence) / 2)) * deviation
    p_value = 2 * float(norm.sf(abs(difference) / deviation)) if deviation > 1e-12 else float(difference == 0)
    clusters = int(np.max(cluster)) + 1
    limits = (float(difference - half), float(difference + half))
    return Difference(float(difference), *limits, len(target), int(target.sum()), clusters, p_value)
