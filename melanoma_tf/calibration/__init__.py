"""From scores to probabilities and decisions: calibration, prevalence, thresholds, net benefit, conformal sets.

A way to calibrate is a function and a line in `CALIBRATORS` (`melanoma_tf/calibration/maps.py`).
"""

from melanoma_tf.calibration.choice import NONE, Calibrated, calibrate
from melanoma_tf.calibration.conformal import ConformalSets, conformal_sets, set_limits
from melanoma_tf.calibration.curves import DecisionCurve, ReliabilityCurve, decision_curve, reliability_curve
from melanoma_tf.calibration.maps import CALIBRATORS, Calibration, fit_calibration, log_odds
from melanoma_tf.calibration.prevalence import shift_prevalence
from melanoma_tf.calibration.thresholds import OperatingPoint, operating_points, threshold_at

__all__ = [
    "CALIBRATORS", "NONE", "Calibrated", "Calibration", "ConformalSets", "DecisionCurve", "OperatingPoint",
    "ReliabilityCurve", "calibrate", "conformal_sets", "decision_curve", "fit_calibration", "log_odds",
    "operating_points", "reliability_curve", "set_limits", "shift_prevalence", "threshold_at",
]  # fmt: skip
