"""Sets of labels that hold the truth as often as promised: melanoma, benign, both (undecided) or neither.

Class-conditional (Mondrian) conformal prediction: a label is in the set unless the image looks less like it than all
but a share `error` of the calibration images of that class.
Guarantee: of new melanoma at least 1 - error have a set that holds melanoma, and of new benign images at least as many
one that holds benign, on average over calibration sets, whatever the model and the share of melanoma, where the new
image is exchangeable with the calibration images of its class. Images of one patient are not exchangeable with those
of others, and out-of-fold scores are of other models than those of new images; so it holds nearly, and the empirical
coverage over held-out patients stands beside it.
Source: Vovk, Gammerman & Shafer, Algorithmic learning in a random world, 2005, section 4.5; Vovk, Cross-conformal
predictors, Annals of Mathematics and Artificial Intelligence 74 (2015) 9-28.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from melanoma_tf.calibration.thresholds import FittedOn
from melanoma_tf.cross_fit import patient_folds
from melanoma_tf.errors import UserError
from melanoma_tf.evaluation.resampling import CONFIDENCE, REPLICATES, share_intervals
from melanoma_tf.evaluation.sample import Sample
from melanoma_tf.metrics import Interval

KINDS = ("melanoma", "benign", "both", "neither")


@dataclass(frozen=True)
class ConformalSets:
    """Conformal sets and how they did on held-out patients.

    Attributes:
      error: share of each class whose set may lack the truth. melanoma_from: a set holds melanoma from this probability
      on; benign_to: and benign up to this one; both from all images, for new ones.
      coverage: by class, the share of held-out images whose set holds the truth. shares: of held-out images, by kind of
      set of `KINDS`.
    """

    error: float
    melanoma_from: float
    benign_to: float
    coverage: dict[str, Interval]
    shares: dict[str, Interval]


def set_limits(target: np.ndarray, probability: np.ndarray, error: float) -> tuple[float, float]:
    """(melanoma_from, benign_to) by split-conformal calibration on the given images; see `ConformalSets`.

    With n images of a class the k-th lowest probability (for benign: highest), k = floor(error * (n + 1)); with k = 0
    every set holds the class, and the limit is 0 (for benign: 1).
    """
    target, probability = np.asarray(target).astype(bool), np.asarray(probability, np.float64)
    melanoma, benign = np.sort(probability[target]), np.sort(probability[~target])[::-1]
    lowest, highest = (int(np.floor(error * (len(values) + 1) + 1e-9)) for values in (melanoma, benign))
    return (
        float(melanoma[lowest - 1]) if lowest else 0.0,
        float(benign[highest - 1]) if highest else 1.0,
    )


def conformal_sets(
    target: np.ndarray, probability: np.ndarray, patients: np.ndarray, error: float = 0.1, folds: int = 5,
    seed: int = 2020, replicates: int = REPLICATES, confidence: float = CONFIDENCE, fitted_on: FittedOn | None = None,
) -> ConformalSets:  # fmt: skip
    """Limits from all images, and coverage where each patient is judged by limits of the other folds.

    Args: target int[N] of 0 and 1. probability float[N] in [0, 1], out-of-fold. patients [N] labels. error: in (0, 1).
      fitted_on: as of `operating_points`.
    Raises: UserError as `Sample`, for an error outside (0, 1), for fewer patients with a melanoma than folds.
    """
    if not 0 < error < 1:
        raise UserError(f"an error of {error} of conformal sets is not possible; valid is more than 0 and less than 1")
    sample = Sample(target, probability, patients, "conformal sets")
    fold = patient_folds(sample.target.astype(int), np.asarray(patients, object), folds, seed)
    has_melanoma, has_benign = np.empty(len(fold), bool), np.empty(len(fold), bool)
    for number in np.unique(fold):
        rest = fold != number
        probability = fitted_on(np.flatnonzero(rest)) if fitted_on else sample.probability
        melanoma_from, benign_to = set_limits(sample.target[rest], probability[rest], error)
        has_melanoma[~rest] = probability[~rest] >= melanoma_from
        has_benign[~rest] = probability[~rest] <= benign_to
    every = np.ones(len(fold), bool)
    kinds = (has_melanoma & ~has_benign, has_benign & ~has_melanoma, has_benign & has_melanoma,
             ~has_benign & ~has_melanoma)  # fmt: skip
    found = share_intervals(
        sample,
        np.stack([has_melanoma & sample.target, has_benign & ~sample.target, *kinds]),
        np.stack([sample.target, ~sample.target, *[every] * len(kinds)]),
        replicates,
        confidence=confidence,
    )
    coverage = dict(zip(("melanoma", "benign"), found[:2]))
    own = set_limits(sample.target, sample.probability, error)
    return ConformalSets(error, *own, coverage, dict(zip(KINDS, found[2:])))
