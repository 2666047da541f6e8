"""Embeddings of images: the pooled features of a run's own networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from melanoma_tf.config import Config
from melanoma_tf.data.faults import named_faults
from melanoma_tf.data.image_set import ImageSet
from melanoma_tf.data.pipeline import eval_dataset
from melanoma_tf.errors import UserError
from melanoma_tf.keras_compat import keras
from melanoma_tf.predict import fold_folders, load_config, load_fold_model
from melanoma_tf.predictions import read_predictions
from melanoma_tf.progress import Progress


def embed(run: str | Path, images: ImageSet, fold: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Names, object[n], and pooled features, float32[n,D], each model's without their mean over the images it embedded.

    Every fold's model has a space of its own, and no mean over models means anything. So each image is embedded by one:
    that of the fold that held it out, as RUN/oof.csv tells, and images that no fold held out are left out; or all by
    the model of `fold`. Images are decoded as for prediction; test-time views are left out.

    Args: run: folder of a finished run. images: the set. fold: its name (`0`, `all`), or empty for out-of-fold.
    Raises: UserError for an unfinished run or fold, weights that do not fit, or where no fold held out any image.
    """
    config = load_config(run)
    rows_of = rows_by_folder(run, images, fold)
    parts = {}
    for folder, rows in rows_of.items():
        keras.backend.clear_session()
        parts[folder] = _features(load_fold_model(folder, config), images, rows, config, folder.name)
    rows = np.concatenate(list(rows_of.values()))
    features = np.concatenate([part - part.mean(axis=0, dtype=np.float64) for part in parts.values()])
    order = np.argsort(rows)
    return images.names[rows[order]], features[order].astype(np.float32)


def rows_by_folder(run: str | Path, images: ImageSet, fold: str = "") -> dict[Path, np.ndarray]:
    """The rows of the table that the model of each fold embeds, without folds that have none; see `embed`."""
    folders = {folder.name.removeprefix("fold_"): folder for folder in fold_folders(run)}
    if fold:
        if fold not in folders:
            raise UserError(f"--fold={fold}: {run} has no such finished fold; it has {', '.join(folders)}")
        return {folders[fold]: np.arange(len(images))}
    path = Path(run) / "oof.csv"
    oof = read_predictions(path) if path.is_file() else None
    held_out = {} if oof is None or oof.fold is None else dict(zip(oof.image_name, oof.fold.astype(str)))
    fold_of = pd.Series([held_out.get(name, "") for name in images.names])
    rows_of = {folder: np.flatnonzero(fold_of == name) for name, folder in folders.items()}
    rows_of = {folder: rows for folder, rows in rows_of.items() if len(rows)}
    if not rows_of:
        raise UserError(f"no fold of {run} held out any of these {len(images)} images; "
                        f"name the model that shall embed them, --fold={next(iter(folders))}")  # fmt: skip
    return rows_of


def _features(model: tf.keras.Model, images: ImageSet, rows: np.ndarray, config: Config, label: str) -> np.ndarray:
    """float32[n,D]: what the layer "pool", of every pooling in `models.heads`, gives for each of `rows`."""
    pooled = keras.Model(model.input, model.get_layer("pool").output)
    look = tf.function(lambda image, meta: tf.cast(pooled({"image": image, "meta": meta}, training=False), tf.float32))
    batches = eval_dataset(
        images, rows, image_size=config.data.image_size, batch_size=config.predict.batch_size, crop=config.data.crop
    )
    found = np.full((len(images), pooled.output.shape[-1]), np.nan, np.float32)
    progress, done = Progress(f"{label}  embedding", len(rows)), 0
    with named_faults(images):
        for batch in batches:
            row = batch["row"].numpy()
            found[row[row >= 0]] = look(tf.cast(batch["image"], tf.float32) / 255.0, batch["meta"]).numpy()[row >= 0]
            done += int((row >= 0).sum())
            progress.update(done)
    return found[rows]
