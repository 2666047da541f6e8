"""The curves that a report draws: how often a probability comes true, and what acting on it is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from melanoma_tf.errors import UserError
from melanoma_tf.evaluation.probabilistic import BINS, equal_count_bins
from melanoma_tf.evaluation.resampling import CONFIDENCE, REPLICATES, bootstrap, share_intervals
from melanoma_tf.evaluation.sample import Sample
from melanoma_tf.metrics import Interval

THRESHOLDS = np.linspace(0.002, 0.2, 100)  # 0.2 % to 20 %: from one melanoma in 500 excisions to one in 5


@dataclass(frozen=True)
class ReliabilityCurve:
    """Per bin of equally many images, from the lowest on: mean probability float64[B], and the share of melanoma."""

    mean: np.ndarray
    share: list[Interval]


def reliability_curve(
    target: np.ndarray, probability: np.ndarray, patients: np.ndarray | None = None, bins: int = BINS,
    replicates: int = REPLICATES, seed: int = 0, confidence: float = CONFIDENCE,
) -> ReliabilityCurve:  # fmt: skip
    """How often a probability comes true. Arguments as of `evaluation.metrics_table`; bins as of `equal_count_bins`.

    Bins without an image, which equal probabilities leave, are left out. Raises: UserError as `Sample`.
    """
    sample = Sample(target, probability, patients, "calibration curve")
    number = equal_count_bins(sample.probability, bins)
    members = number == np.unique(number)[:, None]
    mean = (members @ sample.probability) / members.sum(1)
    share = share_intervals(sample, members & sample.target, members, replicates, seed, confidence)
    return ReliabilityCurve(mean, share)


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit per image at threshold probabilities, float64[T] each: melanoma found, less benign lesions excised
    at their exchange rate. `low` and `high`: limits of `model` over patients. `none` is 0 throughout.

    prevalence: share of melanoma that it holds for.
    """

    thresholds: np.ndarray
    model: np.ndarray
    low: np.ndarray
    high: np.ndarray
    treat_all: np.ndarray
    prevalence: float

    @property
    def none(self) -> np.ndarray:
        return np.zeros(len(self.thresholds))


def decision_curve(
    target: np.ndarray, probability: np.ndarray, patients: np.ndarray | None = None,
    thresholds: np.ndarray = THRESHOLDS, prevalence: float | None = None, replicates: int = 500, seed: int = 0,
    confidence: float = CONFIDENCE,
) -> DecisionCurve:  # fmt: skip
    """What excising every lesion with at least a threshold probability is worth, beside excising all and none.

    Net benefit = sensitivity * prevalence - (1 - specificity) * (1 - prevalence) * t / (1 - t): who acts from t on says
    by it that one melanoma is worth (1 - t) / t benign excisions.

    Args: as of `evaluation.metrics_table`, with probabilities for `prevalence`. thresholds: float[T] in (0, 1).
      prevalence: share of melanoma; None takes that of the images, and of each draw.
    Source: Vickers & Elkin, Decision curve analysis, Medical Decision Making 26 (2006) 565-574.
    Raises: UserError as `Sample`, and for a threshold outside (0, 1).
    """
    sample = Sample(target, probability, patients, "decision curve")
    thresholds = np.asarray(thresholds, np.float64)
    if not ((thresholds > 0) & (thresholds < 1)).all():
        raise UserError("thresholds of a decision curve must be more than 0 and less than 1")
    if prevalence is not None and not 0 < prevalence < 1:
        raise UserError(f"a prevalence of {prevalence} is not possible; valid is more than 0 and less than 1")
    odds = (thresholds / (1 - thresholds))[:, None]
    flagged = [_flagged_per_patient(sample, mask, thresholds) for mask in (sample.target, ~sample.target)]
    totals = np.stack([sample.per_patient(mask.astype(np.float64)) for mask in (sample.target, ~sample.target)])

    def net_benefit(weights: np.ndarray) -> np.ndarray:
        positives, negatives = totals @ weights
        share = positives / (positives + negatives) if prevalence is None else prevalence
        sensitivity, false_rate = flagged[0] @ weights / positives, flagged[1] @ weights / negatives
        return sensitivity * share - false_rate * (1 - share) * odds

    model, drawn = bootstrap(sample, net_benefit, replicates, seed)
    low, high = np.quantile(drawn, ((1 - confidence) / 2, (1 + confidence) / 2), axis=1)
    share = float(sample.target.mean()) if prevalence is None else prevalence
    return DecisionCurve(thresholds, model, low, high, share - (1 - share) * odds[:, 0], share)


def _flagged_per_patient(sample: Sample, mask: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Images in the mask with at least each threshold, float64[T,P]."""
    return np.stack([sample.per_patient((mask & (sample.probability >= one)).astype(np.float64)) for one in thresholds])
