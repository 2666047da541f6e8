"""Layers' arithmetic written for speed: the values and gradients of TensorFlow's own, in fewer passes over memory."""

from __future__ import annotations

import tensorflow as tf

# Elements of a batch of maps. On smaller ones, as EfficientNet-B0's last at 128 px and a batch of 32 and all of those
# in the tests and the demo, TensorFlow's own kernels are as fast, and no shape has to be compiled.
WORTH_COMPILING = 2**20


def on_cpu() -> bool:
    """Whether neither a GPU nor a TPU is there, whose own kernels are the faster ones."""
    return not (tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))


def is_worth_compiling(shape: tf.TensorShape) -> bool:
    """Whether kernels that are compiled for this shape alone are faster in the end."""
    return on_cpu() and shape.is_fully_defined() and shape.num_elements() >= WORTH_COMPILING
