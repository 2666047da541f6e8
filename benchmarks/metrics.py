"""All metrics of 33,126 images with 2,000 draws of patients, against scikit-learn with `sample_weight`, draw by draw.

    OMP_NUM_THREADS=1 python benchmarks/metrics.py [--rows=33126] [--patients=2056] [--replicates=2000] [--repeats=5]

Images are drawn: 1.8 % melanoma, in a fifth of the patients, whose images share part of their score. scikit-learn does
a few of the same draws, of the metrics that it has, and its time for all of them is those times as many; the metrics of
these draws are compared. Prints one JSON object last.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time

import numpy as np
from scipy.special import expit
from sklearn import metrics as sklearn_metrics

from melanoma_tf import evaluation
from melanoma_tf.evaluation import METRICS, Sample, Weighted

RATE = 584 / 33126
IN_SKLEARN = {
    "roc_auc": sklearn_metrics.roc_auc_score,
    "average_precision": sklearn_metrics.average_precision_score,
    "log_loss": sklearn_metrics.log_loss,
    "brier": sklearn_metrics.brier_score_loss,
}


def draw_images(rows: int, patients: int, seed: int = 2020) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth int[rows], probability float64[rows] and patient int[rows]."""
    generator = np.random.default_rng(seed)
    patient = generator.integers(0, patients, rows)
    candidates = generator.permutation(np.flatnonzero(patient < patients // 5))
    target = np.zeros(rows, int)
    target[candidates[: round(RATE * rows)]] = 1
    logit = 1.8 * target + 0.5 * generator.normal(size=patients)[patient] + generator.normal(size=rows) - 4.7
    return target, expit(logit), patient


def sklearn_draws(sample: Sample, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """float64[K,R] of the metrics of scikit-learn, and the seconds that they took."""
    start = time.perf_counter()
    found = [
        [of(sample.target, sample.probability, sample_weight=times[sample.cluster]) for times in weights.T]
        for of in IN_SKLEARN.values()
    ]
    return np.array(found), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("rows", 33126), ("patients", 2056), ("replicates", 2000), ("repeats", 5), ("draws", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    target, probability, patient = draw_images(arguments.rows, arguments.patients)
    seconds = []
    for _ in range(arguments.repeats):
        start = time.perf_counter()
        table = evaluation.metrics_table(target, probability, patient, replicates=arguments.replicates)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sample = Sample(target, probability, patient)
    weights = np.hstack([*evaluation.patient_weights(sample, arguments.draws)])
    expected, taken = sklearn_draws(sample, weights)
    ours = np.stack([METRICS[name].of(Weighted(sample, weights)) for name in IN_SKLEARN])
    auc = table["roc_auc"]
    print(json.dumps({
        "rows": arguments.rows, "positives": int(target.sum()), "patients": auc.clusters,
        "replicates": arguments.replicates, "metrics": len(table), "auc": round(auc.value, 4),
        "seconds": round(float(np.median(seconds)), 3), "seconds_of_each": [round(one, 3) for one in seconds],
        "metrics_of_sklearn": len(IN_SKLEARN), "draws_of_sklearn": arguments.draws,
        "seconds_of_sklearn_for_all_draws": round(taken / arguments.draws * arguments.replicates, 1),
        "largest_difference": float(f"{np.abs(ours - expected).max():.1e}"), "peak_rss_mb": round(peak),
    }))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
