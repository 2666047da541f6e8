"""Batch normalisation with the swish behind it, and squeeze-and-excitation too, in few passes over memory, for CPUs.

A pass is one compiled loop with one output, as XLA makes it of elementwise operations on a CPU; its own sums over rows
are slow. So sums are taken by adding slices of the maps, and several sums go through one pass as the bits of a complex
number. What comes after normalisation is computed again for the gradient, which costs less than to keep and to read it:
nothing but the inputs is kept.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable

import tensorflow as tf

from melanoma_tf.kernels.swish import swish_gradient

SLICES = 8  # of a map, at most; more are slower to compile and no faster
SHIFT_ROWS = 64
compiled = tf.function(jit_compile=True, autograph=False)


def batch_norm_swish(
    inputs: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """`(swish of the normalised inputs, mean [C], variance [C])`: x * sigmoid(x) behind normalisation by the batch's
    statistics; the variance is the biased one.

    Args: inputs [B,H,W,C] of static shape, of any float type; scale, offset: float32[C].
    The gradient is of the first result alone.
    """

    @tf.custom_gradient
    def normalize(inputs, scale, offset):
        mean, variance = _moments(inputs)
        inverse = tf.math.rsqrt(variance + epsilon)
        line = (mean, scale * inverse, offset)

        def gradient(upstream, *_):
            sums = _totals(_partial_gradients(inputs, *line, upstream))
            return _gradients(inputs, line, inverse, sums, upstream)

        return (normalized(inputs, *line), mean, variance), gradient

    return normalize(inputs, scale, offset)


def batch_norm_excite(
    inputs: tf.Tensor, moments: tuple[tf.Tensor, tf.Tensor], scale: tf.Tensor, offset: tf.Tensor, epsilon: float,
    *weights: tf.Tensor,
) -> tf.Tensor:  # fmt: skip
    """Normalisation, swish and `excitation.excite` as one.

    Args: moments: mean and variance of the inputs, of which the gradient is taken here; the others as in
    `batch_norm_swish` and `excite`.
    """
    mean, variance = (tf.stop_gradient(moment) for moment in moments)
    inverse = tf.math.rsqrt(variance + epsilon)
    pixels = inputs.shape[1] * inputs.shape[2]

    @tf.custom_gradient
    def multiply(inputs, scale, offset, *weights):
        line = (mean, scale * inverse, offset)
        total, *ungated = _three_sums(_partial_slopes(inputs, *line))
        squeezed = tf.cast(total / pixels, inputs.dtype)

        def gradient(upstream):
            into_gate, *gated = _three_sums(_partial_products(inputs, *line, upstream))
            gate, into_mean, into_weights = gate_gradients(squeezed, weights, into_gate)
            gating = [tf.cast(one, tf.float32) for one in (gate, into_mean / pixels)]
            sums = [tf.reduce_sum(gating[0] * one + gating[1] * other, 0) for one, other in zip(gated, ungated)]
            return *_gradients(inputs, line, inverse, sums, upstream, *gating), *into_weights

        return _gated(inputs, *line, gate_of(squeezed, *weights)), gradient

    return multiply(inputs, scale, offset, *weights)


@compiled
def standardize(inputs: tf.Tensor, mean: tf.Tensor, deviation: tf.Tensor) -> tf.Tensor:
    """Of any shape, with a mean and a deviation that broadcast."""
    return (inputs - mean) / deviation


def gate_of(squeezed, reduce_kernel, reduce_bias, expand_kernel, expand_bias):
    """The gate [B,C] of squeeze-and-excitation by the means [B,C] of the maps."""
    reduced = tf.nn.silu(tf.matmul(squeezed, reduce_kernel) + reduce_bias)
    return tf.sigmoid(tf.matmul(reduced, expand_kernel) + expand_bias)


def gate_gradients(squeezed, weights, into_gate):
    """The gate, and the gradients of the means and of the weights."""
    with tf.GradientTape() as tape:
        tape.watch((squeezed, *weights))
        gate = gate_of(squeezed, *weights)
    into_mean, *into_weights = tape.gradient(gate, (squeezed, *weights), tf.cast(into_gate, gate.dtype))
    return gate, into_mean, into_weights


def slices(maps: tf.Tensor) -> list[tf.Tensor]:
    """Equal parts float32[B,N,C] of the pixels of maps [B,H,W,C]."""
    pixels = maps.shape[1] * maps.shape[2]
    number = next(number for number in range(SLICES, 0, -1) if pixels % number == 0)
    parts = tf.reshape(maps, [-1, number, pixels // number, maps.shape[3]])
    return tf.unstack(tf.cast(parts, tf.float32), axis=1)


def over_map(parts: tf.Tensor) -> tf.Tensor:
    """[B,N,C] -> [B,C]"""
    return tf.reduce_sum(parts, 1)


def _totals(parts: tf.Tensor) -> list[tf.Tensor]:
    """Sums over complex64[B,N,C] but the last axis: of the real and of the imaginary parts, float32[C] each."""
    channels = parts.shape[-1]
    pairs = tf.reshape(tf.bitcast(parts, tf.float32), [-1, 2 * channels])
    return tf.unstack(tf.reshape(tf.matmul(tf.ones((1, pairs.shape[0])), pairs), [channels, 2]), axis=1)


def _moments(inputs):
    count = float(inputs.shape.num_elements() // inputs.shape[-1])
    parts, shift = _partial_moments(inputs)
    first, second = (total / count for total in _totals(parts))
    return first + shift, second - tf.square(first)


def _gradients(inputs, line, inverse, sums, upstream, *gating):
    """Into inputs, scale and offset.

    Args: sums: over all pixels of the gradient before swish, and of that times the centred inputs.
    """
    count = float(inputs.shape.num_elements() // inputs.shape[-1])
    into_offset, product = sums
    shares = (into_offset / count, product * tf.square(inverse) / count)
    return _into_inputs(inputs, *line, *shares, upstream, *gating), product * inverse, into_offset


@compiled
def _partial_moments(inputs):
    """Sums of the pixels and of their squares, less a mean of some of them, since squares of the pixels themselves
    would cancel."""
    rows = tf.reshape(inputs, [-1, inputs.shape[-1]])
    shift = tf.reduce_mean(tf.cast(rows[:: max(rows.shape[0] // SHIFT_ROWS, 1)], tf.float32), 0)
    return add_up(tf.complex(part - shift, tf.square(part - shift)) for part in slices(inputs)), shift


def add_up(parts: Iterable[tf.Tensor]) -> tf.Tensor:
    return functools.reduce(operator.add, parts)


def _swish(value):
    return value * tf.sigmoid(value)


@compiled
def normalized(inputs, mean, scale, offset):
    return tf.cast(_swish((tf.cast(inputs, tf.float32) - mean) * scale + offset), inputs.dtype)


@compiled
def _gated(inputs, mean, scale, offset, gate):
    output = _swish((tf.cast(inputs, tf.float32) - mean) * scale + offset)
    return tf.cast(output * tf.cast(gate, tf.float32)[:, tf.newaxis, tf.newaxis], inputs.dtype)


def _three_sums(parts: tf.Tensor) -> list[tf.Tensor]:
    """Sums float32[B,C] over maps of what was `_packed`, complex128[B,N,C]."""
    values = tf.bitcast(parts, tf.float32)
    return tf.unstack(over_map(tf.reshape(values, [*parts.shape, 4])), axis=-1)[:3]


def _packed(*parts: tf.Tensor) -> tf.Tensor:
    """Three of float32 as the bits of one complex128."""
    first, second, third = (tf.cast(tf.bitcast(part, tf.uint32), tf.uint64) for part in parts)
    pair = tf.bitwise.bitwise_or(first, tf.bitwise.left_shift(second, tf.constant(32, tf.uint64)))
    return tf.complex(tf.bitcast(pair, tf.float64), tf.bitcast(third, tf.float64))


@compiled
def _partial_slopes(inputs, mean, scale, offset):
    """Of swish, of its slope and of that times the centred inputs: what the gradient of a mean needs, too."""
    parts = []
    for part in slices(inputs):
        value = (part - mean) * scale + offset
        slope = swish_gradient(value, 1.0)
        parts.append((_swish(value), slope, slope * (part - mean)))
    return _packed(*map(add_up, zip(*parts)))


@compiled
def _partial_products(inputs, mean, scale, offset, upstream):
    """The same with what comes from above as a factor."""
    parts = []
    for part, above in zip(slices(inputs), slices(upstream)):
        value = (part - mean) * scale + offset
        here = swish_gradient(value, above)
        parts.append((_swish(value) * above, here, here * (part - mean)))
    return _packed(*map(add_up, zip(*parts)))


@compiled
def _partial_gradients(inputs, mean, scale, offset, upstream):
    parts = []
    for part, above in zip(slices(inputs), slices(upstream)):
        here = swish_gradient((part - mean) * scale + offset, above)
        parts.append(tf.complex(here, here * (part - mean)))
    return add_up(parts)


@compiled
def _into_inputs(inputs, mean, scale, offset, mean_gradient, slope, upstream, *gating):
    """Back through the gate, if there is one, through swish and through normalisation.

    Args: gating: of a gate [B,C] its value and what goes into the mean of each map.
    """
    values, above = (tf.cast(one, tf.float32) for one in (inputs, upstream))
    if gating:
        gate, into_mean = (one[:, tf.newaxis, tf.newaxis] for one in gating)
        above = above * gate + into_mean
    here = swish_gradient((values - mean) * scale + offset, above)
    return tf.cast(scale * (here - mean_gradient - (values - mean) * slope), inputs.dtype)
