"""The numbers behind the figures: curves, their band over patients, and what shortcuts alone achieve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma_tf import metrics, tables
from melanoma_tf.report.contents import Evaluation
from melanoma_tf.schema import HEIGHT, WIDTH

GRID = np.linspace(0, 1, 101)  # false positive rates at which the band is drawn
REPEATS = 400


@dataclass(frozen=True)
class Curves:
    """Counts at every distinct score, from high to low; each float64[T+1] and starting at 0."""

    true_positives: np.ndarray
    false_positives: np.ndarray

    @property
    def sensitivity(self) -> np.ndarray:
        return self.true_positives / self.true_positives[-1]

    @property
    def false_positive_rate(self) -> np.ndarray:
        return self.false_positives / self.false_positives[-1]

    @property
    def precision(self) -> np.ndarray:
        flagged = self.true_positives + self.false_positives
        return np.divide(self.true_positives, flagged, out=np.ones_like(flagged), where=flagged > 0)

    @property
    def average_precision(self) -> float:
        """Step-wise area under precision and recall, as `sklearn.metrics.average_precision_score`."""
        return float(np.sum(np.diff(self.sensitivity) * self.precision[1:]))


def curves(target: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None) -> Curves:
    """Counts of both classes above every distinct score. target int[N], score float[N], weight float[N] or None."""
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    return _counts(target[order], np.ones(len(score)) if weight is None else weight[order], last_of_tie)


def _counts(target: np.ndarray, weight: np.ndarray, last_of_tie: np.ndarray) -> Curves:
    positive, every = np.cumsum(weight * target)[last_of_tie], np.cumsum(weight)[last_of_tie]
    return Curves(np.append(0.0, positive), np.append(0.0, every - positive))


def roc_band(evaluation: Evaluation, repeats: int = REPEATS, seed: int = 0) -> np.ndarray:
    """95 % limits of the sensitivity at the rates of `GRID`, float64[2,G], over patients drawn with replacement.

    Patients, not images, because a patient's images are alike. Needs both classes.
    """
    order = np.argsort(-evaluation.score, kind="stable")
    target = evaluation.target[order].astype(np.float64)
    last_of_tie = np.append(np.flatnonzero(np.diff(evaluation.score[order])), len(order) - 1)
    patient = np.unique(evaluation.patients, return_inverse=True)[1][order]
    count = int(np.max(patient)) + 1
    generator = np.random.default_rng(seed)
    drawn: list[np.ndarray] = []
    while len(drawn) < repeats:
        times = np.bincount(generator.integers(0, count, count), minlength=count).astype(np.float64)
        resampled = _counts(target, times[patient], last_of_tie)
        if resampled.true_positives[-1] and resampled.false_positives[-1]:
            drawn.append(np.interp(GRID, resampled.false_positive_rate, resampled.sensitivity))
    return np.percentile(np.array(drawn), (2.5, 97.5), axis=0)


def shortcuts(evaluation: Evaluation) -> list[tuple[str, metrics.Interval]]:
    """What can be reached without looking at a lesion: (description, AUC with interval) of each shortcut."""
    per_patient = pd.Series(evaluation.patients).map(pd.Series(evaluation.patients).value_counts()).to_numpy(np.float64)
    found = []
    for what, unit, value in (
        ("Number of images of the patient alone", ("fewer images", "more images"), per_patient),
        ("Size of the image alone", ("smaller", "larger"), _pixels(evaluation.rows)),
    ):
        if value is not None and np.ptp(value) > 0:
            less = metrics.roc_auc(evaluation.target, -value) >= 0.5
            name = f"{what} ({unit[0 if less else 1]}, more melanoma)"
            found.append((name, _interval(evaluation, -value if less else value)))
    metadata = _metadata_score(evaluation)
    if metadata is not None:
        found.append(("Sex, age and site alone (logistic regression, cross-fitted over patients)",
                      _interval(evaluation, metadata)))  # fmt: skip
    return found


def _pixels(rows: pd.DataFrame) -> np.ndarray | None:
    """Width times height, float64[N], an unknown size counting as 0; None where the table does not tell."""
    if WIDTH not in rows or HEIGHT not in rows:
        return None
    sides = [pd.to_numeric(rows[name], errors="coerce").fillna(0).to_numpy(np.float64) for name in (WIDTH, HEIGHT)]
    return sides[0] * sides[1]


def _interval(evaluation: Evaluation, score: np.ndarray) -> metrics.Interval:
    return metrics.auc_interval(evaluation.target, score, evaluation.patients)


def _metadata_score(evaluation: Evaluation, folds: int = 5) -> np.ndarray | None:
    """float64[N], or None where metadata are absent or there are too few patients for a fit."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    features = tables.metadata_features(evaluation.rows)
    of_each = [len(np.unique(evaluation.patients[evaluation.target == value])) for value in (0, 1)]
    if np.ptp(features, axis=0).max() == 0 or min(of_each) < 2 * folds:
        return None
    score = np.empty(len(features))
    split = StratifiedGroupKFold(folds).split(features, evaluation.target, evaluation.patients)
    for train, held_out in split:
        model = LogisticRegression(max_iter=500).fit(features[train], evaluation.target[train])
        score[held_out] = model.predict_proba(features[held_out])[:, 1]
    return score
