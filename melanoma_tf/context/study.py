"""The whole comparison behind `melanoma-tf context`: input, single images, context, and the shortcuts as a warning."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma_tf.context.evidence import auc_by_size, count_told, images_of_patient, matched_auc
from melanoma_tf.context.features import context_features
from melanoma_tf.context.model import DEFAULT, ContextModel, ContextSettings, Judged, fit_context, judge_folds
from melanoma_tf.cross_fit import patient_folds
from melanoma_tf.metrics import auc_interval, roc_auc
from melanoma_tf.paired import auc_difference
from melanoma_tf.schema import HEIGHT, PATIENT, WIDTH


@dataclass(frozen=True)
class Images:
    """Out-of-fold scores float64[N] or [K,N] (the subject first), the rows of the table and the truth, int[N]."""

    scores: np.ndarray
    table: pd.DataFrame
    target: np.ndarray

    @property
    def subject(self) -> np.ndarray:
        return np.atleast_2d(self.scores)[0]

    @property
    def patients(self) -> np.ndarray:
        return self.table[PATIENT].to_numpy(str)

    def fit(self, settings: ContextSettings) -> ContextModel:
        return fit_context(self.scores, self.table, self.target, settings)

    def folds(self, folds: int, seed: int) -> np.ndarray:
        return patient_folds(self.target, self.patients, folds, seed)

    def cross_fit(self, fold: np.ndarray, settings: ContextSettings) -> Judged:
        return judge_folds(self.scores, self.table, self.target, fold, settings)

    def auc(self, score: np.ndarray) -> dict:
        return dataclasses.asdict(auc_interval(self.target, score, self.patients))

    def difference(self, before: np.ndarray, after: np.ndarray) -> dict:
        return dataclasses.asdict(auc_difference(self.target, before, after, self.patients))


@dataclass(frozen=True)
class Study:
    """What `study_context` found.

    Attributes: model, fitted on all images. fold int[N]. scores float64[N], cross-fitted. record, for context.json.
    """

    model: ContextModel
    fold: np.ndarray
    scores: np.ndarray
    record: dict


def study_context(
    images: Images, settings: ContextSettings = DEFAULT, folds: int = 5, seed: int = 2020, repeats: int = 0,
    shortcuts: bool = False,
) -> Study:  # fmt: skip
    """Fits, cross-fits and compares; `repeats`, further seeds of the folds; `shortcuts`, add them as a comparison."""
    model, fold = images.fit(settings), images.folds(folds, seed)
    judged = images.cross_fit(fold, settings)
    named = {"input": images.subject, "single": judged.single, "context": judged.context}
    if settings.single:
        del named["context"]
    brought = None
    if settings.embeddings:
        scores = images.cross_fit(fold, dataclasses.replace(settings, embeddings=False)).context
        named = {"input": images.subject, "single": judged.single, "scores": scores, "context": judged.context}
        brought = images.difference(scores, judged.context)
    record = {
        "settings": dataclasses.asdict(settings) | {"folds": folds, "seed": seed},
        "auc": {name: images.auc(score) for name, score in named.items()},
        "apparent": images.auc(model.judge(images.scores, images.table)),
        "difference": images.difference(images.subject, judged.context),
        "difference_of_companions": images.difference(judged.single, judged.context),
        "difference_of_embeddings": brought,
        "by_size": auc_by_size(images.target, named, images.patients),
        "matched": {name: matched_auc(images.target, score, images.patients) for name, score in named.items()},
        "count_told": _count_told(images, fold, settings.embeddings),
        "repeats": [_repeat(images, settings, folds, number) for number in range(seed + 1, seed + repeats + 1)],
        "shortcuts": _shortcuts(images, fold, settings, judged.context) if shortcuts else None,
    }
    return Study(model, fold, judged.context, record)


def _count_told(images: Images, fold: np.ndarray, embeddings: bool) -> dict[str, float]:
    features = {
        "input": pd.DataFrame({"score": images.subject}),
        "single": context_features(images.scores, images.table, single=True),
        "context": context_features(images.scores, images.table),
        "extremes": context_features(images.scores, images.table, extremes=True),
    }
    if embeddings:
        features["embeddings"] = context_features(images.scores, images.table, embeddings=True)
    return {name: count_told(columns, images.patients, fold) for name, columns in features.items()}


def _repeat(images: Images, settings: ContextSettings, folds: int, seed: int) -> dict:
    judged = images.cross_fit(images.folds(folds, seed), settings)
    return {
        "seed": seed,
        "single": roc_auc(images.target, judged.single),
        "context": roc_auc(images.target, judged.context),
        "matched": matched_auc(images.target, judged.context, images.patients),
    }


def _shortcuts(images: Images, fold: np.ndarray, settings: ContextSettings, without: np.ndarray) -> dict:
    with_them = images.cross_fit(fold, dataclasses.replace(settings, shortcuts=True)).context
    return {
        "alone": _alone(images),
        "auc": images.auc(with_them),
        "difference": images.difference(without, with_them),
        "matched": matched_auc(images.target, with_them, images.patients),
    }


def _alone(images: Images) -> dict[str, float]:
    """AUC of each shortcut as if it were a score, turned so that it is 0.5 or more; an unknown size counts as 0."""
    values = {"images_of_patient": images_of_patient(images.patients)}
    for name in (WIDTH, HEIGHT):
        if name in images.table:
            values[name] = pd.to_numeric(images.table[name], errors="coerce").fillna(0).to_numpy()
    aucs = {name: roc_auc(images.target, value) for name, value in values.items()}
    return {name: max(auc, 1 - auc) for name, auc in aucs.items()}
