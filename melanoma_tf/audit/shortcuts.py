"""What tells the label without a look at the lesion: how the set was collected."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from melanoma_tf import schema
from melanoma_tf.audit.finding import OK, WARNING, Finding, counted, skipped
from melanoma_tf.cross_fit import Judge, cross_fitted, patient_folds
from melanoma_tf.errors import UserError
from melanoma_tf.metrics import auc_interval

SECTION, GROUPS = "shortcuts, each alone", "groups of one class"
FOLDS = 5
ALARMING = 0.6  # lower limit of an AUC; sex, age and site together reach 0.65 on the 2020 set
PRIOR = 10.0  # images at the overall rate that every source starts with
EXPECTED = 5.0  # of the missing class, in a group that has none: by chance in 0.7 % of groups

Fit = Callable[[np.ndarray], Judge]


def check_shortcuts(train: pd.DataFrame, seen: pd.DataFrame | None) -> list[Finding]:
    """AUC of image size, images of the patient, file size and source, each alone, cross-fitted by patient.

    Args: train: the table. seen: `width`, `height` and `bytes` of the images by name, or None.
    """
    per_patient = train["patient_id"].map(train["patient_id"].value_counts()).to_numpy(np.float64)
    size, what = _sizes(train, seen)
    read = None if seen is None else seen.reindex(train["image_name"])["bytes"].to_numpy(np.float64)[:, None]
    source = train[schema.SOURCE].astype(str).to_numpy() if schema.SOURCE in train else None
    return [
        _number(what, train, size, "needs columns width and height, or images"),
        _number("images of the patient", train, per_patient[:, None], ""),
        _number("file size", train, read, "needs --images or --data_dir"),
        _judge("source", train, None if source is None else lambda rows: _rates(source, train, rows),
               "the table has no column source"),
    ]  # fmt: skip


def _sizes(train: pd.DataFrame, seen: pd.DataFrame | None) -> tuple[np.ndarray | None, str]:
    """float64[N,2], width and height; of the original where the table or the records know it."""
    columns = [schema.WIDTH, schema.HEIGHT]
    if set(columns) <= set(train):
        return train[columns].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64), "original image size"
    if seen is None:
        return None, "image size"
    return seen.reindex(train["image_name"])[columns].to_numpy(np.float64), "image size"


def _number(check: str, train: pd.DataFrame, values: np.ndarray | None, why: str) -> Finding:
    if values is None:
        return skipped(SECTION, check, why)
    if len(np.unique(values[~np.isnan(values).any(axis=1)], axis=0)) < 2:
        return skipped(SECTION, check, "the same for all images, or not known")
    return _judge(check, train, lambda rows: _trees(values, train, rows), why)


def _judge(check: str, train: pd.DataFrame, fit: Fit | None, why: str) -> Finding:
    import sklearn.ensemble  # noqa: F401  before the limit, which binds what is loaded
    from threadpoolctl import threadpool_limits

    if fit is None:
        return skipped(SECTION, check, why)
    target, patients = train["target"].to_numpy(), train["patient_id"].to_numpy()
    try:
        with threadpool_limits(1):  # threads that wait for each other make so small a fit slow on a busy machine
            score = cross_fitted(fit, patient_folds(target, patients, FOLDS))
    except UserError as error:
        return skipped(SECTION, check, str(error))
    auc = auc_interval(target, score, patients)
    return Finding(SECTION, check, WARNING if auc.low > ALARMING else OK, auc=auc)


def _trees(values: np.ndarray, train: pd.DataFrame, rows: np.ndarray) -> Judge:
    """Boosted trees of 8 leaves: a shortcut need not be monotone."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, early_stopping=False, random_state=0)
    model.fit(values[rows], train["target"].to_numpy()[rows])
    return lambda held_out: model.predict_proba(values[held_out])[:, 1]


def _rates(groups: np.ndarray, train: pd.DataFrame, rows: np.ndarray) -> Judge:
    """The rate of melanoma in each group."""
    target = train["target"].to_numpy()
    overall = float(target[rows].mean())
    found = pd.Series(target[rows]).groupby(groups[rows]).agg(["sum", "size"])
    rate = (found["sum"] + PRIOR * overall) / (found["size"] + PRIOR)
    return lambda held_out: pd.Series(groups[held_out]).map(rate).fillna(overall).to_numpy(np.float64)


def check_groups(train: pd.DataFrame) -> list[Finding]:
    """Sources and sites with images of one class only, where chance would have given several of the other."""
    rate = train["target"].mean()
    findings = []
    for column, check in ((schema.SOURCE, "sources"), (schema.SITE, "sites")):
        if column not in train or train[column].isna().all():
            findings.append(skipped(GROUPS, check, f"the table has no column {column}"))
            continue
        found = train.groupby(train[column].astype(str).where(train[column].notna(), "not recorded"))["target"]
        texts = []
        for name, target in found:
            expected = len(target) * (1 - rate if target.iloc[0] == 1 else rate)
            if target.nunique() == 1 and expected >= EXPECTED:
                kind = "melanoma" if target.iloc[0] == 1 else "no melanoma"
                texts.append(f"{name}: {kind} among {len(target):,}")
        findings.append(counted(GROUPS, check, texts, WARNING, "the group tells the label"))
    return findings
