"""Layers' arithmetic written for speed: the values and gradients of TensorFlow's own, in fewer passes over memory."""

from __future__ import annotations

import tensorflow as tf

# Elements of a batch of maps. Steps on smaller ones, as in tests and the demo, are few and short beside the compilation
# of kernels for each shape; all of EfficientNet-B0's maps at 128 px and a batch of 32 are larger.
WORTH_COMPILING = 2**18


def on_cpu() -> bool:
    """Whether neither a GPU nor a TPU is there, whose own kernels are the faster ones."""
    return not (tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))


def is_worth_compiling(shape: tf.TensorShape) -> bool:
    """Whether kernels that are compiled for this shape alone are faster in the end."""
    return on_cpu() and shape.is_fully_defined() and shape.num_elements() >= WORTH_COMPILING
