"""Monotone maps from a probability that is too sure, or not sure enough, to one that holds.

Fitted by likelihood with the targets of Platt (1999), (N1+1)/(N1+2) for melanoma and 1/(N0+2) for benign images, which
keep every fit finite where the classes do not overlap. Parameters are plain numbers, so that a file can hold them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from melanoma_tf.metrics import require_two_classes

SMALLEST = 1e-7  # about what float32 can hold of 1 - p; beyond it a logit tells rounding and not certainty
STEEPEST = 100.0  # of a temperature, up or down

Parameters = dict[str, list[float]]


@dataclass(frozen=True)
class Calibrator:
    """One way to calibrate.

    Attributes: names: of its parameters. fit: (target float64[N], Platt's; probability float64[N]) -> parameters by
    name, each a list of numbers. apply: (parameters, probability) -> probability, never falling.
    """

    names: tuple[str, ...]
    fit: Callable[[np.ndarray, np.ndarray], Parameters]
    apply: Callable[[Parameters, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Calibration:
    """A fitted map: the name of its method in `CALIBRATORS`, and its parameters."""

    method: str
    parameters: Parameters

    def __call__(self, probability: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, float64[N], of probabilities in [0, 1]; their order stays, ties may arise."""
        return CALIBRATORS[self.method].apply(self.parameters, np.asarray(probability, np.float64))


def fit_calibration(method: str, target: np.ndarray, probability: np.ndarray) -> Calibration:
    """Fits a method of `CALIBRATORS` to int[N] of 0 and 1 and float[N] in [0, 1]. Raises UserError for one class."""
    target = np.asarray(target).astype(bool)
    require_two_classes(target, f"calibration by {method}")
    positives, negatives = int(target.sum()), int((~target).sum())
    softened = np.where(target, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    return Calibration(method, CALIBRATORS[method].fit(softened, np.asarray(probability, np.float64)))


def log_odds(probability: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)), float64[N], with p kept `SMALLEST` off 0 and 1."""
    kept = np.clip(np.asarray(probability, np.float64), SMALLEST, 1 - SMALLEST)
    return np.log(kept) - np.log1p(-kept)


def _fit_slopes(features: np.ndarray, target: np.ndarray, intercept: bool) -> list[float]:
    """Logistic regression of features float64[K,N] with slopes that are not negative; the intercept last.

    A negative slope would turn the order of the images round, which is no calibration.
    """
    columns = np.vstack([features, np.ones(len(target))]) if intercept else features

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        logits = parameters @ columns
        value = -(target * log_expit(logits) + (1 - target) * log_expit(-logits)).mean()
        return float(value), columns @ (expit(logits) - target) / len(target)

    bounds = [(0.0, STEEPEST)] * len(features) + [(None, None)] * intercept
    start = np.array([1.0 / len(features)] * len(features) + [0.0] * intercept)
    options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return [float(value) for value in found.x]


def _fit_temperature(target: np.ndarray, probability: np.ndarray) -> Parameters:
    (slope,) = _fit_slopes(log_odds(probability)[None], target, intercept=False)
    return {"temperature": [1 / max(slope, 1 / STEEPEST)]}


def _fit_platt(target: np.ndarray, probability: np.ndarray) -> Parameters:
    slope, intercept = _fit_slopes(log_odds(probability)[None], target, intercept=True)
    return {"slope": [slope], "intercept": [intercept]}


def _beta_features(probability: np.ndarray) -> np.ndarray:
    kept = np.clip(probability, SMALLEST, 1 - SMALLEST)
    return np.stack([np.log(kept), -np.log1p(-kept)])


def _fit_beta(target: np.ndarray, probability: np.ndarray) -> Parameters:
    a, b, c = _fit_slopes(_beta_features(probability), target, intercept=True)
    return {"a": [a], "b": [b], "c": [c]}


def _apply_beta(parameters: Parameters, probability: np.ndarray) -> np.ndarray:
    rise, fall = _beta_features(probability)
    return expit(parameters["a"][0] * rise + parameters["b"][0] * fall + parameters["c"][0])


def _fit_isotonic(target: np.ndarray, probability: np.ndarray) -> Parameters:
    """Corners of the step-wise rising mean. Platt's targets keep it off 0 and 1, where one mistake would cost all."""
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(out_of_bounds="clip").fit(probability, target)
    return {"from": fitted.X_thresholds_.tolist(), "to": fitted.y_thresholds_.tolist()}


CALIBRATORS: dict[str, Calibrator] = {
    "none": Calibrator((), lambda target, probability: {}, lambda parameters, probability: probability),
    # Guo et al., On calibration of modern neural networks, ICML 2017.
    "temperature": Calibrator(
        ("temperature",), _fit_temperature, lambda of, probability: expit(log_odds(probability) / of["temperature"][0])
    ),
    # Platt, Probabilistic outputs for support vector machines, 1999: slope and intercept of the log odds.
    "platt": Calibrator(
        ("slope", "intercept"),
        _fit_platt,
        lambda of, probability: expit(of["slope"][0] * log_odds(probability) + of["intercept"][0]),
    ),
    # Kull, Silva Filho & Flach, Beta calibration, AISTATS 2017: log odds a log p - b log(1 - p) + c, a and b >= 0.
    "beta": Calibrator(("a", "b", "c"), _fit_beta, _apply_beta),
    # Zadrozny & Elkan, Transforming classifier scores into accurate multiclass probability estimates, KDD 2002.
    "isotonic": Calibrator(
        ("from", "to"), _fit_isotonic, lambda of, probability: np.interp(probability, of["from"], of["to"])
    ),
}
