"""Thresholds for a wanted sensitivity, and what they reach on patients that they were not chosen on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from melanoma_tf.cross_fit import cross_fitted, patient_folds
from melanoma_tf.evaluation.ranking import ROUNDING
from melanoma_tf.evaluation.resampling import CONFIDENCE, REPLICATES, bootstrap, percentile_limits, share_intervals
from melanoma_tf.evaluation.sample import Sample, Weighted
from melanoma_tf.metrics import Interval

SENSITIVITIES = (0.80, 0.90, 0.95)
FittedOn = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold for a wanted sensitivity.

    Attributes:
      wanted: sensitivity asked for. threshold: an image with at least this probability is flagged.
      apparent_sensitivity, apparent_specificity: on the images that the threshold was chosen on.
      sensitivity, specificity, precision, flagged: where each patient is judged by a threshold of the others; flagged
      is the share of all images.
    """

    wanted: float
    threshold: Interval
    apparent_sensitivity: float
    apparent_specificity: float
    sensitivity: Interval
    specificity: Interval
    precision: Interval
    flagged: Interval


def threshold_at(target: np.ndarray, probability: np.ndarray, sensitivity: float) -> float:
    """Highest probability p such that at least a share `sensitivity` of the melanoma has p or more."""
    positive = np.sort(np.asarray(probability, np.float64)[np.asarray(target).astype(bool)])[::-1]
    needed = int(np.ceil(sensitivity * len(positive) * (1 - ROUNDING)))
    return float(positive[max(needed, 1) - 1])


def operating_points(
    target: np.ndarray, probability: np.ndarray, patients: np.ndarray, sensitivities: Sequence[float] = SENSITIVITIES,
    folds: int = 5, seed: int = 2020, replicates: int = REPLICATES, confidence: float = CONFIDENCE,
    fitted_on: FittedOn | None = None,
) -> list[OperatingPoint]:  # fmt: skip
    """One `OperatingPoint` per wanted sensitivity.

    Args: target int[N] of 0 and 1; probability float[N] in [0, 1]; patients [N]; folds, seed: of `patient_folds`.
      fitted_on: where the probability was fitted to these truths, the same of all images fitted on some rows alone, by
      which held-out images are then decided: int[n] -> float[N].

    The limits of what is reached are those of the decisions made; that thresholds vary too is in `threshold` alone.
    Raises: UserError as `Sample`, and for fewer patients with a melanoma than folds.
    """
    sample = Sample(target, probability, patients, "thresholds")
    fold = patient_folds(sample.target.astype(int), np.asarray(patients, object), folds, seed)
    thresholds = _threshold_intervals(sample, sensitivities, replicates, confidence)
    fitted_on = fitted_on or (lambda rows: sample.probability)
    pairs = zip(sensitivities, thresholds)
    return [_point(sample, fold, fitted_on, *pair, replicates, confidence) for pair in pairs]


def _threshold_intervals(sample: Sample, sensitivities: Sequence[float], replicates: int, confidence: float):
    steps = np.unique(sample.probability[sample.target])[::-1]

    def chosen(weights: np.ndarray) -> np.ndarray:
        weighted = Weighted(sample, weights)
        needed = [wanted * weighted.positives * (1 - ROUNDING) for wanted in sensitivities]
        return np.stack([steps[(weighted.found >= enough).argmax(0)] for enough in needed])

    values, drawn = bootstrap(sample, chosen, replicates)
    basis = len(sample.target), int(sample.target.sum()), sample.clusters
    return [Interval(float(value), *percentile_limits(row, confidence), *basis) for value, row in zip(values, drawn)]


def _point(
    sample: Sample, fold: np.ndarray, fitted_on: FittedOn, wanted: float, threshold: Interval, replicates: int,
    confidence: float,
) -> OperatingPoint:  # fmt: skip
    def choose(rows: np.ndarray):
        probability = fitted_on(rows)
        at = threshold_at(sample.target[rows], probability[rows], wanted)
        return lambda held_out: probability[held_out] >= at

    apparent = sample.probability >= threshold.value
    flagged = cross_fitted(choose, fold).astype(bool)
    every = np.ones(len(flagged), bool)
    found = flagged & sample.target
    shares = share_intervals(
        sample,
        np.stack([found, ~flagged & ~sample.target, found, flagged]),
        np.stack([sample.target, ~sample.target, flagged, every]),
        replicates,
        confidence=confidence,
    )
    reached = float(apparent[sample.target].mean()), float((~apparent)[~sample.target].mean())
    return OperatingPoint(wanted, threshold, *reached, *shares)
