"""x * sigmoid(x) with a gradient in one pass over memory, where TensorFlow takes five."""

from __future__ import annotations

import tensorflow as tf


@tf.function(jit_compile=True, autograph=False)
def _gradient(inputs, upstream):
    gate = tf.sigmoid(inputs)
    return upstream * gate * (1.0 + inputs * (1.0 - gate))


@tf.custom_gradient
def swish(inputs: tf.Tensor) -> tf.Tensor:
    """Of any shape and float type; only `inputs` is kept for the gradient."""
    return inputs * tf.sigmoid(inputs), lambda upstream: _gradient(inputs, upstream)
