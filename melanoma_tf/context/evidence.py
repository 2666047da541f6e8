"""What the context brought: before and after, on whom, and how much of it may be the count of images in disguise."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from melanoma_tf.cross_fit import cross_fitted
from melanoma_tf.metrics import roc_auc

SIZES = {"1": (1, 1), "2-5": (2, 5), "6-20": (6, 20), ">20": (21, np.inf)}  # images of a patient
TOLERANCE = 0.1


def images_of_patient(patients: np.ndarray) -> np.ndarray:
    """int64[N]: how many of the images are of the same patient, itself included."""
    _, patient = np.unique(np.asarray(patients, str), return_inverse=True)
    return np.bincount(patient)[patient]


def auc_by_size(target: np.ndarray, scores: dict[str, np.ndarray], patients: np.ndarray) -> list[dict]:
    """AUC of each score among the images of patients with 1, 2-5, 6-20 and more images; None without both classes.

    Args: target int[N], scores by name, float64[N] each, patients [N]. Returns one dict a size: images_of_patient,
      images, melanoma, and each score's AUC under its name.
    """
    size, target = images_of_patient(patients), np.asarray(target)
    rows = []
    for label, (low, high) in SIZES.items():
        here = (size >= low) & (size <= high)
        both = 0 < target[here].sum() < here.sum()
        aucs = {name: roc_auc(target[here], score[here]) if both else None for name, score in scores.items()}
        rows.append({
            "images_of_patient": label, "images": int(here.sum()), "melanoma": int(target[here].sum()), **aucs,
        })  # fmt: skip
    return rows


def matched_auc(target: np.ndarray, score: np.ndarray, patients: np.ndarray, tolerance: float = TOLERANCE) -> float:
    """Share of pairs in the right order among pairs of a melanoma and a benign image whose patients have equally many
    images, to within `tolerance`; every melanoma weighs the same. NaN where there is no such pair.

    What a score gains by telling the number of images is gone here.
    """
    size, melanoma = images_of_patient(patients), np.asarray(target).astype(bool)
    right, judged = 0.0, 0
    for count in np.unique(size[melanoma]):
        benign = np.sort(score[~melanoma & (np.abs(size - count) <= tolerance * count)])
        found = score[melanoma & (size == count)]
        if len(benign):
            below = np.searchsorted(benign, found) + np.searchsorted(benign, found, "right")
            right += float(below.sum()) / (2 * len(benign))
            judged += len(found)
    return right / judged if judged else float("nan")


def count_told(features: pd.DataFrame, patients: np.ndarray, fold: np.ndarray) -> float:
    """Spearman's correlation of the number of images with its cross-fitted prediction from the features, in [-1, 1].

    0: the features do not tell how many images the patient has; 1: they may as well be the number.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    values, size = features.to_numpy(), np.log(images_of_patient(patients))

    def fit(rows: np.ndarray):
        model = HistGradientBoostingRegressor(max_iter=60, early_stopping=False, random_state=0)
        model.fit(values[rows], size[rows])
        return lambda held_out: model.predict(values[held_out])

    with threadpool_limits(limits=1):  # as `model.fit_trees`
        predicted = cross_fitted(fit, fold)
    if np.ptp(size) == 0 or np.ptp(predicted) == 0:
        return 0.0
    return float(spearmanr(predicted, size).statistic)
