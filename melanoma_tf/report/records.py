"""`blend.json` and `context.json` as a report needs them: what is missing or of another kind is told, by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from melanoma_tf import metrics
from melanoma_tf.errors import UserError
from melanoma_tf.paired import Difference

STAGES = ("input", "single", "context")  # of a context, in the order in which more is known


def interval(stored: dict[str, Any] | None) -> metrics.Interval | None:
    """An AUC as `dataclasses.asdict` stored it."""
    return metrics.Interval(**stored) if stored else None


def difference(stored: dict[str, Any] | None) -> Difference | None:
    """A difference of two AUCs as `dataclasses.asdict` stored it."""
    return Difference(**stored) if stored else None


def check_blend(record: dict[str, Any], path: Path) -> dict[str, Any]:
    """The record itself. Raises UserError naming the file and what is wrong in it."""
    members = record.get("members")
    if not isinstance(members, list) or not members or not all(isinstance(member, dict) for member in members):
        raise _damaged(path, "'members' must be a list of objects")
    for number, member in enumerate(members):
        _check(member, f"members[{number}].", path, intervals=("auc",), differences=("adds",))
        weight = member.get("weight")
        if weight is not None and not _is_number(weight):
            raise _damaged(path, f"members[{number}].weight must be a number or null")
    _check(record, "", path, intervals=("auc",))
    if record.get("context") is not None:
        check_context(record["context"], path, "context.")
    return record


def check_context(record: Any, path: Path, prefix: str = "") -> dict[str, Any]:
    """The record itself. Raises UserError naming the file and what is wrong in it."""
    if not isinstance(record, dict) or not isinstance(record.get("auc"), dict):
        raise _damaged(path, f"{prefix}auc must be an object")
    for needed in ("input", "single"):
        if not record["auc"].get(needed):
            raise _damaged(path, f"{prefix}auc.{needed} is missing")
    _check(record["auc"], f"{prefix}auc.", path, intervals=STAGES)
    if not record.get("difference"):
        raise _damaged(path, f"{prefix}difference is missing")
    changes = ("difference", "difference_of_companions", "difference_of_embeddings", "difference_to_blend")
    _check(record, prefix, path, intervals=("apparent",), differences=changes)
    for name in ("matched", "count_told"):
        values = record.get(name)
        if values is not None and not (isinstance(values, dict) and all(map(_is_number, values.values()))):
            raise _damaged(path, f"{prefix}{name} must be an object of numbers")
    shortcuts = record.get("shortcuts")
    if shortcuts is not None:
        if not isinstance(shortcuts, dict) or not isinstance(shortcuts.get("alone", {}), dict):
            raise _damaged(path, f"{prefix}shortcuts must be an object or null")
        _check(shortcuts, f"{prefix}shortcuts.", path, intervals=("auc",), differences=("difference",))
        _check_numbers(shortcuts.get("alone", {}).values(), f"{prefix}shortcuts.alone", path)
    return record


def _check(record: dict, prefix: str, path: Path, *, intervals: Iterable[str] = (), differences: Iterable[str] = ()):
    for names, read in ((intervals, interval), (differences, difference)):
        for name in names:
            try:
                found = read(record.get(name))
            except TypeError as error:
                raise _damaged(path, f"{prefix}{name} is no interval") from error
            if found is not None:
                _check_numbers(vars(found).values(), f"{prefix}{name}", path)


def _check_numbers(values: Iterable[Any], name: str, path: Path) -> None:
    if not all(map(_is_number, values)):
        raise _damaged(path, f"{name} must hold numbers")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _damaged(path: Path, what: str) -> UserError:
    return UserError(f"{path} is damaged: {what}; write it again with the command that made it")
