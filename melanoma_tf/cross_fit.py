"""Cross-fitting: every image is judged by a model that saw no image of its patient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from melanoma_tf.balance import balanced_bins
from melanoma_tf.errors import UserError

Judge = Callable[[np.ndarray], np.ndarray]
Fit = Callable[[np.ndarray], Judge]


def patient_folds(target: np.ndarray, patients: np.ndarray, folds: int = 5, seed: int = 2020) -> np.ndarray:
    """int64[N], 0..folds-1: a patient is in one fold; melanoma, images and patients are spread evenly.

    Args: target: int[N] of 0 and 1. patients: [N] labels. seed: of the order in which equal patients are dealt.
    Raises: UserError where fewer patients than folds have a melanoma, or none.
    """
    patient, _ = pd.factorize(np.asarray(patients, object))
    for value, what in ((1, "a melanoma"), (0, "a benign image")):
        count = len(np.unique(patient[np.asarray(target) == value]))
        if count < folds:
            raise UserError(f"only {count} patients have {what}; {folds} folds need {folds}")
    shuffled = np.random.default_rng(seed).permutation(patient.max() + 1)  # label of each patient
    label = shuffled[patient]
    melanoma = np.bincount(label, weights=target).astype(int)
    sizes = np.stack([np.bincount(label), melanoma, melanoma > 0], axis=1).astype(int)
    return np.asarray(balanced_bins(sizes, folds))[label]


def cross_fitted(fit: Fit, fold: np.ndarray) -> np.ndarray:
    """Scores of all images, float64[N].

    Args: fit: takes rows, int[n], and returns a function of rows that scores them. fold: int[N].
    """
    fold = np.asarray(fold)
    scores = np.empty(len(fold))
    for number in np.unique(fold):
        held_out = np.flatnonzero(fold == number)
        scores[held_out] = fit(np.flatnonzero(fold != number))(held_out)
    return scores
