"""Puts the page together: the headline, what it is for, the evidence, and how to make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from melanoma_tf import metrics
from melanoma_tf.report import evidence, figures, markup
from melanoma_tf.report.contents import Evaluation, Run, evaluate
from melanoma_tf.report.examples import contact_sheet

FOR = (
    "Research on the SIIM-ISIC 2020 task: ranking dermoscopic images by the probability of melanoma.",
    "Comparing training recipes on the same images and folds.",
)
NOT_FOR = (
    "No medical device: no diagnosis, no triage, no decision about a person.",
    "Not tested on other clinics, cameras, photographs without a dermatoscope, or skin types that the data lack.",
)
LICENCE = (
    "Images and labels of the SIIM-ISIC 2020 challenge: CC BY-NC 4.0, not for commercial use. Cite: International Skin "
    "Imaging Collaboration, SIIM-ISIC 2020 Challenge Dataset, https://doi.org/10.34970/2020-ds01 (2020), and "
    "V. Rotemberg et al., A patient-centric dataset of images and metadata for identifying melanomas using clinical "
    "context, Scientific Data 8, 34 (2021). Other data have their own terms."
)


def build_report(runs: Sequence[Run], table: pd.DataFrame, pictures: Mapping[str, bytes] | None = None) -> str:
    """One HTML page without links to anything outside; the same input gives the same bytes.

    Args:
      runs: one or more; the first is the subject, the others are compared with it.
      table: the training table with image_name, patient_id, target and metadata.
      pictures: JPEG or PNG bytes by image name, for the hits and misses (see `choose_examples`).

    Raises: UserError where predictions do not fit the table, or matplotlib is missing.
    """
    subject = runs[0]
    evaluations = [(run.name, evaluate(run.oof, table, run.name)) for run in runs if run.oof is not None]
    first = evaluations[0][1] if subject.oof is not None else None
    parts = [_header(subject, first), _scope(), _comparison(runs, evaluations)]
    if first is not None and first.auc is not None:
        both = [(name, evaluation) for name, evaluation in evaluations if evaluation.auc is not None]
        parts += [evidence.discrimination(both), evidence.score_distribution(first)]
    parts += [_members(subject), _folds(subject, first), _augmented(subject)]
    if first is not None and first.auc is not None:
        parts += [evidence.hits_and_misses(first, pictures or {}), evidence.subgroups(first), evidence.shortcuts(first)]
    parts += [_reproduce(runs), markup.section("Data and licence", "", markup.note(LICENCE))]
    return markup.document(f"{subject.name}: melanoma training report", "\n".join(part for part in parts if part))


def _header(run: Run, evaluation: Evaluation | None) -> str:
    what = "Blend of models" if run.blend else "Training run"
    title = f'<header>\n<p class="kicker">{what} · melanoma on dermoscopic images</p>\n<h1>{markup.text(run.name)}</h1>'
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


def _scope() -> str:
    lists = [
        f"<div><h3>{title}</h3><ul>{''.join(f'<li>{markup.text(line)}</li>' for line in lines)}</ul></div>"
        for title, lines in (("What this is for", FOR), ("What this is not for", NOT_FOR))
    ]
    return f'<div class="scope pair">{"".join(lists)}</div>'


def _comparison(runs: Sequence[Run], evaluations: Sequence[tuple[str, Evaluation]]) -> str:
    if len(runs) < 2:
        return ""
    scored = dict(zip((id(run) for run in runs if run.oof is not None), (one for _, one in evaluations)))
    rows = []
    for run in runs:
        auc = scored[id(run)].auc if id(run) in scored else None
        images, melanoma = (f"{auc.images:,}", f"{auc.positives:,}") if auc else (markup.NONE, markup.NONE)
        rows.append((run.name, images, melanoma, markup.interval(auc)))
    same = len({frozenset(evaluation.rows["image_name"]) for _, evaluation in evaluations}) < 2
    hint = "" if same else markup.note("The runs were not judged on the same images; their AUCs compare only roughly.")
    table = markup.table(("Run", "Images", "Melanoma", "AUC [95 %]"), rows)
    return markup.section("Runs side by side", "The first is the subject of this page.", table, hint)


def _members(run: Run) -> str:
    if not run.blend:
        return ""
    rows = [
        (member.get("path"), _weight(member.get("weight")), _stored(member.get("auc")))
        for member in run.blend.get("members", ())
    ]
    rows.append((f"blend ({run.blend.get('method')})", "", _stored(run.blend.get("auc"))))
    lead = "What was blended, with the weight of each member and its AUC on the same images."
    return markup.section("Members", lead, markup.table(("Member", "Weight", "AUC [95 %]"), rows, total=True))


def _weight(weight: float | None) -> str:
    return "learned" if weight is None else f"{float(weight):.3f}"


def _stored(auc: dict[str, Any] | None) -> str:
    return markup.interval(metrics.Interval(**auc) if auc else None)


def _folds(run: Run, evaluation: Evaluation | None) -> str:
    lead = "Each model is judged on the fold it was not trained on. Folds differ by chance; see the intervals."
    header: tuple[str, ...] = ("Fold", "Images", "Melanoma", "Patients", "AUC [95 %]")
    if run.history:
        header = (*header, "Epochs", "Last loss", "Images/s", "Minutes")
        rows = [(name, *_held_out(name, evaluation), *_training(history)) for name, history in run.history.items()]
        return markup.section("Folds and learning", lead, markup.table(header, rows), _learning_curves(run))
    if evaluation is None or evaluation.fold is None:
        return ""
    rows = [(name, *_held_out(name, evaluation)) for name in map(str, np.unique(evaluation.fold))]
    return markup.section("Folds", lead, markup.table(header, rows))


def _learning_curves(run: Run) -> str:
    curves = [markup.figure(figures.learning(run.history, "loss", "Training loss"), "training loss per epoch")]
    if any(pd.to_numeric(history["val_auc"], errors="coerce").notna().any() for history in run.history.values()):
        picture = figures.learning(run.history, "val_auc", "AUC on the held-out fold")
        curves.append(markup.figure(picture, "validation AUC per epoch"))
    return markup.pair(*curves)


def _held_out(name: str, evaluation: Evaluation | None) -> tuple[str, ...]:
    if evaluation is None or evaluation.fold is None or not name.isdigit():
        return (markup.NONE,) * 4
    mask = evaluation.fold == int(name)
    target = evaluation.target[mask]
    both = len(np.unique(target)) == 2
    auc = metrics.auc_interval(target, evaluation.score[mask], evaluation.patients[mask]) if both else None
    patients = len(np.unique(evaluation.patients[mask]))
    return f"{int(mask.sum()):,}", f"{int(target.sum()):,}", f"{patients:,}", markup.interval(auc)


def _training(history: pd.DataFrame) -> tuple[str, ...]:
    seconds = pd.to_numeric(history["seconds"], errors="coerce") if "seconds" in history else pd.Series(dtype=float)
    images = pd.to_numeric(history["images"], errors="coerce") if "images" in history else pd.Series(dtype=float)
    total = float(seconds.sum())
    speed = f"{images.sum() / total:,.0f}" if total and images.sum() else markup.NONE
    return str(len(history)), f"{history['loss'].iloc[-1]:.4f}", speed, f"{total / 60:.1f}" if total else markup.NONE


def _augmented(run: Run) -> str:
    sheet = contact_sheet(run.augmented) if run.augmented else None
    if sheet is None:
        return ""
    lead = "A batch after augmentation, at the size and in the colours that the network is given."
    return markup.section(
        "What the model saw", lead, markup.figure(sheet, "contact sheet of training images", "", "sheet")
    )


def _reproduce(runs: Sequence[Run]) -> str:
    parts = []
    for run in runs:
        if run.record:
            title = f'<h3 class="gap">{markup.text(run.name)}</h3>' if len(runs) > 1 else ""
            parts += [title, f"<pre>{markup.text(_command(run))}</pre>", markup.settings(_origin(run))]
            parts += ['<h3 class="gap">Configuration</h3>', markup.settings(_flat(run.config))]
    return markup.section("How it was made", "", *parts) if parts else ""


def _command(run: Run) -> str:
    return str(run.record.get("command", "")).replace(" --", " \\\n  --")


def _origin(run: Run) -> dict[str, Any]:
    record = run.record
    folds = record.get("folds") or {}
    values = {key: record[key] for key in ("data_dir", "train_csv", "test_csv") if record.get(key)}
    values |= {"folds": folds["path"]} if folds.get("path") else {}
    values |= {"folds sha256": str(folds["sha256"])[:16]} if folds.get("sha256") else {}
    return values | _flat(record.get("versions") or {})


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
