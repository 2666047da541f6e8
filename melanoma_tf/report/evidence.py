"""Sections that rest on held-out images: discrimination, scores as probabilities, shortcuts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from melanoma_tf.context.evidence import matched_auc
from melanoma_tf.report import figures, markup, statistics
from melanoma_tf.report.contents import Evaluation


def discrimination(evaluations: Sequence[tuple[str, Evaluation]]) -> str:
    """ROC and precision-recall curves of all runs and the operating points of the first."""
    first = evaluations[0][1]
    resampled = statistics.bootstrap(first)
    curves = [statistics.curves(one.target, one.score) for _, one in evaluations]
    names = [_short(name) for name, _ in evaluations]
    areas = [
        figures.Series(f"{name}  {one.auc.value:.3f}" if one.auc else name, curve, None if number else resampled.band)
        for number, (name, (_, one), curve) in enumerate(zip(names, evaluations, curves))
    ]
    averages = [figures.Series(f"{name}  {curve.average_precision:.3f}", curve) for name, curve in zip(names, curves)]
    share, average = float(first.target.mean()), curves[0].average_precision
    roc = markup.figure(
        "ROC curve", figures.roc(areas),
        f"Its area is the AUC. Band: 95 % limits at each point, from {statistics.REPEATS} resamplings of patients.",
    )  # fmt: skip
    precision = markup.figure(
        "Precision and recall", figures.precision_recall(averages, share),
        f"Average precision {markup.limits(average, *resampled.average_precision)}, {average / share:.1f} times a "
        "blind guess.",
    )  # fmt: skip
    lead = "How well the score ranks melanoma above benign lesions, and what a threshold would cost."
    return markup.section("Discrimination", lead, markup.pair(roc, precision), _operating_points(curves[0], resampled))


def _short(name: str, length: int = 26) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def _operating_points(curves: statistics.Curves, resampled: statistics.Bootstrap) -> str:
    rows = []
    for number, sensitivity in enumerate(statistics.SENSITIVITIES):
        at = curves.first_at(sensitivity)
        specificity, precision = 1 - curves.false_positive_rate[at], curves.precision[at]
        flagged = curves.true_positives[at] + curves.false_positives[at]
        share = flagged / (curves.true_positives[-1] + curves.false_positives[-1])
        rows.append((
            f"{sensitivity:.0%}",
            markup.limits(specificity, *resampled.specificity[:, number]),
            markup.limits(precision, *resampled.precision[:, number]),
            f"{share:.1%}", f"{flagged / curves.true_positives[at]:.1f}",
        ))  # fmt: skip
    header = ("Sensitivity of at least", "Specificity", "Precision", "Images flagged", "Per melanoma found")
    caption = (
        "Each threshold is chosen on the very images it is judged on, so these rows flatter a little. "
        "Brackets: 95 % limits over patients."
    )
    return markup.table(header, rows) + markup.note(caption)


def probabilities(evaluation: Evaluation) -> str:
    """Histogram of both classes, and the mean score beside the share of melanoma."""
    mean, share = float(evaluation.score.mean()), float(evaluation.target.mean())
    caption = f"The mean score is {mean:.2%}, the share of melanoma {share:.2%}."
    picture = markup.figure("Scores by class", figures.scores(evaluation.target, evaluation.score), caption)
    lead = (
        "Scores are probabilities only where they agree with the share of melanoma that is found, and where that share "
        "in use is the one of the training data."
    )
    return markup.section("Scores as probabilities", lead, markup.pair(picture))


def shortcuts(evaluation: Evaluation) -> str:
    """What is reached without looking at a lesion, beside the model."""
    found = statistics.shortcuts(evaluation)
    if not found:
        return ""
    low = figures.lowest([auc for _, auc in found])
    every = [*found, ("This model, looking at the image", evaluation.auc)]
    rows = [(name, markup.interval(auc), figures.mark(auc, low, 1)) for name, auc in every]
    lead = (
        "The selection of images tells something of the label by itself. A model is worth what it adds to these, and "
        "may have learnt some of them."
    )
    matched = matched_auc(evaluation.target, evaluation.score, evaluation.patients)
    hint = (
        f"Between patients with equally many images (within 10 %), where their number tells nothing, the model's AUC "
        f"is {matched:.3f}."
    )
    table = markup.table(("What is known", "AUC [95 %]", figures.mark_scale(low)), rows, total=True)
    return markup.section("Shortcuts in the data", lead, table, markup.note(hint) if np.isfinite(matched) else "")
