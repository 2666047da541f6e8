"""A model over a data set: probabilities by row, never by order."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from melanoma_tf.augment import views
from melanoma_tf.config import Config
from melanoma_tf.keras_compat import keras


def build_predict_step(strategy: tf.distribute.Strategy, model: keras.Model, config: Config | None) -> Callable:
    """Compiled step: batch -> (row int32[B], probability float32[B]) of the global batch, the mean over the views of
    `config`; None looks once at each image."""

    def replica_step(batch):
        images = tf.cast(batch["image"], tf.float32) / 255.0
        probability = [
            melanoma_probability(model({"image": view, "meta": batch["meta"]}, training=False))
            for view in (views(images, config) if config else [images])
        ]
        return batch["row"], tf.add_n(probability) / len(probability)

    @tf.function
    def step(batch):
        row, probability = strategy.run(replica_step, args=(batch,))
        return strategy.gather(row, axis=0), strategy.gather(probability, axis=0)

    return step


def melanoma_probability(outputs: tf.Tensor | dict[str, tf.Tensor]) -> tf.Tensor:
    """float32[B] of a model's outputs, logits [B,C]: the sigmoid of the only one, or melanoma's share of the softmax,
    where it comes first. What auxiliary heads say is left out."""
    logits = tf.cast(outputs["logits"] if isinstance(outputs, dict) else outputs, tf.float32)
    return (tf.sigmoid(logits) if logits.shape[-1] == 1 else tf.nn.softmax(logits))[:, 0]


def predict_rows(
    step: Callable, batches: Iterable[dict], count: int, on_batch: Callable[[int], None] | None = None
) -> np.ndarray:
    """Probability of each row of the table, float64[count]; NaN where the data set had no image of the row.

    Args: step: from `build_predict_step`. batches: of `eval_dataset`, `distributed`; padding (row -1) is left out.
      on_batch: called with the number of images done.
    """
    result = np.full(count, np.nan)
    done = 0
    for batch in batches:
        rows, probability = (value.numpy() for value in step(batch))
        result[rows[rows >= 0]] = probability[rows >= 0]
        done += int((rows >= 0).sum())
        if on_batch:
            on_batch(done)
    return result
