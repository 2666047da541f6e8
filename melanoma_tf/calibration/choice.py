"""Which calibration holds for patients that it was not fitted on?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from melanoma_tf.calibration.maps import CALIBRATORS, Calibration, fit_calibration
from melanoma_tf.cross_fit import cross_fitted, patient_folds
from melanoma_tf.evaluation.probabilistic import image_log_loss
from melanoma_tf.evaluation.resampling import bootstrap, percentile_limits
from melanoma_tf.evaluation.sample import Sample
from melanoma_tf.metrics import Interval

NONE = "none"


@dataclass(frozen=True)
class Calibrated:
    """What `calibrate` found.

    Attributes: calibration, fitted on all images. probability float64[N], each image's by a map that was fitted without
      its patient. fold int[N]. log_loss, cross-fitted, by method; gain: of each method over none, negative is better,
      with limits over patients.
    """

    calibration: Calibration
    probability: np.ndarray
    fold: np.ndarray
    log_loss: dict[str, float]
    gain: dict[str, Interval]


def calibrate(
    target: np.ndarray, probability: np.ndarray, patients: np.ndarray, methods: Sequence[str] = tuple(CALIBRATORS),
    folds: int = 5, seed: int = 2020, replicates: int = 2000, taken: str | None = None,
) -> Calibrated:  # fmt: skip
    """Fits each method, cross-fitted by patient, and takes the one with the lowest log loss; `none` is a candidate.

    Args: target int[N] of 0 and 1. probability float[N] in [0, 1], out-of-fold. patients [N] labels. methods: of
      `CALIBRATORS`; the first of equals is taken. folds, seed: of `patient_folds`. replicates: of the limits of gain.
      taken: one of the methods, whatever the others' log loss.

    The log loss that decided is lower than on new images by the choice among so few maps of so few parameters: little.
    Raises: UserError for one class only, and for fewer patients with a melanoma than folds.
    """
    sample = Sample(target, probability, patients, "calibration")
    fold = patient_folds(sample.target.astype(int), np.asarray(patients, object), folds, seed)
    judged = {method: _cross_fit(method, sample, fold) for method in methods}
    losses = {method: image_log_loss(sample.target, judged[method]) for method in methods}
    mean = {method: float(loss.mean()) for method, loss in losses.items()}
    chosen = taken or min(methods, key=mean.__getitem__)
    before = image_log_loss(sample.target, sample.probability)
    gains = _mean_intervals(sample, np.stack([losses[method] - before for method in methods]), replicates)
    fitted = fit_calibration(chosen, sample.target, sample.probability)
    return Calibrated(fitted, judged[chosen], fold, mean, dict(zip(methods, gains)))


def _cross_fit(method: str, sample: Sample, fold: np.ndarray) -> np.ndarray:
    def fit(rows: np.ndarray):
        fitted = fit_calibration(method, sample.target[rows], sample.probability[rows])
        return lambda held_out: fitted(sample.probability[held_out])

    return cross_fitted(fit, fold)


def _mean_intervals(sample: Sample, values: np.ndarray, replicates: int) -> list[Interval]:
    """Mean over images of each row of values, float64[K,N]."""
    sums = np.stack([sample.per_patient(row) for row in values])
    images = sample.per_patient(np.ones(len(sample.target)))
    means, drawn = bootstrap(sample, lambda weights: (sums @ weights) / (images @ weights), replicates)
    basis = len(sample.target), int(sample.target.sum()), sample.clusters
    return [Interval(float(mean), *percentile_limits(row), *basis) for mean, row in zip(means, drawn)]
