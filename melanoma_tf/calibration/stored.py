"""A calibration in a file: plain numbers under the name of the method, checked when they are read back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from melanoma_tf.calibration.maps import CALIBRATORS, Calibration
from melanoma_tf.errors import UserError, nearest

SCALARS_NOT_NEGATIVE = ("slope", "a", "b")


def read_record(path: str | os.PathLike) -> dict[str, Any]:
    """The content of a calibration.json. Raises UserError where it is absent or no JSON object."""
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from error
    if not isinstance(record, dict) or "method" not in record:
        raise UserError(f"{path} holds no calibration; give the calibration.json that melanoma-tf calibrate wrote")
    return record


def stored_calibration(record: Mapping[str, Any], path: str | os.PathLike) -> Calibration:
    """The fitted map of a record. Raises UserError that names what is wrong with its method or parameters."""
    method = record["method"]
    if method not in CALIBRATORS:
        raise UserError(f"{path}: no calibration {method!r}; {nearest(method, CALIBRATORS)}")
    given, names = record.get("parameters"), CALIBRATORS[method].names
    if not isinstance(given, Mapping) or set(given) != set(names):
        raise UserError(f"{path}: {method} needs the parameters {', '.join(names) or 'none'}")
    parameters = {name: _numbers(given[name], name, path) for name in names}
    if "from" in parameters:
        _check_steps(parameters["from"], parameters["to"], path)
    else:
        for name, values in parameters.items():
            if len(values) != 1 or (name in SCALARS_NOT_NEGATIVE and values[0] < 0):
                raise UserError(f"{path}: {name} of {method} is {values}; it must be one number, and never falling")
        if parameters.get("temperature", [1.0])[0] <= 0:
            raise UserError(f"{path}: the temperature must be more than 0")
    return Calibration(method, parameters)


def stored_prevalence(record: Mapping[str, Any], name: str, path: str | os.PathLike) -> float | None:
    """`prevalence` or `stated_prevalence` of a record, or None. Raises UserError where it is no share."""
    value = record.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise UserError(f"{path}: {name} is {value!r}; valid is more than 0 and less than 1")
    return float(value)


def _numbers(values: Any, name: str, path: str | os.PathLike) -> list[float]:
    given = values if isinstance(values, list) else []
    numbers = [float(one) for one in given if isinstance(one, (int, float)) and not isinstance(one, bool)]
    if not numbers or len(numbers) < len(given) or not np.isfinite(numbers).all():
        raise UserError(f"{path}: {name} must be a list of finite numbers")
    return numbers


def _check_steps(from_: list[float], to: list[float], path: str | os.PathLike) -> None:
    rising = len(from_) == len(to) and (np.diff(from_) > 0).all() and (np.diff(to) >= -1e-12).all()
    if not rising or min(to) < 0 or max(to) > 1:
        raise UserError(f"{path}: 'from' and 'to' of isotonic must be equally long and rise, 'to' within [0, 1]")
