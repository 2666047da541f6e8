"""Sections on the training: folds, learning curves, and what the model saw."""

from __future__ import annotations

import numpy as np
import pandas as pd

from melanoma_tf import metrics
from melanoma_tf.report import figures, markup
from melanoma_tf.report.contents import Evaluation, Run
from melanoma_tf.report.examples import contact_sheet


def folds(run: Run, evaluation: Evaluation | None) -> str:
    """Each fold's held-out images with their AUC, and how it was trained."""
    held_out = _held_out_table(run, evaluation)
    if not held_out and not run.history:
        return ""
    lead = "Each model is judged on the fold it was not trained on. Folds differ by chance; see the intervals."
    if not run.history:
        return markup.section("Folds", lead, held_out)
    header = ("Fold", "Epochs", "Last loss", "Images/s", "Minutes")
    trained = markup.table(header, [(name, *_training(history)) for name, history in run.history.items()])
    return markup.section("Folds and learning", lead if held_out else "", held_out, trained, _learning_curves(run))


def _held_out_table(run: Run, evaluation: Evaluation | None) -> str:
    if evaluation is None or evaluation.fold is None:
        return ""
    names = [name for name in run.history if name.isdigit()] or list(map(str, np.unique(evaluation.fold)))
    found = {name: _held_out(int(name), evaluation) for name in names}
    low = figures.lowest([auc for _, auc in found.values()])
    overall = evaluation.auc.value if evaluation.auc else None
    rows = [(name, *counts, markup.interval(auc), figures.mark(auc, low, 1, overall))
            for name, (counts, auc) in found.items()]  # fmt: skip
    return markup.table(("Fold", "Melanoma of images", "Patients", "AUC [95 %]", figures.mark_scale(low)), rows)


def _held_out(fold: int, evaluation: Evaluation) -> tuple[tuple[str, str], metrics.Interval | None]:
    mask = evaluation.fold == fold
    target, patients = evaluation.target[mask], evaluation.patients[mask]
    both = len(np.unique(target)) == 2
    auc = metrics.auc_interval(target, evaluation.score[mask], patients) if both else None
    return (f"{int(target.sum()):,} of {len(target):,}", f"{len(np.unique(patients)):,}"), auc


def _training(history: pd.DataFrame) -> tuple[str, ...]:
    seconds = pd.to_numeric(history["seconds"], errors="coerce") if "seconds" in history else pd.Series(dtype=float)
    images = pd.to_numeric(history["images"], errors="coerce") if "images" in history else pd.Series(dtype=float)
    total = float(seconds.sum())
    speed = f"{images.sum() / total:,.0f}" if total and images.sum() else markup.NONE
    loss = pd.to_numeric(history["loss"], errors="coerce").iloc[-1]
    return str(len(history)), f"{loss:.4f}", speed, f"{total / 60:.1f}" if total else markup.NONE


def _learning_curves(run: Run) -> str:
    curves = [markup.figure("Training loss", figures.learning(run.history, "loss", "Training loss"))]
    judged = {fold: history for fold, history in run.history.items() if "val_auc" in history}
    if any(pd.to_numeric(history["val_auc"], errors="coerce").notna().any() for history in judged.values()):
        chart = figures.learning(judged, "val_auc", "AUC")
        curves.append(markup.figure("AUC on the held-out fold", chart))
    return markup.pair(*curves)


def augmented(run: Run) -> str:
    """The contact sheet of the first fold's training."""
    sheet = contact_sheet(run.augmented) if run.augmented else None
    if sheet is None:
        return ""
    lead = "A batch after augmentation, at the size and in the colours that the network is given."
    return markup.section("What the model saw", lead, markup.picture(sheet, "contact sheet of training images"))
