"""Metrics of the order of the images, each float64[R] of a `Weighted` sample. Whole weights give exact counts."""

from __future__ import annotations

import numpy as np

from melanoma_tf.evaluation.sample import Weighted

ROUNDING = 1e-9  # relative; 0.95 * 20 is not 19


def roc_auc(weighted: Weighted) -> np.ndarray:
    """Share of (melanoma, benign) pairs in the right order, ties counted half."""
    in_order = weighted.negatives - (weighted.alarms + weighted.alarms_before) / 2
    return (weighted.hits * in_order).sum(0) / (weighted.positives * weighted.negatives)


def average_precision(weighted: Weighted) -> np.ndarray:
    """Precision at each melanoma, averaged over the melanoma: the step-wise area of precision over recall."""
    flagged = weighted.found + weighted.alarms
    precision = np.divide(weighted.found, flagged, out=np.zeros_like(flagged), where=flagged > 0)
    return (weighted.hits * precision).sum(0) / weighted.positives


def partial_auc(weighted: Weighted, sensitivity: float = 0.8) -> np.ndarray:
    """Area under the ROC curve and above a sensitivity, 0 to 1 - sensitivity; that of guessing is 0.02 above 0.8.

    The score of the ISIC 2024 challenge (kaggle.com/competitions/isic-2024-challenge): the integral of the specificity
    over sensitivities from 0.8 to 1, with straight lines between the points of the curve. It is not scaled to 1.
    """
    end = weighted.found / weighted.positives
    begin = end - weighted.hits / weighted.positives
    counted_from = np.clip(begin, sensitivity, None)
    width = np.clip(end - counted_from, 0, None)
    # The curve runs from (alarms_before, begin) to (alarms, end); its mean over the counted part is that in its middle.
    rise = np.divide(
        (counted_from + end) / 2 - begin, end - begin, out=np.zeros_like(end), where=weighted.hits > 0
    )  # fmt: skip
    alarms = weighted.alarms_before + rise * (weighted.alarms - weighted.alarms_before)
    return (width * (1 - alarms / weighted.negatives)).sum(0)


def sensitivity_at(weighted: Weighted, specificity: float) -> np.ndarray:
    """Highest sensitivity of a threshold whose specificity is at least the given one; no interpolation."""
    allowed = (1 - specificity) * weighted.negatives * (1 + ROUNDING) + ROUNDING
    return np.where(weighted.alarms <= allowed, weighted.found, 0).max(0) / weighted.positives


def specificity_at(weighted: Weighted, sensitivity: float) -> np.ndarray:
    """Specificity of the highest threshold whose sensitivity is at least the given one; no interpolation."""
    reached = weighted.found >= sensitivity * weighted.positives * (1 - ROUNDING)
    first = reached.argmax(0)
    return 1 - np.take_along_axis(weighted.alarms, first[None], 0)[0] / weighted.negatives
