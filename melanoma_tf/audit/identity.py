"""Patients and image names that are where they must not be."""

from __future__ import annotations

import numpy as np
import pandas as pd

from melanoma_tf.audit.finding import LEAK, Finding, counted, skipped
from melanoma_tf.audit.pool import EXTERNAL, TEST, TRAIN, Tables, plain_names
from melanoma_tf.fold_counts import UNUSED

SECTION = "patients and names"
NO_PATIENTS = "the table names no patients"


def check_identity(tables: Tables) -> list[Finding]:
    """Patients over folds; patients and image names in two of train, test and the external sets."""
    return [_patients_over_folds(tables), *_train_and_test(tables), *_external(tables)]


def _patients_over_folds(tables: Tables) -> Finding:
    check = "patients in several folds"
    if tables.fold is None:
        return skipped(SECTION, check, "needs --folds")
    if not _knows_patients(tables.train):
        return skipped(SECTION, check, NO_PATIENTS)
    used = tables.train.assign(fold=tables.fold)[np.asarray(tables.fold) != UNUSED]
    folds = used.groupby("patient_id", sort=False)["fold"].unique()
    found = [
        f"{patient} (folds {', '.join(map(str, sorted(numbers)))})"
        for patient, numbers in folds.items()
        if len(numbers) > 1
    ]
    return counted(SECTION, check, found, LEAK, "a fold is validated on patients it was trained on")


def _train_and_test(tables: Tables) -> list[Finding]:
    checks = {"patients in train and test": "patient_id", "images in train and test": "image_name"}
    if tables.test is None:
        return [skipped(SECTION, check, "needs --test_csv") for check in checks]
    findings = []
    for check, column in checks.items():
        if column == "patient_id" and not (_knows_patients(tables.train) and _knows_patients(tables.test)):
            findings.append(skipped(SECTION, check, NO_PATIENTS))
        else:
            findings.append(counted(SECTION, check, _shared(tables.train[column], tables.test[column]), LEAK))
    return findings


def _external(tables: Tables) -> list[Finding]:
    checks = {TRAIN: tables.train, TEST: tables.test}
    if not tables.external:
        return [skipped(SECTION, f"{role} images in {EXTERNAL} sets, by name", "needs --external") for role in checks]
    findings = []
    for role, table in checks.items():
        check = f"{role} images in {EXTERNAL} sets, by name"
        if table is None:
            findings.append(skipped(SECTION, check, "needs --test_csv"))
            continue
        found = [
            f"{name} ({called})"
            for called, external in tables.external.items()
            for name in _shared(plain_names(table["image_name"]), plain_names(external["image_name"]))
        ]
        findings.append(counted(SECTION, check, found, LEAK, "external sets are trained on in every fold"))
    return findings


def _knows_patients(table: pd.DataFrame) -> bool:
    """Tables without patients are read with every image as its own."""
    return bool((table["patient_id"] != table["image_name"]).any())


def _shared(one: pd.Series, other: pd.Series) -> list[str]:
    return one[one.isin(other)].drop_duplicates().tolist()
