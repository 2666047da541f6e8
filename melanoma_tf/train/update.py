"""From gradients to new weights: the optimizer, rates by layer, and what follows the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import tensorflow as tf

from melanoma_tf.config import TrainConfig
from melanoma_tf.distribute import on_each_replica
from melanoma_tf.keras_compat import apply_summed, as_tensorflow, keras
from melanoma_tf.models.stages import rate_factors
from melanoma_tf.train.followers import Follower


def build_update(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, config: TrainConfig, followers: Iterable[Follower] = ()
) -> Callable:
    """`(gradients of this replica's part of the loss, learning_rate float32) -> None`, for use within `strategy.run`.

    A rate by layer shortens what the optimizer did to the layer, decay included: scaling gradients would do nothing,
    since Adam divides by their size.
    """
    factors = rate_factors(model, config.layer_decay)
    slowed = [(as_tensorflow(one), factor) for one, factor in zip(model.trainable_variables, factors) if factor != 1.0]

    def update(gradients, learning_rate):
        before = [tf.identity(variable) for variable, _ in slowed]
        optimizer.learning_rate.assign(learning_rate)
        apply_summed(optimizer, gradients, model.trainable_variables)
        if slowed:
            on_each_replica([one for one, _ in slowed], _shorten, before, [factor for _, factor in slowed])
        for follower in followers:
            follower.after_update()

    return update


def _shorten(variable, before, factor) -> None:
    variable.assign(before + factor * (variable - before))
