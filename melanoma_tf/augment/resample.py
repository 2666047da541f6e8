"""Applying composed matrices: one bilinear resampling, one colour product.

Written with `tf.gather` on rows of channels: `ImageProjectiveTransformV3`, on which `tfa.image` and Keras' geometric
layers rest, has no XLA kernel and so cannot run inside a TPU step.
"""

from __future__ import annotations

import tensorflow as tf


def warp(images: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Resamples images through a projective map; positions outside are mirrored at the border.

    Args:
      images: uint8 or float32 [B,S,S,3].
      matrix: float32[B,3,3], output position -> input position, both in [-1, 1] at the outer edges of the image.

    Returns: float32[B,S,S,3], in the units of the input.
    """
    batch, size = images.shape[0], images.shape[1]
    x, y = _input_positions(matrix, size)
    x0, y0 = tf.floor(x), tf.floor(y)
    right, down = (x - x0)[..., None], (y - y0)[..., None]
    rows = tf.reshape(images, [batch * size * size, 3])
    first = (tf.range(batch) * (size * size))[:, None]

    def tap(column, row):
        position = first + _mirrored(row, size) * size + _mirrored(column, size)
        return tf.cast(tf.gather(rows, position), tf.float32)

    above = tap(x0, y0) * (1 - right) + tap(x0 + 1, y0) * right
    below = tap(x0, y0 + 1) * (1 - right) + tap(x0 + 1, y0 + 1) * right
    return tf.reshape(above * (1 - down) + below * down, [batch, size, size, 3])


def _input_positions(matrix: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Input x and y in pixels of every output pixel, float32[B, S*S] each."""
    centre = (2.0 * tf.range(size, dtype=tf.float32) + 1.0) / size - 1.0
    x, y = tf.meshgrid(centre, centre)
    grid = tf.stack([tf.reshape(x, [-1]), tf.reshape(y, [-1]), tf.ones([size * size])])
    # As sums, not a matmul: a TPU would multiply in bfloat16 and miss by pixels.
    moved = tf.reduce_sum(matrix[:, :, :, None] * grid[None, None], axis=2)
    to_pixel = lambda value: ((value / moved[:, 2]) + 1.0) * (size / 2) - 0.5  # noqa: E731
    return to_pixel(moved[:, 0]), to_pixel(moved[:, 1])


def _mirrored(position: tf.Tensor, size: int) -> tf.Tensor:
    """Whole-number positions folded into [0, size): ... 1 0 | 0 1 2 ... (half-sample symmetric)."""
    position = tf.math.floormod(tf.cast(position, tf.int32), 2 * size)
    return tf.minimum(position, 2 * size - 1 - position)


def recolor(images: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Applies float32[B,3,4] to the colours of float32[B,S,S,3] in [0, 1] and clips to [0, 1]."""
    weights = tf.transpose(matrix[:, :, :3], [0, 2, 1])
    columns = [images[..., channel : channel + 1] * weights[:, None, None, channel] for channel in range(3)]
    return tf.clip_by_value(tf.add_n(columns) + matrix[:, None, None, :, 3], 0.0, 1.0)
