"""What a report is made from: a run, a blend, a context, or a plain file; and its predictions beside the table."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma_tf import ensemble, files, metrics, tables
from melanoma_tf.errors import UserError
from melanoma_tf.predictions import Predictions, read_predictions
from melanoma_tf.report.records import check_blend, check_context

HISTORY_COLUMNS = ("epoch", "loss")
ALL = "all"  # the name of the fold that trains on every image


@dataclass(frozen=True)
class Run:
    """What a page is about.

    Attributes:
      name: recipe, or folder or file; folder: of a training run, which tells runs of one recipe apart.
      config, record: `config.json` and `run.json` of a training run, {} for others. history: per fold name the table of
      its epochs. oof: out-of-fold predictions, None where no image was held out; sha256: of their file.
      augmented: PNG of what the model saw, or None. blend: `blend.json`, None for others. context: `context.json`, or
      that part of a blend's, None without. notes: what was read in an unusual way.
    """

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    history: dict[str, pd.DataFrame] = field(default_factory=dict)
    oof: Predictions | None = None
    augmented: bytes | None = None
    blend: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    sha256: str = ""
    folder: str = ""

    @property
    def kind(self) -> str:
        if self.blend:
            return "Blend of models"
        return "Training run" if self.record else "Scores in patient context" if self.context else "Predictions"


def told_apart(runs: Sequence[Run]) -> list[Run]:
    """The runs with names that differ: with the folder, and with a number where that is the same too."""
    runs = _renamed(runs, [f"{run.name} ({run.folder})" if run.folder else run.name for run in runs])
    return _renamed(runs, [f"{run.name} {number}" for number, run in enumerate(runs, 1)])


def _renamed(runs: Sequence[Run], longer: Sequence[str]) -> list[Run]:
    names = [run.name for run in runs]
    return [replace(run, name=name) if names.count(run.name) > 1 else run for run, name in zip(runs, longer)]


@dataclass(frozen=True)
class Evaluation:
    """Out-of-fold predictions beside the truth.

    Attributes:
      rows: the table's rows of the predicted images, index 0..N-1. target int8[N], score float64[N] in [0, 1],
      patients str[N]; fold int16[N] or None; auc with its patient-clustered interval, None where one class is absent.
    """

    rows: pd.DataFrame
    target: np.ndarray
    score: np.ndarray
    patients: np.ndarray
    fold: np.ndarray | None
    auc: metrics.Interval | None


def read_run(path: str | os.PathLike, table: pd.DataFrame | None = None) -> Run:
    """Reads a run folder, the folder of `melanoma-tf blend` or `context`, or a CSV of predictions.

    Args: table: of the training, which tells a CSV of its images from one of test images; a folder needs none.
    Raises: UserError where there is nothing, where a run is not finished, or where a file of it is damaged.
    """
    folder = Path(path)
    if folder.is_file():
        return _read_file(folder, table)
    if not folder.is_dir():
        raise UserError(f"no run folder at {folder}; give the --work_dir of a finished training run, or a CSV")
    name = folder.resolve().name
    if (folder / files.RUN_RECORD).exists() and not (folder / "blend.json").exists():
        return _read_training(folder, name)
    oof, sha256 = _read_oof(folder / "oof.csv") if (folder / "oof.csv").exists() else (None, "")
    if (folder / "blend.json").exists():
        blend = check_blend(_read_json(folder / "blend.json"), folder / "blend.json")
        return Run(name, oof=oof, blend=blend, context=blend.get("context"), sha256=sha256)
    if (folder / "context.json").exists():
        context = check_context(_read_json(folder / "context.json"), folder / "context.json")
        return Run(name, oof=oof, context=context, sha256=sha256)
    raise UserError(f"{folder} is no run folder: it has neither run.json nor blend.json nor context.json")


def table_of_run(path: str | os.PathLike) -> str:
    """Path of the table that a training run was made of. Raises UserError where that is not known or it is gone."""
    folder = Path(path)
    known = _read_json(folder / files.RUN_RECORD).get("train_csv") if (folder / files.RUN_RECORD).exists() else None
    if not known:
        raise UserError(f"--train_csv is needed: {path} does not tell the table that it was made of")
    if not Path(str(known)).is_file():
        raise UserError(f"the table of {path}, {known}, is not there; give --train_csv")
    return str(known)


def _read_oof(path: Path) -> tuple[Predictions, str]:
    return read_predictions(path), _sha256(path)


def _sha256(path: Path) -> str:
    return files.sha256(path.read_bytes())


def _read_file(path: Path, table: pd.DataFrame | None) -> Run:
    (member,) = ensemble.read_members([str(path)], None, table)
    if "oof" not in member.predictions:
        raise UserError(f"{path}: none of its images is in the table; a report needs images whose truth is known")
    return Run(
        "/".join(path.resolve().parts[-2:]), oof=member.predictions["oof"], notes=member.notes, sha256=_sha256(path)
    )


def _read_training(folder: Path, name: str) -> Run:
    record, config = _read_json(folder / files.RUN_RECORD), _read_json(folder / "config.json")
    fold_names = record.get("fold_names")
    if not isinstance(fold_names, list) or not fold_names:
        raise UserError(f"{folder / 'run.json'} names no folds under 'fold_names'")
    fold_names = [str(fold) for fold in fold_names]
    history = {fold: _read_history(folder, fold) for fold in fold_names}
    oof, sha256 = (None, "") if fold_names == [ALL] else _read_oof(_require(folder, "oof.csv"))
    augmented = folder / f"fold_{fold_names[0]}" / "augmented.png"
    return Run(
        str(config.get("name") or name),
        config,
        record,
        history,
        oof,
        augmented.read_bytes() if augmented.exists() else None,
        sha256=sha256,
        folder=name,
    )


def _require(folder: Path, name: str) -> Path:
    if not (folder / name).exists():
        raise UserError(f"the run {folder} is not finished: no {name}; run the same train command again to continue it")
    return folder / name


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_require(path.parent, path.name).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: it holds no JSON object")
    return value


def _read_history(folder: Path, fold: str) -> pd.DataFrame:
    path = _require(folder, f"fold_{fold}/history.csv")
    history = tables.read_csv(path)
    tables.require_columns(history, HISTORY_COLUMNS if fold == ALL else (*HISTORY_COLUMNS, "val_auc"), path)
    if history.empty:
        raise UserError(f"the run {folder} is not finished: {path} has no epoch; run the same train command again")
    numbers = history[["epoch", "loss"]].apply(pd.to_numeric, errors="coerce")
    if not np.isfinite(numbers["epoch"]).all() or not numbers["loss"].notna().any():
        raise UserError(f"{path} is damaged: epoch and loss must be numbers")
    return history


def evaluate(predictions: Predictions, table: pd.DataFrame, source: str) -> Evaluation:
    """Lays predictions beside the table, whose targets and patients count.

    Raises: UserError naming an image that the table lacks or whose target differs.
    """
    rows = tables.rows_of(predictions.image_name, table, source)
    target = rows["target"].to_numpy(np.int8)
    if predictions.target is not None and (predictions.target != target).any():
        name = predictions.image_name[predictions.target != target][0]
        raise UserError(f"{source}: target of {name} is not that of the table; give the table of the training")
    patients = rows["patient_id"].to_numpy(str)
    auc = metrics.auc_interval(target, predictions.probability, patients) if len(set(target.tolist())) == 2 else None
    return Evaluation(rows, target, predictions.probability, patients, predictions.fold, auc)
