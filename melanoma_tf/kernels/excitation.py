"""Squeeze-and-excitation in few passes over memory, for CPUs: see `normalization` for how."""

from __future__ import annotations

import tensorflow as tf

from melanoma_tf.kernels.normalization import add_up, compiled, gate_gradients, gate_of, over_map, slices


def excite(inputs: tf.Tensor, *weights: tf.Tensor) -> tf.Tensor:
    """Squeeze-and-excitation (Hu et al. 2018, arXiv 1709.01507) of [B,H,W,C]; H, W and C static.

    A map is multiplied with sigmoid(expand(swish(reduce(its mean)))).

    Args: weights: kernel [C,R] and bias [R] that reduce, kernel [R,C] and bias [C] that expand.
    """
    pixels = inputs.shape[1] * inputs.shape[2]

    @tf.custom_gradient
    def multiply(inputs, *weights):
        squeezed = tf.cast(over_map(_partial_sums(inputs)) / pixels, inputs.dtype)

        def gradient(upstream):
            into_gate = over_map(_partial_products(inputs, upstream))
            gate, into_mean, into_weights = gate_gradients(squeezed, weights, into_gate)
            return _scaled(upstream, gate, into_mean / pixels), *into_weights

        return _product(inputs, gate_of(squeezed, *weights)), gradient

    return multiply(inputs, *weights)


@compiled
def _product(maps, gate):
    return maps * gate[:, tf.newaxis, tf.newaxis]


@compiled
def _scaled(maps, gate, added):
    return maps * gate[:, tf.newaxis, tf.newaxis] + added[:, tf.newaxis, tf.newaxis]


@compiled
def _partial_products(maps, others):
    return add_up(one * other for one, other in zip(slices(maps), slices(others)))


@compiled
def _partial_sums(maps):
    return add_up(slices(maps))
