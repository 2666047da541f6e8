"""Depthwise convolution with a faster gradient of the filter on CPUs.

oneDNN's gradient of a depthwise filter larger than 3x3 is slow; TensorFlow's own kernel, which oneDNN's replaces
wherever a graph is rewritten for it, is up to three times as fast. A branch that is not lowered is not rewritten.
`python benchmarks/depthwise.py` prints both.
"""

from __future__ import annotations

import tensorflow as tf

from melanoma_tf.kernels import on_cpu

FAST_KERNELS = (3,)  # sides that oneDNN has fast gradients for


def depthwise_conv2d(inputs: tf.Tensor, kernel: tf.Tensor, stride: int, padding: str) -> tf.Tensor:
    """`tf.nn.depthwise_conv2d`, the same values, with the faster gradient on a CPU.

    Args: inputs [B,H,W,C]; kernel [K,K,C,1]; stride of both axes; padding `SAME` or `VALID`.
    """
    strides, size = [1, stride, stride, 1], kernel.shape[0]

    @tf.custom_gradient
    def convolve(inputs, kernel):
        def gradient(upstream):
            into_inputs = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(inputs), filter=kernel, out_backprop=upstream, strides=strides, padding=padding
            )
            into_filter = filter_gradient if size not in FAST_KERNELS and on_cpu() else _filter_gradient
            return into_inputs, into_filter(inputs, upstream, kernel.shape, strides, padding)

        return tf.nn.depthwise_conv2d(inputs, kernel, strides, padding), gradient

    return convolve(inputs, kernel)


def _filter_gradient(inputs, upstream, sizes, strides, padding):
    return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=inputs, filter_sizes=sizes, out_backprop=upstream, strides=strides, padding=padding
    )


def filter_gradient(
    inputs: tf.Tensor, upstream: tf.Tensor, sizes: list[int], strides: list[int], padding: str
) -> tf.Tensor:
    """Gradient [K,K,C,1] of a depthwise filter of these `sizes`, by TensorFlow's own kernel.

    Args: inputs [B,H,W,C] and upstream [B,H',W',C], the gradient of the output.
    """

    @tf.function(autograph=False)
    def branch(inputs, upstream):
        return _filter_gradient(inputs, upstream, sizes, strides, padding)

    shapes = [tf.TensorSpec(one.shape, one.dtype) for one in (inputs, upstream)]
    return tf.raw_ops.StatelessCase(
        branch_index=0, input=[inputs, upstream], Tout=[inputs.dtype],
        branches=[branch.get_concrete_function(*shapes)], output_shapes=[sizes],
    )[0]  # fmt: skip
