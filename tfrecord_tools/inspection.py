"""What is in a folder of shards: dialect, counts, classes, picture sizes."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from melanoma_tf import schema
from melanoma_tf.data import shards as shard_files
from melanoma_tf.errors import RejectError, UserError
from tfrecord_tools.images import open_image

OFFICIAL_FIELDS = {schema.IMAGE, schema.IMAGE_NAME, schema.TARGET}
OUR_FIELDS = {*OFFICIAL_FIELDS, schema.WIDTH, schema.HEIGHT}
CODED_FIELDS = {"patient_id", "sex", "age_approx", "anatom_site_general_challenge", "diagnosis"}


@dataclass
class SetContents:
    """Of all shards of one prefix.

    Attributes:
      name: the prefix, `train` or `test` as a rule; shards: number of files.
      records: found; promised: by the names of the shards, None if one of them promises nothing.
      dialects: `official`, `remade`, `ours` or `unknown` -> records, by their fields.
      fields: field name -> type -> records; targets: value (None where absent) -> records.
      sizes: (width, height) in pixels by the JPEG header, None for what is no JPEG -> records.
      image_bytes: sum over the JPEG.
    """

    name: str
    shards: int = 0
    records: int = 0
    promised: int | None = 0
    dialects: Counter = field(default_factory=Counter)
    fields: dict[str, Counter] = field(default_factory=dict)
    targets: Counter = field(default_factory=Counter)
    sizes: Counter = field(default_factory=Counter)
    image_bytes: int = 0

    def mean_bytes(self) -> float:
        return self.image_bytes / max(self.records, 1)


def find_sets(data_dir: str | os.PathLike) -> dict[str, list[str]]:
    """Shards (*.tfrec) of a folder or of its `tfrecords/` by prefix: what stands before the first digit of the name.

    Raises: UserError when there are none.
    """
    sets: dict[str, list[str]] = {}
    for path in shard_files.list_shards(data_dir, ""):
        prefix = re.split(r"\d", os.path.basename(path), maxsplit=1)[0].removesuffix(".tfrec").strip("-_. ")
        sets.setdefault(prefix or "shards", []).append(path)
    return sets


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
    return [_inspect_set(name, paths) for name, paths in find_sets(data_dir).items()]


def _inspect_set(name: str, paths: list[str]) -> SetContents:
    contents = SetContents(name, len(paths))
    for path in paths:
        promised = shard_files.count_in_name(path)
        if contents.promised is not None:  # once unknown, the sum stays unknown
            contents.promised = None if promised is None else contents.promised + promised
        for offset, data in shard_files.read_records(path, check_data=False):
            try:
                _add_record(contents, schema.decode_fields(data))
            except ValueError as error:
                raise UserError(
                    f"{path}: record at byte {offset} is {error}; tfrecord-tools verify tells all of them"
                ) from error
    return contents


def _add_record(contents: SetContents, fields: dict[str, list]) -> None:
    contents.records += 1
    contents.dialects[dialect_of(fields)] += 1
    for name, values in fields.items():
        contents.fields.setdefault(name, Counter())[type(values[0]).__name__ if values else "empty"] += 1
    target = fields.get(schema.TARGET)
    contents.targets[target[0] if target else None] += 1
    image = fields.get(schema.IMAGE, [b""])[0]
    contents.image_bytes += len(image)
    contents.sizes[_header_size(image)] += 1


def _header_size(image: bytes) -> tuple[int, int] | None:
    try:
        return open_image(image).size
    except RejectError:
        return None


def as_json(contents: SetContents) -> dict[str, Any]:
    """Plain values for `json.dumps`; keys that are no strings become strings."""
    return {
        "set": contents.name,
        "shards": contents.shards,
        "records": contents.records,
        "records_promised": contents.promised,
        "dialects": dict(contents.dialects),
        "fields": {name: dict(types) for name, types in sorted(contents.fields.items())},
        "targets": {_target_name(value): count for value, count in _ordered(contents.targets)},
        "sizes": {_size_name(size): count for size, count in contents.sizes.most_common()},
        "mean_bytes": round(contents.mean_bytes(), 1),
    }


def as_table(sets: list[SetContents]) -> str:
    """One aligned line a set."""
    header = ["set", "dialect", "shards", "records", "in names", "classes", "mean bytes", "JPEG sizes"]
    rows = [header, *(_table_row(contents) for contents in sets)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    numeric = {2, 3, 4, 6}
    aligned = (
        (cell.rjust(width) if column in numeric else cell.ljust(width)) for row in rows
        for column, (cell, width) in enumerate(zip(row, widths))
    )  # fmt: skip
    return "\n".join("  ".join(line).rstrip() for line in zip(*[aligned] * len(header)))


def _table_row(contents: SetContents) -> list[str]:
    shown = contents.sizes.most_common(4)
    sizes = ", ".join(f"{_size_name(size)}: {count}" for size, count in shown)
    if len(contents.sizes) > len(shown):
        sizes += f", and {len(contents.sizes) - len(shown)} more"
    promised = "unknown" if contents.promised is None else str(contents.promised)
    if contents.promised not in (None, contents.records):
        promised += " (!)"
    classes = ", ".join(f"{_target_name(value)}: {count}" for value, count in _ordered(contents.targets))
    return [contents.name, "+".join(contents.dialects), str(contents.shards), str(contents.records), promised, classes,
            f"{contents.mean_bytes():.0f}", sizes]  # fmt: skip


def _ordered(targets: Counter) -> list[tuple[Any, int]]:
    return sorted(targets.items(), key=lambda item: str(item[0]))


def _target_name(value: Any) -> str:
    return "no target" if value is None else str(value)


def _size_name(size: tuple[int, int] | None) -> str:
    return "no JPEG" if size is None else f"{size[0]}x{size[1]}"
