"""Where a model looked: Grad-CAM of the logit on the backbone's last feature map.

Source: R. R. Selvaraju et al., Grad-CAM: visual explanations from deep networks via gradient-based localization, ICCV
2017, 618-626, equations 1 and 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from melanoma_tf.data.image_set import load_image_set
from melanoma_tf.data.pipeline import eval_dataset
from melanoma_tf.keras_compat import keras
from melanoma_tf.losses import melanoma_logit
from melanoma_tf.predict import load_config, load_fold_model
from melanoma_tf.report import HeatMap

BATCH_SIZE = 8


def with_feature_map(model: tf.keras.Model) -> tf.keras.Model:
    """The model with two outputs: the last feature map, [B,h,w,C], and the logits.

    Found as what the first layer of one vector out of a map, the pooling, is given: the backbone is a model of its own,
    whose output belongs to another graph.
    """
    rank = lambda tensor: len(getattr(tensor, "shape", ()))  # noqa: E731
    pooling = next(layer for layer in model.layers if rank(layer.input) == 4 and rank(layer.output) == 2)
    return keras.Model(model.input, [pooling.input, model.output])


def grad_cam(model: tf.keras.Model, images: tf.Tensor, meta: tf.Tensor) -> np.ndarray:
    """How much each place of the last feature map raised the log odds of melanoma, float32[B,h,w] in [0, 1].

    The greatest of each image is 1; an image of which no place raised them is 0 everywhere.

    Args: model: of `with_feature_map`. images: float32[B,S,S,3] in [0, 1]. meta: float32[B, METADATA_WIDTH].
    """
    with tf.GradientTape() as tape:
        tape.watch(images)  # a frozen backbone has nothing else that is watched
        features, outputs = model({"image": images, "meta": meta}, training=False)
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs  # auxiliary heads are left out
        score = melanoma_logit(tf.cast(logits, tf.float32))
    weight = tf.reduce_mean(tf.cast(tape.gradient(score, features), tf.float32), axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weight * tf.cast(features, tf.float32), axis=-1))
    greatest = tf.reduce_max(heat, axis=(1, 2), keepdims=True)
    return tf.math.divide_no_nan(heat, greatest).numpy()


def grad_cam_of_run(run: str | Path, fold_of: Mapping[str, int], data_dir: str, table: str) -> dict[str, HeatMap]:
    """Heat maps of the images of `fold_of`, by name, each by the model of the fold that held the image out.

    The images are decoded as for prediction; test-time views are left out.

    Args: run: folder of a finished run. fold_of: the fold of every wanted image. data_dir: with the training shards.
      table: of all their images.
    Raises: UserError for absent weights, shards or images.
    """
    config = load_config(run)
    images = load_image_set(data_dir, table, "train", target=False)
    row_of = pd.Series(np.arange(len(images)), images.names)
    maps: dict[str, HeatMap] = {}
    for fold in sorted(set(fold_of.values())):
        rows = row_of[[name for name in fold_of if fold_of[name] == fold]].to_numpy()
        keras.backend.clear_session()
        model = with_feature_map(load_fold_model(Path(run) / f"fold_{fold}", config))
        batches = eval_dataset(
            images, rows, image_size=config.data.image_size, batch_size=BATCH_SIZE, crop=config.data.crop
        )
        for batch in batches:
            heats = grad_cam(model, tf.cast(batch["image"], tf.float32) / 255.0, batch["meta"])
            found = zip(batch["row"].numpy(), batch["image"].numpy(), heats)
            maps |= {str(images.names[row]): HeatMap(seen, heat) for row, seen, heat in found if row >= 0}
    return maps
