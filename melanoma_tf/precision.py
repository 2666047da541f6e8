"""Numbers of 16 bits where they do, of 32 where they are needed: weights, their updates, logits and loss."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from melanoma_tf.keras_compat import keras


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Within it models are built that compute in `float32`, `mixed_bfloat16` or `mixed_float16`.

    The weights are float32 in all three, so that their files are interchangeable.
    """
    former = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(former)


def with_loss_scale(optimizer: keras.optimizers.Optimizer, precision: str) -> keras.optimizers.Optimizer:
    """For float16, whose smallest number is 6e-8: gradients are taken of a multiple of the loss.

    The multiple doubles after 2000 steps without an overflow and halves, leaving the step out, after one with
    (Micikevicius et al. 2018, arXiv 1710.03740). bfloat16 has the range of float32 and needs none.
    """
    return keras.mixed_precision.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer
