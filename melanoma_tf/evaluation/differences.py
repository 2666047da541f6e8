"""Two models on the same images: the difference of every metric, from the same draws of patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from melanoma_tf.evaluation.resampling import CONFIDENCE, REPLICATES, bootstrap, percentile_limits
from melanoma_tf.evaluation.sample import Sample, Weighted
from melanoma_tf.evaluation.table import METRICS
from melanoma_tf.metrics import Interval

DIFFERENCES = ("roc_auc", "partial_auc", "average_precision", "sensitivity_at_90_specificity", "log_loss", "brier")


def metric_differences(
    target: np.ndarray, probability_a: np.ndarray, probability_b: np.ndarray, patients: np.ndarray | None = None,
    names: Sequence[str] = DIFFERENCES, replicates: int = REPLICATES, seed: int = 0, confidence: float = CONFIDENCE,
) -> dict[str, Interval]:  # fmt: skip
    """Metric of b minus that of a, by name, with limits of a paired bootstrap over patients.

    Args: as of `metrics_table`, with the probabilities of two models. names: keys of `METRICS`.
    Both models are judged on the same draws, so that what is hard in a draw is hard for both.
    Raises: UserError as `Sample`.
    """
    samples = [Sample(target, probability, patients) for probability in (probability_a, probability_b)]

    def statistics(weights: np.ndarray) -> np.ndarray:
        weighted = [Weighted(sample, weights) for sample in samples]
        return np.stack([METRICS[name].of(weighted[1]) - METRICS[name].of(weighted[0]) for name in names])

    values, drawn = bootstrap(samples[0], statistics, replicates, seed)
    basis = len(samples[0].target), int(samples[0].target.sum()), samples[0].clusters
    return {
        name: Interval(float(value), *percentile_limits(row, confidence), *basis)
        for name, value, row in zip(names, values, drawn)
    }
