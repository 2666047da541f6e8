"""The bootstrap over patients: a patient's images are drawn together, because they are alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from melanoma_tf.evaluation.sample import Sample
from melanoma_tf.metrics import Interval

REPLICATES = 2000
CONFIDENCE = 0.95
CELLS = 2**20  # of one chunk of weights or counts, 8 MB: what a processor's cache about holds


def patient_weights(sample: Sample, replicates: int = REPLICATES, seed: int = 0) -> Iterator[np.ndarray]:
    """How often each patient is drawn when as many patients are drawn with replacement, in chunks float64[P,r].

    Draws without a melanoma or without a benign image are drawn again: nothing can be said of them. The draws do not
    depend on the size of the chunks.
    """
    generator = np.random.default_rng(seed)
    patients = sample.clusters
    classes = [sample.per_patient(mask.astype(np.float64)) > 0 for mask in (sample.target, ~sample.target)]
    chunk = max(1, CELLS // max(patients, 3 * sample.steps + 1))
    missing = replicates
    while missing:
        rows = min(chunk, missing)
        drawn = generator.integers(0, patients, (rows, patients)) + patients * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * patients).reshape(rows, patients)
        times = times[np.all([times[:, has].any(axis=1) for has in classes], axis=0)]
        missing -= len(times)
        yield np.ascontiguousarray(times.T, np.float64)


def bootstrap(
    sample: Sample, statistics: Callable[[np.ndarray], np.ndarray], replicates: int = REPLICATES, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Statistics of the sample, float64[K], and of its replicates, float64[K,replicates].

    Args: statistics: takes weights of patients, float64[P,R], and returns float64[K,R].
    """
    value = statistics(np.ones((sample.clusters, 1)))[:, 0]
    return value, np.concatenate([statistics(weights) for weights in patient_weights(sample, replicates, seed)], axis=1)


def percentile_limits(drawn: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Limits that leave out equally many replicates below and above; those that are not defined (NaN) do not count."""
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, ((1 - confidence) / 2, (1 + confidence) / 2))
    return float(low), float(high)


def certain_limits(value: float, patients: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Limits of a share of exactly 0 or 1 among independent patients (Clopper & Pearson, Biometrika 26 (1934) 404).

    A bootstrap of nothing but successes knows of no failure and would be certain.
    """
    limit = ((1 - confidence) / 2) ** (1 / patients) if patients else 0.0
    return (limit, 1.0) if value == 1 else (0.0, 1 - limit)


def share_intervals(
    sample: Sample, numerator: np.ndarray, denominator: np.ndarray, replicates: int = REPLICATES, seed: int = 0,
    confidence: float = CONFIDENCE,
) -> list[Interval]:  # fmt: skip
    """Share of the images in the denominator that are in the numerator too, each with its interval over patients.

    Args: numerator, denominator: bool[K,N]. Thus of fixed decisions sensitivity is flagged & target over target.
    A share of nothing is NaN. `images`, `positives` and `clusters` are those of the denominator.
    """
    shares = []
    per_patient = [np.stack([sample.per_patient(row.astype(np.float64)) for row in np.atleast_2d(masks)])
                   for masks in (numerator & denominator, denominator)]  # fmt: skip

    def statistics(weights: np.ndarray) -> np.ndarray:
        part, whole = (sums @ weights for sums in per_patient)
        return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)

    values, drawn = bootstrap(sample, statistics, replicates, seed)
    for number, mask in enumerate(np.atleast_2d(denominator)):
        patients = int((per_patient[1][number] > 0).sum())
        value = float(values[number])
        limits = (certain_limits(value, patients, confidence) if value in (0, 1)
                  else percentile_limits(drawn[number], confidence))  # fmt: skip
        shares.append(Interval(value, *limits, int(mask.sum()), int(sample.target[mask].sum()), patients))
    return shares
