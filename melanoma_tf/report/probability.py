"""The section on scores as probabilities: how often they come true, and what acting on them is worth."""

from __future__ import annotations

from melanoma_tf.calibration import NONE, Calibrated, calibrate, decision_curve, reliability_curve
from melanoma_tf.errors import UserError
from melanoma_tf.report import figures, markup
from melanoma_tf.report.contents import Evaluation
from melanoma_tf.report.evidence import metric_rows

PROBABILISTIC = ("log_loss", "brier", "calibration_error", "observed_to_expected")


def probabilities(evaluation: Evaluation) -> str:
    """Scores by class, the calibration curve as given and calibrated, the decision curve."""
    target, score, patients = evaluation.target, evaluation.score, evaluation.patients
    mean, share = float(score.mean()), float(target.mean())
    lead = (
        "A score is a probability only where it comes true as often as it says, and only where melanoma is as frequent "
        "as here."
    )
    by_class = markup.figure(
        "Scores by class", figures.scores(target, score),
        f"Each class on its own scale. The mean score is {mean:.2%}, the share of melanoma {share:.2%}.",
    )  # fmt: skip
    calibrated, told = _calibrated(evaluation)
    usable = score if calibrated is None else calibrated.probability
    curves = [("as given", reliability_curve(target, score, patients))]
    if calibrated is not None:
        curves.append((f"calibrated ({calibrated.calibration.method})", reliability_curve(target, usable, patients)))
    reliability = markup.figure(
        "Calibration", figures.calibration(curves),
        "Tenths of the images by score. On the dashed line a probability comes true; limits over patients.",
    )  # fmt: skip
    which = "calibrated score" if calibrated is not None else "score"
    decision = markup.figure(
        "Decision curve", figures.decision(decision_curve(target, usable, patients), which),
        "Melanoma found per 1,000 images, less benign excisions at the rate that the threshold implies: who excises "
        "from 5 % on holds one melanoma worth 19 of them. Worth using where it lies above both others.",
    )  # fmt: skip
    table = metric_rows(evaluation, PROBABILISTIC)
    return markup.section(
        "Scores as probabilities", lead, markup.pair(by_class, reliability), markup.note(told),
        markup.pair(decision, f"<div><h3>Metrics of the score as given</h3>{table}</div>"),
    )  # fmt: skip


def _calibrated(evaluation: Evaluation) -> tuple[Calibrated | None, str]:
    """The calibration that is best on held-out patients and a sentence about it; None where none is better."""
    try:
        found = calibrate(evaluation.target, evaluation.score, evaluation.patients)
    except UserError as error:
        return None, f"Not calibrated: {error}."
    method = found.calibration.method
    if method == NONE:
        return None, "None of the calibrations is better than none, by log loss on held-out patients."
    gain = found.gain[method]
    return found, (
        f"Calibrated by the method with the lowest log loss on held-out patients ({method}): "
        f"{found.log_loss[NONE]:.4f} becomes {found.log_loss[method]:.4f}, a change of "
        f"{markup.signed(gain.value, gain.low, gain.high, 4)}. The order within a fold is kept."
    )
