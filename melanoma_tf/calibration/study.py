"""The whole of `melanoma-tf calibrate`: the choice, before and after, thresholds, net benefit, conformal sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from melanoma_tf.calibration.choice import NONE, Calibrated, calibrate
from melanoma_tf.calibration.conformal import conformal_sets
from melanoma_tf.calibration.curves import decision_curve
from melanoma_tf.calibration.maps import CALIBRATORS, fit_calibration
from melanoma_tf.calibration.prevalence import shift_prevalence
from melanoma_tf.calibration.thresholds import SENSITIVITIES, FittedOn, OperatingPoint, operating_points
from melanoma_tf.evaluation import METRICS, metrics_table

METHODS = tuple(CALIBRATORS)
SHOWN = ("log_loss", "brier", "calibration_error", "observed_to_expected", "roc_auc")  # what calibration may change
BENEFIT_AT = (0.01, 0.02, 0.05, 0.10, 0.20)


@dataclass(frozen=True)
class Study:
    """What `study_calibration` found. record: all of it but the probabilities, for calibration.json."""

    calibrated: Calibrated
    prevalence: float
    record: dict[str, Any]

    def judge(self, probability: np.ndarray, stated: float | None = None) -> np.ndarray:
        """Calibrated probabilities of new images, float64[N], at the stated prevalence or that of the data."""
        return self._at(self.calibrated.calibration(probability), stated)

    def fitted_on(self, target: np.ndarray, probability: np.ndarray, stated: float | None = None) -> FittedOn:
        """The same with the map fitted on some of these images alone, as `operating_points` wants it."""
        known: dict[bytes, np.ndarray] = {}

        def fitted_on(rows: np.ndarray) -> np.ndarray:
            if rows.tobytes() not in known:
                fitted = fit_calibration(self.calibrated.calibration.method, target[rows], probability[rows])
                known[rows.tobytes()] = self._at(fitted(probability), stated)
            return known[rows.tobytes()]

        return fitted_on

    def _at(self, probability: np.ndarray, stated: float | None) -> np.ndarray:
        return probability if stated is None else shift_prevalence(probability, self.prevalence, stated)


def study_calibration(
    target: np.ndarray, probability: np.ndarray, patients: np.ndarray, method: str | None = None,
    sensitivities: Sequence[float] = SENSITIVITIES, error: float = 0.1, stated: float | None = None,
    folds: int = 5, seed: int = 2020,
) -> Study:  # fmt: skip
    """Arguments as of `calibrate`; method: of `CALIBRATORS`, None chooses; sensitivities: wanted ones; error: of
    conformal sets; stated: a prevalence.

    Thresholds and conformal limits are of the map of all images, the one that new images get, at the stated prevalence;
    what they reach is told of patients for whom the map was fitted anew without them, as well as the threshold;
    "before" and "after" compare the input with the cross-fitted probabilities.
    Raises: UserError as its parts.
    """
    target = np.asarray(target).astype(int)
    methods = METHODS if method in (None, NONE) else (NONE, method)
    calibrated = calibrate(target, probability, patients, methods, folds, seed, taken=method)
    study = Study(calibrated, float(target.mean()), {})
    judged = study.judge(probability, stated)
    shown = {name: METRICS[name] for name in SHOWN}
    compared = {
        when: metrics_table(target, scores, patients, shown)
        for when, scores in (("before", probability), ("after", calibrated.probability))
    }
    fitted_on = study.fitted_on(target, np.asarray(probability, np.float64), stated)
    points = operating_points(target, judged, patients, sensitivities, folds, seed, fitted_on=fitted_on)
    sets = conformal_sets(target, judged, patients, error, folds, seed, fitted_on=fitted_on)
    held_out = study._at(calibrated.probability, stated)
    curve = decision_curve(target, held_out, patients, np.asarray(BENEFIT_AT), stated)
    record: dict[str, Any] = {
        "method": calibrated.calibration.method,
        "parameters": calibrated.calibration.parameters,
        "prevalence": study.prevalence,
        "stated_prevalence": stated,
        "settings": {"folds": folds, "seed": seed},
        "log_loss": calibrated.log_loss,
        "gain": {name: dataclasses.asdict(gain) for name, gain in calibrated.gain.items()},
        **{when: {name: dataclasses.asdict(one) for name, one in table.items()} for when, table in compared.items()},
        "thresholds": [_threshold_record(point, stated) for point in points],
        "decision_curve": {
            field.name: np.asarray(getattr(curve, field.name)).tolist() for field in dataclasses.fields(curve)
        },
        "conformal": dataclasses.asdict(sets),
    }
    return dataclasses.replace(study, record=record)


def _threshold_record(point: OperatingPoint, stated: float | None) -> dict[str, Any]:
    """With what is flagged, and how much of that is melanoma, at the stated prevalence; sensitivity and specificity do
    not depend on it."""
    record = dataclasses.asdict(point)
    if np.isnan(point.precision.value):  # nothing was flagged; JSON has no NaN
        record["precision"] = None
    if stated is not None:
        found, alarms = point.sensitivity.value * stated, (1 - point.specificity.value) * (1 - stated)
        record["at_stated_prevalence"] = {
            "flagged": found + alarms,
            "precision": found / (found + alarms) if found + alarms else None,
        }
    return record
