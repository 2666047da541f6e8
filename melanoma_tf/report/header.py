"""The top of the page: the headline number with its interval, and what the model is and is not for."""

from __future__ import annotations

import pandas as pd

from melanoma_tf.report import markup
from melanoma_tf.report.contents import Evaluation, Run

FOR = (
    "Research on the SIIM-ISIC 2020 task: ranking dermoscopic images by the probability of melanoma.",
    "Comparing training recipes on the same images and folds.",
)
NOT_FOR = (
    "No medical device: no diagnosis, no triage, no decision about a person.",
    "Not tested on other clinics, cameras, photographs without a dermatoscope, or skin types that the data lack.",
)


def header(run: Run, evaluation: Evaluation | None) -> str:
    """The name, the AUC with its interval and what it rests on, or why there is none."""
    kicker = f'<p class="kicker">{run.kind} · melanoma on dermoscopic images</p>'
    title = f"<header>\n{kicker}\n<h1>{markup.text(run.name)}</h1>{''.join(map(markup.note, run.notes))}"
    if evaluation is None:
        reason = "Trained on every image (or only test images were predicted), so nothing here measures quality."
        return f"{title}\n{_without_auc('No held-out images', reason)}</header>"
    if evaluation.auc is None:
        reason = f"All {len(evaluation.target):,} held-out images are of one class."
        return f"{title}\n{_without_auc('No AUC', reason)}</header>"
    auc = evaluation.auc
    facts = {
        "95 % interval": f"{auc.low:.3f} to {auc.high:.3f}", "Images": f"{auc.images:,}",
        "Melanoma": f"{auc.positives:,} ({auc.positives / auc.images:.2%})", "Patients": f"{auc.clusters:,}",
    }  # fmt: skip
    rows = "".join(f"<dt>{markup.text(name)}</dt><dd>{markup.text(value)}</dd>" for name, value in facts.items())
    meaning = (
        f"Of a melanoma and a benign image taken at random, the melanoma has the higher score in {auc.value:.1%} of "
        "cases. The interval treats the images of a patient as one observation."
    )
    value = f'<div><p class="label">Out-of-fold ROC AUC</p><p class="value">{auc.value:.3f}</p></div>'
    headline = f'<div class="headline">{value}<dl>{rows}</dl></div>'
    return f'{title}\n{headline}\n<p class="lead">{markup.text(meaning)}</p>{_leak(evaluation)}</header>'


def _without_auc(headline: str, reason: str) -> str:
    return f'<div class="headline"><div class="none">{headline}</div></div>{markup.note(reason)}'


def _leak(evaluation: Evaluation) -> str:
    if evaluation.fold is None:
        return ""
    folds = pd.Series(evaluation.fold).groupby(evaluation.patients).nunique()
    straddling = int((folds > 1).sum())
    if not straddling:
        return markup.note("No patient has images in more than one fold.")
    return markup.note(f"{straddling:,} patients have images in more than one fold: the AUC is too high.", "warning")


def scope() -> str:
    """What the model is for and what it is not for."""
    lists = [
        f"<div><h3>{title}</h3><ul>{''.join(f'<li>{markup.text(line)}</li>' for line in lines)}</ul></div>"
        for title, lines in (("What this is for", FOR), ("What this is not for", NOT_FOR))
    ]
    return f'<div class="scope pair">{"".join(lists)}</div>'
