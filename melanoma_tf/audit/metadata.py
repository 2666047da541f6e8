"""Tables that contradict themselves."""

from __future__ import annotations

import pandas as pd

from melanoma_tf import schema, tables
from melanoma_tf.audit.finding import WARNING, Finding, counted, skipped
from melanoma_tf.audit.pool import Tables

SECTION = "metadata"
MAX_YEARS = 20  # over which the images of the 2020 set were taken; its ages are rounded to 5
MELANOMA = r"\bmel(?:anoma)?\b"  # as the sets of 2017 to 2020 and HAM10000 write it
UNTOLD = ("", "nan", "unknown")  # a diagnosis that tells nothing about the target


def check_metadata(audited: Tables) -> list[Finding]:
    """Sex and age within a patient, in every table; diagnosis and benign_malignant against the target, in train."""
    parts = [(called, table) for _, called, table in audited.parts()]
    checks = {
        "patients of both sexes": (schema.SEX, _of_both_sexes),
        f"patients whose ages differ by more than {MAX_YEARS} years": (schema.AGE, _of_many_ages),
    }
    findings = []
    for check, (column, look) in checks.items():
        if any(table[column].notna().any() for _, table in parts):
            found = [f"{text} ({called})" for called, table in parts for text in look(table)]
            findings.append(counted(SECTION, check, found, WARNING))
        else:
            findings.append(skipped(SECTION, check, f"the tables have no {column}"))
    return findings + _against_target(audited.train)


def _of_both_sexes(table: pd.DataFrame) -> list[str]:
    sexes = table["sex"].where(table["sex"].isin(tables.SEXES)).groupby(table["patient_id"]).nunique()
    return sexes.index[sexes > 1].tolist()


def _of_many_ages(table: pd.DataFrame) -> list[str]:
    ages = pd.to_numeric(table["age_approx"], errors="coerce").groupby(table["patient_id"]).agg(["min", "max"])
    wide = ages[ages["max"] - ages["min"] > MAX_YEARS]
    return [f"{patient}: {low:g} to {high:g}" for patient, low, high in wide.itertuples()]


def _against_target(train: pd.DataFrame) -> list[Finding]:
    melanoma = train["target"] == 1
    diagnosis = _texts(train, schema.DIAGNOSIS)
    told = ~diagnosis.isin(UNTOLD)
    named = diagnosis.str.contains(MELANOMA)
    malignancy = _texts(train, "benign_malignant")
    # Malignant without melanoma is a carcinoma, unless no diagnosis says so.
    wrong = (melanoma & (malignancy == "benign")) | (~melanoma & (malignancy == "malignant") & ~told)
    checks = {"diagnosis": told & (named != melanoma), "benign_malignant": wrong}
    return [
        counted(SECTION, f"target against {column}", _written(train[bad], column), WARNING)
        if column in train
        else skipped(SECTION, f"target against {column}", f"the table has no column {column}")
        for column, bad in checks.items()
    ]


def _texts(train: pd.DataFrame, column: str) -> pd.Series:
    """The column in small letters, "" where it is empty or absent."""
    if column not in train:
        return pd.Series("", train.index)
    return train[column].astype(object).where(train[column].notna(), "").astype(str).str.strip().str.lower()


def _written(rows: pd.DataFrame, column: str) -> list[str]:
    return [f"{name} (target {target}, {told})"
            for name, target, told in zip(rows["image_name"], rows["target"], rows[column])]  # fmt: skip
