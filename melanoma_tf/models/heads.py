"""From the backbone's feature map to logits: pooling, metadata, dropout, auxiliary heads.

To add a pooling: write a layer `[B,H,W,C] -> [B,C]` and put it into `POOLINGS`.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from melanoma_tf.auxiliary import AUXILIARY, auxiliary_heads
from melanoma_tf.config import ModelConfig
from melanoma_tf.errors import UserError, nearest
from melanoma_tf.keras_compat import keras, register
from melanoma_tf.layers import SeededDropout
from melanoma_tf.targets import classes

GEM_POWER = 3.0
GEM_FLOOR = 1e-6  # swish goes down to -0.28, and a root needs what is above 0


@register
class GeneralizedMean(tf.keras.layers.Layer):
    """(mean of x^p)^(1/p) over the positions, p learned, from 3 (Radenovic, Tolias & Chum 2018, arXiv 1711.02512).

    p = 1 is the average, p to infinity the maximum; p is held at 1 or above, and x at 1e-6.
    """

    def build(self, input_shape):
        self.power = self.add_weight(
            name="power", shape=(), initializer=keras.initializers.Constant(GEM_POWER), trainable=True
        )
        super().build(input_shape)

    def call(self, inputs):
        power = tf.maximum(tf.cast(self.power, inputs.dtype), 1.0)
        return tf.reduce_mean(tf.maximum(inputs, GEM_FLOOR) ** power, axis=(1, 2)) ** (1.0 / power)

    def compute_output_shape(self, input_shape):
        return input_shape[0], input_shape[-1]


@register
class AttentionPooling(tf.keras.layers.Layer):
    """Mean over the positions, weighted by a softmax over them of a learned projection; starts as the plain average.

    Source: Ilse, Tomczak & Welling 2018, arXiv 1802.04712, without their gate.
    """

    def build(self, input_shape):
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], 1), initializer="zeros", trainable=True)
        super().build(input_shape)

    def call(self, inputs):
        positions = tf.reshape(inputs, [tf.shape(inputs)[0], -1, inputs.shape[-1]])
        share = tf.nn.softmax(positions @ tf.cast(self.kernel, inputs.dtype), axis=1)
        return tf.reduce_sum(positions * share, axis=1)

    def compute_output_shape(self, input_shape):
        return input_shape[0], input_shape[-1]


POOLINGS: dict[str, Callable[[], keras.layers.Layer]] = {
    "average": lambda: keras.layers.GlobalAveragePooling2D(name="pool"),
    # float32 whatever the backbone's precision: powers and a softmax
    "gem": lambda: GeneralizedMean(dtype="float32", name="pool"),
    "attention": lambda: AttentionPooling(dtype="float32", name="pool"),
}


def head(feature_map: tf.Tensor, meta: tf.Tensor, config: ModelConfig) -> tf.Tensor | dict[str, tf.Tensor]:
    """Logits float32[B,C] of [B,H,W,channels] and metadata [B,M], both symbolic.

    With auxiliary heads: {"logits", "auxiliary_site": float32[B,6], "auxiliary_sex": [B,2], "auxiliary_age": [B,1]},
    those of `config.auxiliary`. Raises: UserError for an unknown pooling, target or head.
    """
    if config.pooling not in POOLINGS:
        raise UserError(f"model.pooling: no pooling {config.pooling!r}; {nearest(config.pooling, POOLINGS)}")
    features = POOLINGS[config.pooling]()(feature_map)
    auxiliary = {
        f"auxiliary_{name}": keras.layers.Dense(AUXILIARY[name], dtype="float32", name=f"auxiliary_{name}")(features)
        for name in auxiliary_heads(config)
    }
    if config.metadata:
        hidden = keras.layers.Dense(32, activation="relu", name="meta_hidden")(meta)
        features = keras.layers.Concatenate(name="image_and_meta")([features, hidden])
    logits = _logits(features, config)
    return {"logits": logits, **auxiliary} if auxiliary else logits


def _logits(features: tf.Tensor, config: ModelConfig) -> tf.Tensor:
    """One linear layer; behind several dropout masks its logits are averaged (Inoue 2019, arXiv 1905.09788)."""
    masks = [
        SeededDropout(config.dropout, name=f"head_dropout{number or ''}")
        for number in range(config.multi_sample_dropout)
    ]
    dense = keras.layers.Dense(len(classes(config.target)), dtype="float32", name="logits")
    logits = [dense(mask(features)) for mask in masks]
    if len(logits) == 1:
        return logits[0]
    return keras.layers.Average(dtype="float32", name="mean_logits")(logits)
