"""What a report is made from: a run folder (or the folder of a blend), and its predictions beside the table."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma_tf import metrics, tables
from melanoma_tf.errors import UserError
from melanoma_tf.predictions import Predictions, read_predictions

HISTORY_COLUMNS = ("epoch", "loss", "val_auc")
ALL = "all"  # the name of the fold that trains on every image


@dataclass(frozen=True)
class Run:
    """A finished run, or a blend of runs.

    Attributes:
      name: recipe or folder. config, record: `config.json` and `run.json`, {} for a blend.
      history: per fold name the table of its epochs. oof: out-of-fold predictions, None where no image was held out.
      augmented: PNG of what the model saw, or None. blend: `blend.json`, None for a run of its own.
    """

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    history: dict[str, pd.DataFrame] = field(default_factory=dict)
    oof: Predictions | None = None
    augmented: bytes | None = None
    blend: dict[str, Any] | None = None


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


def read_run(path: str | os.PathLike) -> Run:
    """Reads a run folder or the folder of a blend.

    Raises: UserError where there is no run, where it is not finished, or where a file of it is damaged.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"no run folder at {folder}; give the --work_dir of a finished training run")
    name = folder.resolve().name
    blend = _read_json(folder / "blend.json") if (folder / "blend.json").exists() else None
    if blend is not None:
        oof = folder / "oof.csv"
        return Run(name, oof=read_predictions(oof) if oof.exists() else None, blend=blend)
    if not (folder / "run.json").exists():
        raise UserError(f"{folder} is no run folder: it has neither run.json nor blend.json")
    record, config = _read_json(folder / "run.json"), _read_json(folder / "config.json")
    fold_names = [str(fold) for fold in record.get("fold_names") or []]
    if not fold_names:
        raise UserError(f"{folder / 'run.json'} names no folds under 'fold_names'")
    history = {fold: _read_history(folder, fold) for fold in fold_names}
    augmented = folder / f"fold_{fold_names[0]}" / "augmented.png"
    return Run(
        str(config.get("name") or name),
        config,
        record,
        history,
        None if fold_names == [ALL] else read_predictions(_require(folder, "oof.csv")),
        augmented.read_bytes() if augmented.exists() else None,
    )


def _require(folder: Path, name: str) -> Path:
    if not (folder / name).exists():
        raise UserError(f"the run {folder} is not finished: no {name}; run the same train command again to continue it")
    return folder / name


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(_require(path.parent, path.name).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}") from error


def _read_history(folder: Path, fold: str) -> pd.DataFrame:
    path = _require(folder, f"fold_{fold}/history.csv")
    history = tables.read_csv(path)
    tables.require_columns(history, HISTORY_COLUMNS, path)
    if history.empty:
        raise UserError(f"the run {folder} is not finished: {path} has no epoch; run the same train command again")
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
