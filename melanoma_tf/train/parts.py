"""A step in parts, for memory, and several steps in one call, for hosts that are slower than their device."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from melanoma_tf.randomness import fold_in

Gradients = Callable[[dict[str, tf.Tensor], tf.Tensor], tuple[tf.Tensor, list[tf.Tensor]]]


def in_parts(
    gradients_of: Gradients, share: dict[str, tf.Tensor], seed: tf.Tensor, weights: list[tf.Variable], parts: int
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Loss and gradients of a replica's share, taken part after part and added up.

    Only one part's activations are in memory at a time. The loss is a sum over images divided by the global batch, so
    the sum is that of the whole but for the order of additions; BatchNormalization sees one part at a time, and each
    part has dropout masks of its own.

    Args: gradients_of: `(share, seed) -> (loss, gradients of weights)`. share: tensors [B, ...]. seed: int32[2].
      parts: divides B; 1 is the plain step.
    """
    if parts == 1:
        return gradients_of(share, seed)
    split = {key: tf.reshape(value, [parts, -1, *value.shape[1:]]) for key, value in share.items()}

    def add(number, loss, gradients):
        part = {key: value[number] for key, value in split.items()}
        part_loss, part_gradients = gradients_of(part, fold_in(seed, number))
        return number + 1, loss + part_loss, [
            total if gradient is None else total + gradient for total, gradient in zip(gradients, part_gradients)
        ]  # fmt: skip

    zeros = [tf.zeros(weight.shape, weight.dtype) for weight in weights]
    _, loss, gradients = tf.while_loop(
        lambda number, *_: number < parts, add, (tf.constant(0), tf.constant(0.0), zeros), parallel_iterations=1
    )
    return loss, gradients


def build_steps(step: Callable) -> Callable:
    """Compiled `(iterator, seeds int32[N,2], rates float32[N], count int32) -> losses float32[N]`, zero after `count`.

    The loop runs on the device, where one call for every step would make a TPU wait for the host.
    """

    @tf.function
    def steps(iterator, seeds, rates, count):
        losses = tf.TensorArray(tf.float32, seeds.shape[0])
        for number in tf.range(count):
            losses = losses.write(number, step(next(iterator), seeds[number], rates[number]))
        return losses.stack()

    return steps
