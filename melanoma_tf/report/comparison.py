"""The section that lays several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from melanoma_tf.paired import auc_difference
from melanoma_tf.report import figures, markup
from melanoma_tf.report.contents import Evaluation, Run


def comparison(runs: Sequence[Run], evaluations: Sequence[Evaluation | None]) -> str:
    """AUC of every run, and the paired difference to the first where both are judged on the same images."""
    if len(runs) < 2:
        return ""
    aucs = [one.auc if one is not None else None for one in evaluations]
    low = figures.lowest(aucs)
    rows = []
    for number, (run, one, auc) in enumerate(zip(runs, evaluations, aucs)):
        counts = (f"{auc.images:,}", f"{auc.positives:,}") if auc else (markup.NONE, markup.NONE)
        difference = "" if number == 0 else _difference(evaluations[0], one)
        rows.append((run.name, *counts, markup.interval(auc), figures.mark(auc, low, 1), difference))
    header = ("Run", "Images", "Melanoma", "AUC [95 %]", figures.mark_scale(low), "Above the first [95 %]")
    names = {frozenset(one.rows["image_name"]) for one in evaluations if one is not None}
    hint = "The runs were not judged on the same images; their AUCs compare only roughly." if len(names) > 1 else ""
    lead = "The first is the subject of this page. Differences are paired; a patient's images are one cluster."
    return markup.section(
        "Runs side by side", lead, markup.table(header, rows, stack=True), markup.note(hint) if hint else ""
    )


def _difference(first: Evaluation | None, other: Evaluation | None) -> str:
    if first is None or other is None or first.auc is None or other.auc is None:
        return markup.NONE
    position = pd.Index(other.rows["image_name"]).get_indexer(first.rows["image_name"])
    if len(position) != len(other.score) or (position < 0).any():
        return markup.NONE
    found = auc_difference(first.target, first.score, other.score[position], first.patients)
    return markup.signed(found.value, found.low, found.high, 4)
