"""A 1x1 convolution with the batch normalisation and the swish behind it, as MBConv blocks expand their maps, for CPUs.

The expanded maps are several times as large as what they are made of, and the statistics of a product need not be taken
from it: of x = r W, r centred, the variance is that of r's covariance, w' Cov(r) w; and the sums that the gradient of
normalisation takes over x follow from r' g, which the gradient of W needs anyway. So the expanded maps are read once
forward and once backward, where normalisation by itself reads them twice and four times.
"""

from __future__ import annotations

import tensorflow as tf

from melanoma_tf.kernels.normalization import SHIFT_ROWS, compiled, normalized
from melanoma_tf.kernels.swish import swish_gradient

MANY_ROWS = 64  # times the channels; below, the small products cost what the passes save


def is_worth_expanding(inputs: tf.Tensor) -> bool:
    """Whether maps [B,H,W,R] have many pixels for their channels, and 32 bits: sums are taken from products."""
    return inputs.dtype == tf.float32 and inputs.shape.num_elements() >= MANY_ROWS * inputs.shape[-1] ** 2


def expand_norm_swish(
    product: tf.Tensor, inputs: tf.Tensor, kernel: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """`normalization.batch_norm_swish` of `product`, the same three results, with the gradient of what it is made of.

    Args: product: float32[B,H,W,E], inputs [B,H,W,R] times kernel [R,E]. scale, offset: float32[E].
    """
    product, count = tf.stop_gradient(product), float(inputs.shape.num_elements() // inputs.shape[-1])

    @tf.custom_gradient
    def normalize(inputs, kernel, scale, offset):
        rows, shift = _centred(inputs)
        gram = tf.matmul(rows, rows, transpose_a=True)
        mean, variance = _moments(gram, kernel, shift, count)
        inverse = tf.math.rsqrt(variance + epsilon)

        def gradient(upstream, *_):
            here = _before_swish(product, mean, scale * inverse, offset, upstream)
            sums = tf.transpose(tf.matmul(tf.reshape(here, [-1, here.shape[-1]]), rows, transpose_a=True))
            into_kernel, into_scale, back, less = _small_gradients(gram, sums, kernel, scale, inverse, count)
            into_rows = tf.matmul(tf.reshape(here, [-1, here.shape[-1]]), back, transpose_b=True)
            return tf.reshape(into_rows - tf.matmul(rows, less), inputs.shape), into_kernel, into_scale, sums[-1]

        return (normalized(product, mean, scale * inverse, offset), mean, variance), gradient

    return normalize(inputs, kernel, scale, offset)


@compiled
def _centred(inputs):
    """The pixels [N,R+1] less the mean of some of them, with a 1 behind each; and that mean."""
    rows = tf.reshape(inputs, [-1, inputs.shape[-1]])
    shift = tf.reduce_mean(rows[:: max(rows.shape[0] // SHIFT_ROWS, 1)], 0)
    return tf.concat([rows - shift, tf.ones([rows.shape[0], 1])], 1), shift


@compiled
def _moments(gram, kernel, shift, count):
    """Mean and biased variance of the product, of the products of `_centred` rows with each other."""
    means = gram[-1, :-1] / count
    covariance = gram[:-1, :-1] / count - means[:, tf.newaxis] * means
    mean = tf.linalg.matvec(kernel, means + shift, transpose_a=True)
    variance = tf.reduce_sum(kernel * tf.matmul(covariance, kernel), 0)
    return mean, tf.maximum(variance, 0.0)  # of weights that cancel rounding can leave less


@compiled
def _small_gradients(gram, sums, kernel, scale, inverse, count):
    """Into kernel and scale; and [R,E] and [R+1,R], the products with which give what goes into the rows.

    With x the product less its mean and g what comes before swish, the gradient of x is
    scale inverse (g - mean(g) - x slope). x is [rows, 1] times `line`.
    """
    factor, total = scale * inverse, sums[-1]
    line = tf.concat([kernel, -tf.matmul(gram[-1:, :-1] / count, kernel)], 0)
    product = tf.reduce_sum(line * sums, 0)
    slope = product * tf.square(inverse) / count
    added = tf.concat([tf.zeros_like(kernel), (total / count)[tf.newaxis]], 0) + line * slope
    into_kernel = factor * (sums - tf.matmul(gram, added))[:-1]
    back = kernel * factor
    return into_kernel, product * inverse, back, tf.matmul(added, back, transpose_b=True)


@compiled
def _before_swish(values, mean, scale, offset, upstream):
    return swish_gradient((values - mean) * scale + offset, upstream)
