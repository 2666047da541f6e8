"""What is in a folder of shards: dialect, counts, classes, patients, picture sizes."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from melanoma_tf import schema
from melanoma_tf.data import shards as shard_files
from melanoma_tf.errors import RejectError, UserError
from tfrecord_tools import groups
from tfrecord_tools.images import open_image
from tfrecord_tools.sets import find_sets, find_table

OFFICIAL_FIELDS = {schema.IMAGE, schema.IMAGE_NAME, schema.TARGET}
OUR_FIELDS = {*OFFICIAL_FIELDS, *schema.DIALECTS["ours"]}
CODED_FIELDS = set(schema.DIALECTS["remade"])
SET_COLUMNS = ["set", "dialect", "shards", "records", "in names", "classes", "mean bytes", "JPEG sizes"]


@dataclass
class SetContents:
    """Of all shards of one prefix.

    Attributes:
      name: the prefix, `train` or `test` as a rule; paths: its shards.
      records: found; promised: by the names of the shards, None if one of them promises nothing.
      dialects: `official`, `remade`, `ours` or `unknown` -> records, by their fields.
      fields: field name -> type -> records; targets: value (None where absent) -> records.
      sizes: (width, height) in pixels by the JPEG header, None for what is no JPEG -> records.
      image_bytes: sum over the JPEG.
      facts: of every record, with what the table beside knows; patients: of the set, None where nobody knows them.
      note: why the table beside could not be used, "" if it could or there is none.
    """

    name: str
    paths: list[str]
    records: int = 0
    promised: int | None = 0
    dialects: Counter = field(default_factory=Counter)
    fields: dict[str, Counter] = field(default_factory=dict)
    targets: Counter = field(default_factory=Counter)
    sizes: Counter = field(default_factory=Counter)
    image_bytes: int = 0
    facts: list[groups.RecordFacts] = field(default_factory=list)
    patients: groups.PatientSummary | None = None
    note: str = ""

    def mean_bytes(self) -> float:
        return self.image_bytes / max(self.records, 1)


def dialect_of(fields: dict[str, list]) -> str:
    """`ours`, `remade` (integer codes), `official` or `unknown`, from the fields of a record."""
    names = set(fields)
    if not {schema.IMAGE, schema.IMAGE_NAME} <= names:
        return "unknown"
    if {schema.WIDTH, schema.HEIGHT} <= names <= OUR_FIELDS:
        return "ours"
    coded = [name for name in CODED_FIELDS & names if fields[name] and isinstance(fields[name][0], int)]
    return "remade" if coded else "official"


def inspect(data_dir: str | os.PathLike) -> list[SetContents]:
    """Reads every record of a folder, local or remote; JPEGs by their header only, data checksums are left to verify.

    Raises: UserError for a folder without shards and DamagedShard for a file that cannot be walked through.
    """
    return [_inspect_set(name, paths, find_table(data_dir, name, paths)) for name, paths in find_sets(data_dir).items()]


def _inspect_set(name: str, paths: list[str], table: str | None) -> SetContents:
    contents = SetContents(name, paths)
    for shard, path in enumerate(paths):
        promised = shard_files.count_in_name(path)
        if contents.promised is not None:  # once unknown, the sum stays unknown
            contents.promised = None if promised is None else contents.promised + promised
        for offset, data in shard_files.read_records(path, check_data=False):
            try:
                fields = schema.decode_fields(data)
            except ValueError as error:
                raise UserError(
                    f"{path}: record at byte {offset} is {error}; tfrecord-tools verify tells all of them"
                ) from error
            _add_record(contents, fields)
            contents.facts.append(groups.facts_of(fields, shard, offset))
    _add_table(contents, table)
    return contents


def _add_record(contents: SetContents, fields: dict[str, list]) -> None:
    contents.records += 1
    contents.dialects[dialect_of(fields)] += 1
    for name, values in fields.items():
        contents.fields.setdefault(name, Counter())[type(values[0]).__name__ if values else "empty"] += 1
    target = fields.get(schema.TARGET)
    contents.targets[target[0] if target else None] += 1
    image = image_of(fields)
    contents.image_bytes += len(image)
    contents.sizes[_header_size(image)] += 1


def _add_table(contents: SetContents, table: str | None) -> None:
    contents.patients = groups.summarise_patients(contents.facts, "records")
    if table is None:
        return
    try:
        contents.facts = groups.join_table(contents.facts, table)
    except UserError as error:  # to look at the shards is all the more wanted then
        contents.note = f"the table is left out: {error}"
    if contents.patients is None:
        contents.patients = groups.summarise_patients(contents.facts, os.path.basename(table))


def image_of(fields: dict[str, list]) -> bytes:
    """The JPEG of a record, b"" where it has none."""
    return next((value for value in fields.get(schema.IMAGE, ()) if isinstance(value, bytes)), b"")


def _header_size(image: bytes) -> tuple[int, int] | None:
    try:
        return open_image(image).size
    except RejectError:
        return None


def as_json(contents: SetContents) -> dict[str, Any]:
    """Plain values for `json.dumps`; keys that are no strings become strings."""
    return {
        "set": contents.name,
        "shards": len(contents.paths),
        "records": contents.records,
        "records_promised": contents.promised,
        "dialects": dict(contents.dialects),
        "fields": {name: dict(types) for name, types in sorted(contents.fields.items())},
        "targets": {_target_name(value): count for value, count in _ordered(contents.targets)},
        "sizes": {_size_name(size): count for size, count in contents.sizes.most_common()},
        "mean_bytes": round(contents.mean_bytes(), 1),
        "classes": [dataclasses.asdict(group) for group in groups.by_target(contents.facts)],
        "diagnoses": [dataclasses.asdict(group) for group in groups.by_diagnosis(contents.facts)],
        "patients": contents.patients and dataclasses.asdict(contents.patients),
        "note": contents.note,
    }


def as_text(sets: list[SetContents]) -> str:
    """One aligned line a set, then classes and patients of each set that knows them."""
    parts = [aligned([SET_COLUMNS, *map(set_row, sets)], words={0, 1, 5, 7})]
    for contents in sets:
        for name, rows in group_tables(contents).items():
            parts.append(f"{contents.name} by {name}\n" + aligned(rows, words={0}, indent="  "))
        for line in (contents.patients and f"{contents.name}: {contents.patients.line()}", contents.note):
            parts += [line] if line else []
    return "\n\n".join(parts)


def aligned(rows: list[list[str]], words: set[int], indent: str = "") -> str:
    """Lines with the columns of `words` flush left, the others flush right."""
    columns = []
    for number, column in enumerate(zip(*rows)):
        width = max(map(len, column))
        columns.append([cell.ljust(width) if number in words else cell.rjust(width) for cell in column])
    return "\n".join(f"{indent}{'  '.join(row)}".rstrip() for row in zip(*columns))


def group_tables(contents: SetContents) -> dict[str, list[list[str]]]:
    """Header and rows of the classes and of the diagnoses of a set, as far as it knows them."""
    found = {"target": groups.by_target(contents.facts), "diagnosis": groups.by_diagnosis(contents.facts)}
    tables = {}
    for name, classes in found.items():
        rows = [
            [group.name, str(group.images), f"{group.images / contents.records:.2%}", str(group.melanoma),
             "" if group.patients is None else str(group.patients)]
            for group in classes
        ]  # fmt: skip
        rows.insert(0, [name, "images", "share", "target 1", "patients"])
        tables[name] = [row[:3] + row[4:] for row in rows] if name == "target" else rows
    return {name: rows for name, rows in tables.items() if len(rows) > 1}


def set_row(contents: SetContents) -> list[str]:
    """Cells under SET_COLUMNS."""
    shown = contents.sizes.most_common(4)
    sizes = ", ".join(f"{_size_name(size)}: {count}" for size, count in shown)
    if len(contents.sizes) > len(shown):
        sizes += f", and {len(contents.sizes) - len(shown)} more"
    promised = "unknown" if contents.promised is None else str(contents.promised)
    if contents.promised not in (None, contents.records):
        promised += " (!)"
    classes = ", ".join(f"{_target_name(value)}: {count}" for value, count in _ordered(contents.targets))
    return [contents.name, "+".join(contents.dialects), str(len(contents.paths)), str(contents.records), promised,
            classes, f"{contents.mean_bytes():.0f}", sizes]  # fmt: skip


def _ordered(targets: Counter) -> list[tuple[Any, int]]:
    return sorted(targets.items(), key=lambda item: str(item[0]))


def _target_name(value: Any) -> str:
    return "no target" if value is None else str(value)


def _size_name(size: tuple[int, int] | None) -> str:
    return "no JPEG" if size is None else f"{size[0]}x{size[1]}"
