"""All metrics of one model: the registry, and the table with intervals."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from melanoma_tf.evaluation import probabilistic, ranking
from melanoma_tf.evaluation.resampling import CONFIDENCE, REPLICATES, bootstrap, certain_limits, percentile_limits
from melanoma_tf.evaluation.sample import Sample, Weighted
from melanoma_tf.metrics import Interval, auc_interval

NOTHING = 1e-12  # what sums may differ by for rounding alone


@dataclass(frozen=True)
class Metric:
    """A metric and how to read it.

    Attributes: label; of: float64[R] of R weightings; worst, best: its bounds, None where it has none; biased:
      resampling raises it as sampling itself did (a mean of absolute differences): its interval is turned round.
    """

    label: str
    of: Callable[[Weighted], np.ndarray]
    worst: float | None = 0.0
    best: float | None = 1.0
    biased: bool = False

    @property
    def higher_is_better(self) -> bool:
        return self.best is not None and self.worst is not None and self.best > self.worst


METRICS: dict[str, Metric] = {
    "roc_auc": Metric("ROC AUC", ranking.roc_auc),
    "partial_auc": Metric("partial AUC above 80 % sensitivity", ranking.partial_auc, best=0.2),
    "average_precision": Metric("average precision", ranking.average_precision),
    "sensitivity_at_90_specificity": Metric(
        "sensitivity at 90 % specificity", functools.partial(ranking.sensitivity_at, specificity=0.90)
    ),
    "sensitivity_at_95_specificity": Metric(
        "sensitivity at 95 % specificity", functools.partial(ranking.sensitivity_at, specificity=0.95)
    ),
    "specificity_at_80_sensitivity": Metric(
        "specificity at 80 % sensitivity", functools.partial(ranking.specificity_at, sensitivity=0.80)
    ),
    "specificity_at_90_sensitivity": Metric(
        "specificity at 90 % sensitivity", functools.partial(ranking.specificity_at, sensitivity=0.90)
    ),
    "specificity_at_95_sensitivity": Metric(
        "specificity at 95 % sensitivity", functools.partial(ranking.specificity_at, sensitivity=0.95)
    ),
    "log_loss": Metric("log loss", probabilistic.log_loss, worst=None, best=0.0),
    "brier": Metric("Brier score", probabilistic.brier, worst=1.0, best=0.0),
    "calibration_error": Metric(
        "expected calibration error", probabilistic.calibration_error, worst=1.0, best=0.0, biased=True
    ),
    "observed_to_expected": Metric(
        "melanoma observed / expected", probabilistic.observed_to_expected, worst=None, best=None
    ),
}


def metrics_table(
    target: np.ndarray, probability: np.ndarray, patients: np.ndarray | None = None,
    metrics: Mapping[str, Metric] = METRICS, replicates: int = REPLICATES, seed: int = 0,
    confidence: float = CONFIDENCE, what: str = "metrics",
) -> dict[str, Interval]:  # fmt: skip
    """Every metric with its interval, a patient's images being one cluster; each tells n, positives and patients.

    Args:
      target: int[N] of 0 and 1. probability: float[N] in [0, 1]. patients: [N] labels, None for independent images.
      replicates, seed: of the bootstrap over patients. what: names the images in messages.

    ROC AUC has the limits of clustered DeLong (`auc_interval`), which every command prints; the others those of the
    bootstrap, in which a threshold is chosen anew in every draw.
    Raises: UserError as `Sample`.
    """
    sample = Sample(target, probability, patients, what)

    def statistics(weights: np.ndarray) -> np.ndarray:
        weighted = Weighted(sample, weights)
        return np.stack([metric.of(weighted) for metric in metrics.values()])

    values, drawn = bootstrap(sample, statistics, replicates, seed)
    table = {
        name: _interval(sample, metric, float(value), row, confidence)
        for (name, metric), value, row in zip(metrics.items(), values, drawn)
    }
    if "roc_auc" in table:
        table["roc_auc"] = auc_interval(sample.target, sample.probability, sample.cluster, confidence)
    return table


def _interval(sample: Sample, metric: Metric, value: float, drawn: np.ndarray, confidence: float) -> Interval:
    low, high = percentile_limits(drawn, confidence)
    if metric.biased:  # the basic bootstrap: what the draws are above the value, the value is above the truth
        low, high = min(max(2 * value - high, 0.0), value), max(2 * value - low, value)
    elif high - low < NOTHING:
        low, high = _limits_at_a_bound(sample, metric, value, confidence) or (low, high)
    return Interval(value, low, high, len(sample.target), int(sample.target.sum()), sample.clusters)


def _limits_at_a_bound(
    sample: Sample, metric: Metric, value: float, confidence: float
) -> tuple[float, float] | None:  # fmt: skip
    """Where no draw differs: limits of as many successes, or failures, as there are pairs of patients of both classes
    (`melanoma_tf.metrics` does so for a perfect AUC), on the metric's own range. None where the value is no bound."""
    worst, best = metric.worst, metric.best
    if worst is None or best is None or min(abs(value - worst), abs(value - best)) > NOTHING:
        return None
    pairs = min(sample.patients_with(True), sample.patients_with(False), sample.clusters // 2)
    shares = certain_limits(float(abs(value - best) <= NOTHING), pairs, confidence)
    low, high = sorted(worst + share * (best - worst) for share in shares)
    return low, high
