"""A run: the folds one after another, in a work folder that a rerun of the same command continues."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

import melanoma_tf
from melanoma_tf import config as configuration
from melanoma_tf import files, metrics
from melanoma_tf import folds as folding
from melanoma_tf.augment import groups
from melanoma_tf.config import Config
from melanoma_tf.data.image_set import ImageSet, load_image_set
from melanoma_tf.data.sampling import Sampling
from melanoma_tf.distribute import make_strategy
from melanoma_tf.errors import UserError
from melanoma_tf.keras_compat import KERAS_VERSION, keras
from melanoma_tf.models import build_model
from melanoma_tf.models.stages import freeze_stages, rate_factors
from melanoma_tf.optimizers import build_optimizer
from melanoma_tf.predict import snapshot_epochs
from melanoma_tf.predictions import Predictions, read_predictions
from melanoma_tf.schedules import learning_rate
from melanoma_tf.targets import class_labels
from melanoma_tf.train.checkpoint import PACE
from melanoma_tf.train.dry_run import describe
from melanoma_tf.train.fold import FoldRun
from melanoma_tf.train.followers import require_one_average
from melanoma_tf.train.objective import Objective
from melanoma_tf.train.plan import ALL, Fold, plan_folds, require_whole_parts
from melanoma_tf.train.pseudo_labels import add_pseudo_labels
from melanoma_tf.train.sizes import sizes_of
from melanoma_tf.train.stop import Stop
from melanoma_tf.train.workers import Workers

LOCK = ".lock"
# Files that a killed run was writing; a report may be writing its own beside them.
LEFT = ("fold_*/.*.part", "fold_*/.part-*", ".*.csv.*.part", ".*.json.*.part")


def train(
    config: Config, *, data_dir: str, work_dir: str, train_csv: str = "", test_csv: str = "", folds_csv: str = "",
    fold: str = "", strategy: tf.distribute.Strategy | None = None, overwrite: bool = False, command: str = "",
    callbacks: Sequence[keras.callbacks.Callback] = (), max_hours: float = 0.0, dry_run: bool = False,
) -> Path:  # fmt: skip
    """Trains the folds and writes out-of-fold and test predictions; continues where an earlier call was cut.

    Args:
      config: everything that decides the result, besides the data.
      data_dir: folder with `train*.tfrec` and, if there is a test set, `test*.tfrec`.
      work_dir: where the run lives: see `docs/training.md` for its files.
      train_csv, test_csv, folds_csv: tables; by default `train.csv`, `test.csv`, `folds.csv` of data_dir. Without a
        test table nothing is predicted for a test set.
      fold: `0,2` for some folds, `all` to train on every image with none held out, empty for every fold.
      callbacks: Keras callbacks; they get on_train_*, on_epoch_* and on_train_batch_*.
      dry_run: print what it would take, and write nothing.
      max_hours: time after which the state is saved and the call ends with Interrupted; 0 = none.

    Returns: the work folder.
    Raises: UserError for bad input, before anything is written; Interrupted, state saved, after SIGTERM, SIGINT or
      max_hours.
    """
    stop = Stop(max_hours)
    train_csv = train_csv or f"{data_dir.rstrip('/')}/train.csv"
    salvage = config.data.salvage
    images = load_image_set(data_dir, train_csv, "train", target=True, salvage=salvage)
    images = dataclasses.replace(images, labels=class_labels(images.table, config.model.target, train_csv))
    test = _load_test(data_dir, test_csv, salvage)
    path = folds_csv or f"{data_dir.rstrip('/')}/folds.csv"
    fold_of = None if fold == ALL else folding.read_folds(path, images.table, partial=salvage)
    plan = plan_folds(fold, fold_of, images, Path(work_dir), config.data.train_only)
    if config.data.pseudo_labels:
        images, plan = add_pseudo_labels(images, test, plan, config.data.pseudo_labels)
    truth = _fingerprint(images, *(one.labels for one in plan))
    identity = {
        "command": command, "versions": _versions(), "data_dir": data_dir, "train_csv": train_csv,
        "test_csv": (test_csv or f"{data_dir.rstrip('/')}/test.csv") if test else None,
        "images": {"train": truth, "test": _fingerprint(test) if test else None},
        "content": {"train": _content(images), "test": _content(test) if test else None},
        "folds": None if fold_of is None else {"path": path, "sha256": files.sha256(fold_of.tobytes())},
        "fold_names": [one.name for one in plan],
    }  # fmt: skip
    strategy = strategy or make_strategy()
    _require_batches(config, images, plan, strategy.num_replicas_in_sync)
    _require_buildable(config)
    workers = Workers(strategy)
    if dry_run:
        print(describe(FoldRun(config, plan[0], images, strategy), len(plan)))
        return Path(work_dir)
    with workers.lost_are_named(), workers.folder(Path(work_dir)) as folder, contextlib.ExitStack() as stack:
        with workers.together():
            stack.enter_context(_alone(folder))
            _open_work_dir(folder, config, identity, overwrite)
        stack.enter_context(stop)
        plan = [dataclasses.replace(one, folder=folder / one.folder.name) for one in plan]
        _train_folds(plan, test, workers, lambda one: FoldRun(config, one, images, strategy, callbacks, stop, workers))
        if workers.chief:
            _combine(folder, plan, images, test)
    return Path(work_dir)


def _train_folds(plan: list[Fold], test: ImageSet | None, workers: Workers, build: Callable[[Fold], FoldRun]) -> None:
    """Those that the chief has not finished yet."""
    for one in plan:
        if not workers.share((one.folder / "finished.json").exists()):
            keras.backend.clear_session()  # names of layers, and so seeds, do not depend on the folds before
            run = build(one)
            run.run()
            run.finish(test)


def _alone(work_dir: Path) -> contextlib.AbstractContextManager[None]:
    """Within it no other process may write the run."""
    files.make_folder(work_dir)
    return files.locked(work_dir / LOCK, f"{work_dir} is being written by another process; wait for it, or choose "
                        f"another --work_dir")  # fmt: skip


def _versions() -> dict[str, str]:
    return {"melanoma_tf": melanoma_tf.__version__, "tensorflow": tf.__version__, "keras": KERAS_VERSION,
            "numpy": np.__version__, "python": sys.version.split()[0]}  # fmt: skip


def _load_test(data_dir: str, test_csv: str, salvage: bool) -> ImageSet | None:
    """The test set; None when nobody asked for one and there is no `test.csv`."""
    default = f"{data_dir.rstrip('/')}/test.csv"
    if not test_csv and not files.list_folder(data_dir, "test.csv"):
        return None
    return load_image_set(data_dir, test_csv or default, "test", target=False, salvage=salvage)


def _fingerprint(images: ImageSet, *labels: np.ndarray | None) -> str:
    """Hash of the names, truths, labels and shards' layout: what must be the same when a run goes on."""
    truth = images.target if images.labels is None else images.labels
    layout = json.dumps([list(map(str, images.names)), truth.tolist(), list(images.index.names)])
    more = b"".join(one.tobytes() for one in labels if one is not None)
    return files.sha256(layout.encode() + more)


