"""A finished run's models over a set of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from melanoma_tf import config as configuration
from melanoma_tf.config import Config
from melanoma_tf.data.faults import named_faults
from melanoma_tf.data.image_set import ImageSet
from melanoma_tf.data.pipeline import distributed, eval_dataset
from melanoma_tf.distribute import make_strategy
from melanoma_tf.errors import UserError
from melanoma_tf.inference import build_predict_step, predict_rows
from melanoma_tf.keras_compat import keras
from melanoma_tf.models import build_model, load_model_weights
from melanoma_tf.precision import computing_in
from melanoma_tf.predictions import Predictions
from melanoma_tf.progress import Progress
from melanoma_tf.schedules import cycle_ends

LAST, BEST, SNAPSHOT = "last.weights.h5", "best.weights.h5", "snapshot_{}.weights.h5"


def load_config(run: str | Path) -> Config:
    """The configuration of a run folder. Raises UserError when it is none."""
    path = Path(run) / "config.json"
    if not path.is_file():
        raise UserError(f"{run} is no run folder (no config.json); expected the --work_dir of melanoma-tf train")
    return configuration.from_json(path.read_text(), str(path))


def fold_folders(run: str | Path) -> list[Path]:
    """The finished folds of a run. Raises UserError when none is."""
    folders = sorted(path.parent for path in Path(run).glob("fold_*/finished.json"))
    if not folders:
        raise UserError(f"{run} has no finished fold; run the same melanoma-tf train command again to finish it")
    return folders


def snapshot_epochs(config: Config) -> list[int]:
    """After how many epochs the weights are kept: the ends of the last cycles (Huang et al. 2017, arXiv 1704.00109).

    Raises: UserError where there are no so many cycles.
    """
    train = config.train
    if train.snapshots and (train.schedule != "restarts" or train.snapshots > train.restarts):
        raise UserError(f"train.snapshots is {train.snapshots}; it needs --set train.schedule=restarts "
                        f"and at least as many train.restarts")  # fmt: skip
    if train.snapshots and train.select == "best":
        raise UserError("train.snapshots predicts with the mean of its weights; train.select must be last")
    return cycle_ends(train)[-train.snapshots :] if train.snapshots else []


def fold_weights(folder: Path, config: Config) -> list[Path]:
    """The files of a fold's weights whose predictions are averaged: one by `train.select`, or the snapshots."""
    snapshots = [folder / SNAPSHOT.format(epoch) for epoch in snapshot_epochs(config)]
    best = config.train.select == "best" and (folder / BEST).exists()
    return snapshots or [folder / (BEST if best else LAST)]


def load_fold_model(folder: Path, config: Config) -> keras.Model:
    """The model of one fold with the weights that predict, of several the last."""
    with computing_in(config.train.precision):
        model = build_model(config.model, config.data.image_size, pretrained_weights=False)
    load_model_weights(model, fold_weights(folder, config)[-1])
    return model


def predict(
    run: str | Path,
    images: ImageSet,
    *,
    views: int = 0,
    batch_size: int = 0,
    strategy: tf.distribute.Strategy | None = None,
) -> Predictions:
    """Probability of every image, the mean over the run's folds.

    Args:
      run: folder of a finished run. images: the set. views, batch_size: 0 means those of the recipe; a batch that does
      not divide by the replicas is made larger.
    Raises: UserError for an unfinished run or weights that do not fit.
    """
    config = load_config(run)
    if views:
        config = configuration.override(config, [f"predict.views={views}"])
    strategy = strategy or make_strategy()
    replicas, rows = strategy.num_replicas_in_sync, np.arange(len(images))
    batch_size = -(-(batch_size or config.predict.batch_size) // replicas) * replicas
    batches = distributed(
        strategy,
        lambda share: eval_dataset(
            images, rows, image_size=config.data.image_size, batch_size=batch_size, crop=config.data.crop,
            share=share,
        ),
    )  # fmt: skip
    members = []
    for folder in fold_folders(run):
        keras.backend.clear_session()
        with strategy.scope(), computing_in(config.train.precision):
            model = build_model(config.model, config.data.image_size, pretrained_weights=False)
        step = build_predict_step(strategy, model, config)
        for path in fold_weights(folder, config):
            load_model_weights(model, path)
            progress = Progress(f"{folder.name}  predicting", len(rows))
            with named_faults(images):
                members.append(predict_rows(step, batches, len(rows), progress.update))
    target = images.target if images.has_target else None
    return Predictions(images.names, np.mean(members, axis=0), target)
