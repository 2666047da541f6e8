"""The layers of BatchNormalization of a network, and what they keep of the batches."""

from __future__ import annotations

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
