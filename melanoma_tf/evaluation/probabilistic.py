"""Metrics of the probabilities themselves, each float64[R] of a `Weighted` sample."""

from __future__ import annotations

import numpy as np

from melanoma_tf.evaluation.sample import Weighted

BINS = 10
SMALLEST = float(np.finfo(np.float64).eps)  # as scikit-learn: a certain error costs 36 and not infinity


def brier(weighted: Weighted) -> np.ndarray:
    """Mean squared distance of probability and truth (Brier 1950); share * (1 - share) for the share of melanoma."""
    return weighted.mean((weighted.sample.probability - weighted.sample.target) ** 2)


def image_log_loss(target: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """-log of the probability given to the truth, float64[N], in nats; no probability is below `SMALLEST`."""
    given = np.where(np.asarray(target).astype(bool), probability, 1 - np.asarray(probability, np.float64))
    return -np.log(np.maximum(given, SMALLEST))


def log_loss(weighted: Weighted) -> np.ndarray:
    """Mean of `image_log_loss`."""
    return weighted.mean(image_log_loss(weighted.sample.target, weighted.sample.probability))


def equal_count_bins(probability: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Bin of each image, int[N]: equally many images in each, from the lowest on; equal probabilities stay together."""
    ordered = np.sort(probability)
    below = np.searchsorted(ordered, probability, side="left")
    return (below * bins) // len(ordered)


def calibration_error(weighted: Weighted, bins: int = BINS) -> np.ndarray:
    """Expected calibration error: |mean probability - share of melanoma| in bins of equal count, averaged over images.

    The bins are those of the unweighted sample (`equal_count_bins`), so that they do not move from draw to draw.
    """
    sample = weighted.sample
    number = equal_count_bins(sample.probability, bins)
    residual = np.where(number == np.arange(bins)[:, None], sample.probability - sample.target, 0.0)
    return np.abs(weighted.sums(residual)).sum(0) / (weighted.positives + weighted.negatives)


def observed_to_expected(weighted: Weighted) -> np.ndarray:
    """Melanoma that there are, over the sum of the probabilities: above 1 they are too low, below 1 too high."""
    expected = weighted.sums(weighted.sample.probability)[0]
    return np.divide(weighted.positives, expected, out=np.full_like(expected, np.inf), where=expected > 0)
