"""Sections on how well the score ranks: discrimination with thresholds, and shortcuts that rank without a lesion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from melanoma_tf.calibration import operating_points
from melanoma_tf.context.evidence import matched_auc
from melanoma_tf.errors import UserError
from melanoma_tf.evaluation import METRICS, metrics_table
from melanoma_tf.report import figures, markup, statistics
from melanoma_tf.report.contents import Evaluation

RANKING = ("partial_auc", "average_precision", "sensitivity_at_90_specificity", "sensitivity_at_95_specificity")


def discrimination(evaluations: Sequence[tuple[str, Evaluation]]) -> str:
    """ROC and precision-recall curves of all runs; further metrics and thresholds of the first."""
    first = evaluations[0][1]
    band = statistics.roc_band(first)
    curves = [statistics.curves(one.target, one.score) for _, one in evaluations]
    names = [_short(name) for name, _ in evaluations]
    areas = [
        figures.Series(f"{name}  {one.auc.value:.3f}" if one.auc else name, curve, None if number else band)
        for number, (name, (_, one), curve) in enumerate(zip(names, evaluations, curves))
    ]
    averages = [figures.Series(f"{name}  {curve.average_precision:.3f}", curve) for name, curve in zip(names, curves)]
    share = float(first.target.mean())
    roc = markup.figure(
        "ROC curve", figures.roc(areas),
        f"Its area is the AUC. Band: 95 % limits at each point, from {statistics.REPEATS} resamplings of patients.",
    )  # fmt: skip
    precision = markup.figure(
        "Precision and recall", figures.precision_recall(averages, share),
        f"Its area is the average precision, {curves[0].average_precision / share:.1f} times that of a blind guess.",
    )  # fmt: skip
    lead = "How well the score ranks melanoma above benign lesions, and what a threshold would cost."
    return markup.section(
        "Discrimination", lead, markup.pair(roc, precision), metric_rows(first, RANKING), _operating_points(first)
    )


def _short(name: str, length: int = 26) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def metric_rows(evaluation: Evaluation, names: Sequence[str], score: np.ndarray | None = None) -> str:
    """A table of metrics of `evaluation.METRICS` with their intervals; `score` in place of the evaluation's own."""
    chosen = {name: METRICS[name] for name in names}
    found = metrics_table(
        evaluation.target, evaluation.score if score is None else score, evaluation.patients, metrics=chosen
    )
    rows = [(_sentence_case(METRICS[name].label), markup.interval(value)) for name, value in found.items()]
    return markup.table(("Metric", "Value [95 %]"), rows)


def _sentence_case(label: str) -> str:
    return label[:1].upper() + label[1:]


def _operating_points(evaluation: Evaluation) -> str:
    try:
        points = operating_points(evaluation.target, evaluation.score, evaluation.patients)
    except UserError as error:  # too few patients to choose a threshold on some and judge it on others
        return markup.note(f"No thresholds: {error}.")
    rows = [
        (f"{point.wanted:.0%}", f"{point.threshold.value:.2g}", markup.interval(point.sensitivity),
         markup.interval(point.specificity), f"{point.flagged.value:.1%}", _per_found(point.precision.value))
        for point in points
    ]  # fmt: skip
    header = ("Wanted sensitivity", "Threshold", "Sensitivity [95 %]", "Specificity [95 %]", "Flagged", "Per melanoma")
    caption = (
        "Each patient is judged by a threshold that was chosen on other patients. Flagged: share of all images. Per "
        "melanoma: images flagged for each melanoma found."
    )
    return markup.table(header, rows, stack=True) + markup.note(caption)


def _per_found(precision: float) -> str:
    return f"{1 / precision:.1f}" if precision > 0 else markup.NONE


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
