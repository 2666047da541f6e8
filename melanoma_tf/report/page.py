"""Puts the page together: the headline, what it is for, the evidence, and how to make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from melanoma_tf.report import evidence, origin, training
from melanoma_tf.report.comparison import comparison
from melanoma_tf.report.contents import Evaluation, Run, evaluate, told_apart
from melanoma_tf.report.examples import HeatMap
from melanoma_tf.report.fairness import subgroups
from melanoma_tf.report.header import header, scope
from melanoma_tf.report.hits import hits_and_misses
from melanoma_tf.report.markup import document
from melanoma_tf.report.members import members
from melanoma_tf.report.patient_context import patient_context
from melanoma_tf.report.probability import probabilities


def build_report(
    runs: Sequence[Run], table: pd.DataFrame, pictures: Mapping[str, bytes] | None = None,
    heat_maps: Mapping[str, HeatMap] | None = None, command: str = "",
) -> str:  # fmt: skip
    """One HTML page without links to anything outside; the same input gives the same bytes.

    Args:
      runs: one or more; the first is the subject, the others are compared with it.
      table: the training table with image_name, patient_id, target and metadata.
      pictures: JPEG or PNG bytes by image name, for the hits and misses (see `choose_examples`).
      heat_maps: where the model looked, by image name, likewise (see `melanoma_tf.grad_cam`).
      command: the command that makes the page, to be shown on it.

    Raises: UserError where predictions do not fit the table.
    """
    runs = told_apart(runs)
    subject = runs[0]
    evaluations = [None if run.oof is None else evaluate(run.oof, table, run.name) for run in runs]
    first = evaluations[0]
    judged = first if first is not None and first.auc is not None else None
    parts = [header(subject, first), scope(), comparison(runs, evaluations)]
    parts += _evidence(runs, evaluations) if judged else []
    parts += [members(subject), patient_context(subject), training.folds(subject, first), training.augmented(subject)]
    if judged:
        parts += [subgroups(judged), evidence.shortcuts(judged), hits_and_misses(judged, pictures or {}, heat_maps)]
    parts += [origin.how_it_was_made(runs, command), origin.data_and_licence()]
    return document(f"{subject.name}: melanoma training report", "\n".join(part for part in parts if part))


def _evidence(runs: Sequence[Run], evaluations: Sequence[Evaluation | None]) -> list[str]:
    """The sections of curves; the first run is the subject."""
    both = [(run.name, one) for run, one in zip(runs, evaluations) if one is not None and one.auc is not None]
    return [evidence.discrimination(both), probabilities(both[0][1])]
