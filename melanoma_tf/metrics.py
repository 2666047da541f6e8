"""Exact metrics with intervals. Keras' AUC at 200 thresholds is off by up to 0.10 at 1.8 % positives; not used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from melanoma_tf.errors import UserError


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence limits.

    Attributes: value, low, high; images and positives it rests on; clusters, the number of independent patients.
    """

    value: float
    low: float
    high: float
    images: int
    positives: int
    clusters: int

    def __str__(self) -> str:
        return (f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}] "
                f"(n={self.images:,}, {self.positives:,} melanoma, {self.clusters:,} patients)")  # fmt: skip


def require_two_classes(target: np.ndarray, what: str) -> None:
    """Raises UserError where an AUC is not defined."""
    positives = int(np.sum(target))
    if positives in (0, len(target)):
        which = "no melanoma" if positives == 0 else "nothing but melanoma"
        raise UserError(f"{what}: {which} among {len(target)} images; an AUC needs both classes")


def roc_auc(target: np.ndarray, score: np.ndarray) -> float:
    """Exact ROC AUC: the share of (positive, negative) pairs in the right order, ties counted half.

    Args: target int[N] of 0 and 1; score float[N]. Equals `sklearn.metrics.roc_auc_score` and is faster.
    """
    target = np.asarray(target).astype(bool)
    require_two_classes(target, "ROC AUC")
    positives = int(target.sum())
    rank_sum = rankdata(score)[target].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * (len(target) - positives)))


def placements(target: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Structural components, float64[N]: for a positive the share of negatives below it, for a negative the share of
    positives above it, ties counted half (DeLong, DeLong & Clarke-Pearson 1988)."""
    target = np.asarray(target).astype(bool)
    score = np.asarray(score, np.float64)
    within = np.empty(len(score))
    within[target], within[~target] = rankdata(score[target]), rankdata(score[~target])
    against_others = rankdata(score) - within  # number of the other class below, ties half
    positives, negatives = target.sum(), (~target).sum()
    return np.where(target, against_others / negatives, 1 - against_others / positives)


def auc_interval(
    target: np.ndarray, score: np.ndarray, patients: np.ndarray | None = None, confidence: float = 0.95
) -> Interval:
    """ROC AUC with an interval that treats a patient's images as one cluster.

    Args:
      target: int[N] of 0 and 1. score: float[N]. patients: [N] cluster labels; None means independent images.
      confidence: coverage of the interval, which is formed on the logit scale and so stays within (0, 1).

    Source: N. A. Obuchowski, Nonparametric analysis of clustered ROC curve data, Biometrics 53 (1997) 567-578; with
    clusters of one image it is DeLong's variance. An AUC of exactly 1 or 0 has no variance: see `_perfect_limits`.
    Where all melanoma, or all benign images, are of one patient, how they vary cannot be known: see `_lone_limits`.
    """
    target = np.asarray(target).astype(bool)
    auc = roc_auc(target, score)
    _, cluster = np.unique(
        np.arange(len(target)) if patients is None else np.asarray(patients, str), return_inverse=True
    )
    if auc in (0.0, 1.0):
        low, high = _perfect_limits(target, cluster, auc, confidence)
    elif independent_pairs(target, cluster) < 2:
        low, high = _lone_limits(auc, int(np.max(cluster)) + 1, confidence)
    else:
        deviation = cluster_variance(target, placements(target, score), auc, cluster) ** 0.5
        low, high = _logit_limits(auc, deviation, confidence)
    return Interval(auc, low, high, len(target), int(target.sum()), int(np.max(cluster)) + 1)


def cluster_variance(target: np.ndarray, components: np.ndarray, auc: float, cluster: np.ndarray) -> float:
    """Variance of an AUC, or of a difference of two, whose structural components (`placements`, or their differences)
    are float64[N]; cluster int[N], 0 and on (Obuchowski 1997)."""
    centred = components - auc
    positive = np.bincount(cluster, weights=np.where(target, centred, 0))
    negative = np.bincount(cluster, weights=np.where(target, 0, centred))
    with_positive = len(np.unique(cluster[target]))
    with_negative = len(np.unique(cluster[~target]))
    n1, n0, clusters = target.sum(), (~target).sum(), len(positive)
    correct = lambda count: count / max(count - 1, 1)  # noqa: E731  the sample correction of each variance
    variance = (correct(with_positive) * (positive**2).sum() / n1**2
                + correct(with_negative) * (negative**2).sum() / n0**2
                + 2 * correct(clusters) * (positive * negative).sum() / (n1 * n0))  # fmt: skip
    return max(float(variance), 0.0)  # rounding can leave -1e-34, whose root is complex


def _logit_limits(auc: float, deviation: float, confidence: float) -> tuple[float, float]:
    z = norm.ppf((1 + confidence) / 2)
    centre, half = np.log(auc / (1 - auc)), z * deviation / (auc * (1 - auc))
    low, high = (float(1 / (1 + np.exp(-limit))) for limit in (centre - half, centre + half))
    return low, high


def _perfect_limits(target: np.ndarray, cluster: np.ndarray, auc: float, confidence: float) -> tuple[float, float]:
    """Exact limits where every pair of a melanoma and a benign image is in the right order, or every one in the wrong.

    Among the images are m pairs whose 2 m clusters all differ, so independent ones, each in the right order with a
    probability of AUC. That all pairs are right is at most as likely as that these m are: AUC^m. So the limit of
    Clopper & Pearson (Biometrika 26 (1934) 404-413) for m successes of m holds the coverage whatever the distributions:
    (alpha/2)^(1/m), near 1 - 3.7/m (Hanley & Lippman-Hand, If nothing goes wrong, is everything all right?, JAMA 249
    (1983) 1743-1745, has the one-sided 3/m). One cluster alone tells nothing: 0 to 1.
    """
    pairs = independent_pairs(target, cluster)
    limit = float(((1 - confidence) / 2) ** (1 / pairs)) if pairs else 0.0
    return (limit, 1.0) if auc == 1 else (0.0, 1 - limit)


def independent_pairs(target: np.ndarray, cluster: np.ndarray) -> int:
    """How many pairs of a melanoma and a benign image there are at most whose clusters all differ.

    Args: target bool[N], cluster int[N].
    """
    with_positive, with_negative = len(np.unique(cluster[target])), len(np.unique(cluster[~target]))
    return min(with_positive, with_negative, len(np.unique(cluster)) // 2)


def _lone_limits(auc: float, clusters: int, confidence: float) -> tuple[float, float]:
    """Limits where one class is of one patient, or all is of two patients or one.

    An estimate that is AUC on average reaches a or more with a probability of at most AUC / a (Markov), whatever its
    distribution; so the lower limit is a * alpha/2, and the upper one likewise from the other side. It goes over into
    `_perfect_limits` of one pair. One patient alone tells nothing: 0 to 1.
    """
    share = (1 - confidence) / 2 if clusters > 1 else 0.0
    return auc * share, 1 - (1 - auc) * share
