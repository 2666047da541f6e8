"""Depthwise convolution whose filter gradient on small maps is two matrix products, for CPUs.

oneDNN's gradient of a 5x5 depthwise filter is slow on the small maps of an EfficientNet's last stages. All products of
all pixels of both maps, summed over the batch, are one matrix product for each channel; a fixed 0-1 matrix then adds
those that belong to one tap. `python benchmarks/depthwise.py` prints both.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

LARGEST_PRODUCT = 64 * 64  # pixels of the input times pixels of the output, above which oneDNN is faster
FAST_KERNELS = (3,)  # sides that oneDNN has fast gradients for


def depthwise_conv2d(inputs: tf.Tensor, kernel: tf.Tensor, stride: int, padding: str) -> tf.Tensor:
    """`tf.nn.depthwise_conv2d`, the same values, with the faster gradient where that helps.

    Args: inputs [B,H,W,C]; kernel [K,K,C,1]; stride of both axes; padding `SAME` or `VALID`.
    """
    strides, size = [1, stride, stride, 1], kernel.shape[0]

    @tf.custom_gradient
    def convolve(inputs, kernel):
        def gradient(upstream):
            common = {"out_backprop": upstream, "strides": strides, "padding": padding}
            into_inputs = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(inputs), filter=kernel, **common
            )
            if _is_slow(inputs, upstream, size):
                return into_inputs, filter_gradient(inputs, upstream, size, stride, padding)
            return into_inputs, tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=inputs, filter_sizes=kernel.shape, **common
            )

        return tf.nn.depthwise_conv2d(inputs, kernel, strides, padding), gradient

    return convolve(inputs, kernel)


def _is_slow(inputs: tf.Tensor, upstream: tf.Tensor, size: int) -> bool:
    """Whether TensorFlow's own gradient of the filter is the slower one."""
    product = int(np.prod(inputs.shape[1:3])) * int(np.prod(upstream.shape[1:3]))
    accelerator = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU")
    return size not in FAST_KERNELS and product <= LARGEST_PRODUCT and not accelerator


def filter_gradient(inputs: tf.Tensor, upstream: tf.Tensor, size: int, stride: int, padding: str) -> tf.Tensor:
    """Gradient [K,K,C,1] of a depthwise filter of side `size`.

    Args: inputs [B,H,W,C] and upstream [B,H',W',C], the gradient of the output, with static H, W, C, H', W'.
    """
    (height, width, channels), (rows, columns) = inputs.shape[1:], upstream.shape[1:3]
    pixels = tf.reshape(tf.transpose(inputs, [3, 1, 2, 0]), [channels, height * width, -1])
    errors = tf.reshape(tf.transpose(upstream, [3, 0, 1, 2]), [channels, -1, rows * columns])
    products = tf.reshape(tf.matmul(pixels, errors), [channels, -1])
    vertical, horizontal = (_meetings(side, after, size, stride, padding)
                            for side, after in ((height, rows), (width, columns)))  # fmt: skip
    taps = np.einsum("yai,xbj->yxabij", vertical, horizontal).reshape(-1, size * size)
    taps = tf.constant(taps, inputs.dtype)
    return tf.reshape(tf.matmul(taps, products, transpose_a=True, transpose_b=True), [size, size, channels, 1])


def _meetings(side: int, after: int, size: int, stride: int, padding: str) -> np.ndarray:
    """float32[side, after, size]: 1 where a pixel of the input meets one of the output under a tap of the filter."""
    before = max((after - 1) * stride + size - side, 0) // 2 if padding == "SAME" else 0
    pixel, output, tap = np.ogrid[:side, :after, :size]
    return (pixel == output * stride + tap - before).astype(np.float32)