def _content(images: ImageSet) -> str:
    """Hash of the pictures and the metadata, which must be the same too."""
    return files.sha256(images.index.fingerprint.encode() + images.meta.tobytes())


def _open_work_dir(work_dir: Path, config: Config, identity: dict, overwrite: bool) -> None:
    """Starts a run folder, or makes sure that the one there is of this very run."""
    known = work_dir / "config.json"
    for path in (path for pattern in LEFT for path in work_dir.glob(pattern)):
        path.unlink()
    if overwrite:
        for folder in work_dir.glob("fold_*"):
            shutil.rmtree(folder)
        for path in (known, work_dir / "oof.csv", work_dir / "test.csv"):
            path.unlink(missing_ok=True)
    if known.exists():
        _require_same_run(work_dir, config, identity)
    files.write_json(work_dir / files.RUN_RECORD, identity)
    files.write_json(known, configuration.to_json(config))


def _require_same_run(work_dir: Path, config: Config, identity: dict) -> None:
    before = configuration.flatten(configuration.from_json((work_dir / "config.json").read_text(), str(work_dir)))
    for key, value in configuration.flatten(config).items():
        if before[key] != value and key not in PACE:
            raise UserError(f"{work_dir} is a run with {key}={before[key]}, not {value}; "
                            f"choose another --work_dir or --overwrite")  # fmt: skip
    past = json.loads((work_dir / files.RUN_RECORD).read_text())
    for key, what in (("images", "images"), ("folds", "folds"), ("content", "pictures or metadata")):
        known, now = past.get(key), identity[key]  # the first version wrote no content
        if known and now and {**known, "path": ""} != {**now, "path": ""}:
            raise UserError(f"{work_dir} is a run on other {what}; choose another --work_dir or --overwrite")


def _require_buildable(config: Config) -> None:
    """Names and weights that do not fit are found before the run folder is made."""
    Objective(config)
    groups(config.augment.one_of)
    learning_rate(config.train, config.train.epochs)
    build_optimizer(config.train)
    require_one_average(config)
    snapshot_epochs(config)
    sizes_of(config)
    model = build_model(config.model, config.data.image_size)
    freeze_stages(model, config.train.frozen_stages)
    rate_factors(model, config.train.layer_decay)


def _require_batches(config: Config, images: ImageSet, plan: list[Fold], replicas: int) -> None:
    fewest = min(Sampling(images, one.train_rows, config.data).length for one in plan)
    if fewest < config.train.batch_size:
        raise UserError(f"{fewest} training images do not fill one batch; train.batch_size must be at most {fewest}")
    require_whole_parts(config, replicas)


def _combine(work_dir: Path, plan: list[Fold], images: ImageSet, test: ImageSet | None) -> None:
    """`oof.csv` and `test.csv` over all folds that are finished; prints the out-of-fold AUC."""
    finished = sorted(path.parent for path in work_dir.glob("fold_*/finished.json"))
    held_out = [read_predictions(folder / "oof.csv") for folder in finished if (folder / "oof.csv").exists()]
    if held_out:
        target, fold = (np.concatenate([getattr(one, name) for one in held_out]) for name in ("target", "fold"))
        names, probability = (
            np.concatenate([getattr(one, name) for one in held_out]) for name in ("image_name", "probability")
        )
        Predictions(names, probability, target, fold).write(work_dir / "oof.csv")
        patients = images.table.set_index("image_name")["patient_id"].loc[names].to_numpy()
        print(f"out-of-fold AUC {metrics.auc_interval(target, probability, patients)}")
    if test is not None:
        members = [read_predictions(folder / "test.csv").aligned(test.names) for folder in finished]
        mean = np.mean([member.probability for member in members], axis=0)
        Predictions(test.names, mean).write(work_dir / "test.csv")
