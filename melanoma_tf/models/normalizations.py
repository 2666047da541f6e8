"""The layers of BatchNormalization of a network, and what they keep of the batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from melanoma_tf.keras_compat import keras
from melanoma_tf.models.pretrained import flat_layers


def normalizations(model: keras.Model) -> list[keras.layers.Layer]:
    """The BatchNormalization layers that are not frozen."""
    kind = keras.layers.BatchNormalization
    return [layer for layer in flat_layers(model) if isinstance(layer, kind) and layer.trainable]


def running_statistics(model: keras.Model) -> list[tf.Variable]:
    """Mean and variance of each of those layers, one after another."""
    return [part for layer in normalizations(model) for part in (layer.moving_mean, layer.moving_variance)]


@contextlib.contextmanager
def statistics_kept(model: keras.Model) -> Iterator[None]:
    """What is computed within it leaves them as they were before."""
    statistics = running_statistics(model)
    kept = [tf.identity(tf.convert_to_tensor(variable)) for variable in statistics]
    yield
    for variable, value in zip(statistics, kept):
        variable.assign(value)
