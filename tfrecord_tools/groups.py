"""The images of a set by class and by patient, as far as its records or its table know them."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from melanoma_tf import schema, tables

NO_TARGET, NO_DIAGNOSIS = "no target", "no diagnosis"
_DIAGNOSES = {code: name for name, code in schema.CODES[schema.DIAGNOSIS].items()}


@dataclass(frozen=True)
class RecordFacts:
    """Of one record: its image, where it is, and what is known of it.

    Attributes:
      shard: number in the set; offset: in bytes. target, patient, diagnosis: None where nobody tells.
    """

    image_name: str
    shard: int
    offset: int
    target: int | None = None
    patient: str | None = None
    diagnosis: str | None = None


@dataclass(frozen=True)
class Group:
    """Images of one class. `melanoma`: those of target 1; `patients`: how many they are of, None if unknown."""

    name: str
    images: int
    melanoma: int
    patients: int | None


@dataclass(frozen=True)
class PatientSummary:
    """Of a set that knows patients.

    Attributes:
      source: the file that knows, or `records`. patients; unknown: images without a patient.
      least, median, most: images per patient. straddling: patients with images in several shards.
    """

    source: str
    patients: int
    unknown: int
    least: int
    median: float
    most: int
    straddling: int

    def line(self) -> str:
        unknown = f", {self.unknown} images without one" if self.unknown else ""
        return (
            f"{self.patients} patients by {self.source}{unknown}; images per patient: {self.least} least, "
            f"{self.median:g} median, {self.most} most; {self.straddling} patients in several shards"
        )


def facts_of(fields: dict[str, list], shard: int, offset: int) -> RecordFacts:
    """What a record of any dialect says; patient and diagnosis are codes, -1 is missing."""
    name = fields.get(schema.IMAGE_NAME) or [b""]
    target = fields.get(schema.TARGET) or [None]
    diagnosis = _code(fields, schema.DIAGNOSIS)
    return RecordFacts(
        name[0].decode(errors="replace") if isinstance(name[0], bytes) else str(name[0]), shard, offset, target[0],
        None if (patient := _code(fields, schema.PATIENT)) is None else str(patient),
        None if diagnosis is None else _DIAGNOSES.get(diagnosis, f"code {diagnosis}"),
    )  # fmt: skip


def _code(fields: dict[str, list], name: str) -> int | None:
    values = fields.get(name)
    return values[0] if values and isinstance(values[0], int) and values[0] != schema.MISSING else None


def join_table(facts: list[RecordFacts], path: str) -> list[RecordFacts]:
    """The same with the target, patient and diagnosis of the table at `path` where a record says nothing.

    Of the diagnosis the table's word counts: codes differ from set to set. Raises UserError for what is no table.
    """
    table = tables.read_csv(path)
    tables.require_columns(table, ("image_name",), path)
    table.index = pd.Index(tables.clean_names(table, path))
    table = table.reindex([one.image_name for one in facts])
    target = pd.to_numeric(_column(table, schema.TARGET), errors="coerce").tolist()
    patient, diagnosis = (_column(table, column).tolist() for column in (schema.PATIENT, schema.DIAGNOSIS))
    return [
        replace(
            one,
            target=_known(target[row]) if one.target is None else one.target,
            patient=one.patient or _text(patient[row]),
            diagnosis=_text(diagnosis[row]) or one.diagnosis,
        )
        for row, one in enumerate(facts)
    ]


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    return table[name] if name in table else pd.Series(None, index=table.index, dtype=object)


def _known(value: Any) -> int | None:
    return None if pd.isna(value) else int(value)


def _text(value: Any) -> str | None:
    return None if pd.isna(value) else str(value)


def by_target(facts: Iterable[RecordFacts]) -> list[Group]:
    """One group a target, ascending; [] for a set without targets."""
    return _groups(facts, lambda one: NO_TARGET if one.target is None else str(one.target), NO_TARGET)


def by_diagnosis(facts: Iterable[RecordFacts]) -> list[Group]:
    """One group a diagnosis, most images first; [] for a set without diagnoses."""
    groups = _groups(facts, lambda one: one.diagnosis or NO_DIAGNOSIS, NO_DIAGNOSIS)
    return sorted(groups, key=lambda group: (-group.images, group.name))


def _groups(facts: Iterable[RecordFacts], key: Callable[[RecordFacts], str], without: str) -> list[Group]:
    members: dict[str, list[RecordFacts]] = {}
    for one in facts:
        members.setdefault(key(one), []).append(one)
    if set(members) <= {without}:
        return []
    return [_group(name, members[name]) for name in sorted(members)]


def _group(name: str, members: list[RecordFacts]) -> Group:
    patients = {one.patient for one in members} - {None}
    return Group(name, len(members), sum(one.target == 1 for one in members), len(patients) or None)


def summarise_patients(facts: list[RecordFacts], source: str) -> PatientSummary | None:
    """None for a set that knows no patients."""
    images = Counter(one.patient for one in facts if one.patient is not None)
    if not images:
        return None
    shards: dict[str, set[int]] = {}
    for one in facts:
        if one.patient is not None:
            shards.setdefault(one.patient, set()).add(one.shard)
    return PatientSummary(
        source, len(images), len(facts) - images.total(), min(images.values()), statistics.median(images.values()),
        max(images.values()), sum(len(of_patient) > 1 for of_patient in shards.values()),
    )  # fmt: skip
