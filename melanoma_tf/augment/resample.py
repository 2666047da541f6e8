"""Applying composed parameters: one resampling for all geometry, one product for all linear colour.

Written with `tf.gather` on rows of channels, one index a pixel: `ImageProjectiveTransformV3`, on which `tfa.image` and
Keras' geometric layers rest, has no XLA kernel and so cannot run inside a TPU step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from melanoma_tf.augment.op import Move, Parameters

# Pixels resampled at once. Positions, weights and taps of a pixel take about 100 bytes where nothing is fused, so that
# a batch of 64 images of 1024x1024 would take 6.7 GB. In parts of 4 megapixels, one after another, it took 1.05 GB
# beside the result (805 MB), most of it a second copy of that: `benchmarks/augment.py --memory`.
CHUNK_PIXELS = 1 << 22


def _reflected(position: tf.Tensor, size: int) -> tf.Tensor:
    """... 1 0 | 0 1 2 ... (half-sample symmetric)."""
    position = tf.math.floormod(position, 2 * size)
    return tf.minimum(position, 2 * size - 1 - position)


def _at_edge(position: tf.Tensor, size: int) -> tf.Tensor:
    return tf.clip_by_value(position, 0, size - 1)


# How whole-number positions outside the image are brought into [0, size); `constant` is black there.
BORDERS: dict[str, Callable[[tf.Tensor, int], tf.Tensor]] = {
    "reflect": _reflected,
    "edge": _at_edge,
    "constant": _at_edge,
}


def _linear(offset: tf.Tensor) -> list[tf.Tensor]:
    return [1 - offset, offset]


def _cubic(offset: tf.Tensor) -> list[tf.Tensor]:
    """Keys' kernel with a = -0.75, as OpenCV has it (Keys 1981)."""
    a = -0.75
    near = lambda t: ((a + 2) * t - (a + 3)) * t * t + 1  # noqa: E731
    far = lambda t: ((a * t - 5 * a) * t + 8 * a) * t - 4 * a  # noqa: E731
    return [far(1 + offset), near(offset), near(1 - offset), far(2 - offset)]


# Weights of the taps, from the distance to the pixel at the left or above; half of the taps lie on either side.
INTERPOLATIONS: dict[str, Callable[[tf.Tensor], list[tf.Tensor]]] = {"bilinear": _linear, "bicubic": _cubic}


def warp(
    images: tf.Tensor,
    matrix: tf.Tensor | None = None,
    moves: Sequence[tuple[Move | None, Parameters]] = (),
    *,
    interpolation: str = "bilinear",
    border: str = "reflect",
) -> tf.Tensor:
    """Resamples images once, through a projective map and displacements after it.

    Args:
      images: uint8 or float32 [B,S,S,3].
      matrix: float32[B,3,3], output position -> input position, both in [-1, 1] at the outer edges of the image.
      moves: displacements with their parameters, the last that acts on the image first.
      interpolation: of `INTERPOLATIONS`. border: of `BORDERS`, what is seen outside of the image.

    Returns: float32[B,S,S,3], in the units of the input; bicubic may overshoot them.
    """
    batch, size = images.shape[0], images.shape[1]
    x, y = _positions(matrix, batch, size)
    for move, parameters in moves:
        assert move is not None, "an op of kind displacement has a move"
        x, y = move(x, y, parameters)
    taps = _sample(images, _to_pixels(x, size), _to_pixels(y, size), interpolation, border)
    return tf.reshape(taps, [batch, size, size, 3])


def _positions(matrix: tf.Tensor | None, batch: int, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Input x and y in [-1, 1] of every output pixel, float32[B,S*S] each."""
    centre = (2.0 * tf.range(size, dtype=tf.float32) + 1.0) / size - 1.0
    x, y = (tf.reshape(axis, [-1]) for axis in tf.meshgrid(centre, centre))
    if matrix is None:
        return tf.broadcast_to(x, [batch, size * size]), tf.broadcast_to(y, [batch, size * size])
    grid = tf.stack([x, y, tf.ones([size * size])])
    # As sums, not a matmul: a TPU would multiply in bfloat16 and miss by pixels.
    moved = tf.reduce_sum(matrix[:, :, :, None] * grid[None, None], axis=2)
    return moved[:, 0] / moved[:, 2], moved[:, 1] / moved[:, 2]


def _to_pixels(value: tf.Tensor, size: int) -> tf.Tensor:
    return (value + 1.0) * (size / 2) - 0.5


def _sample(images: tf.Tensor, x: tf.Tensor, y: tf.Tensor, interpolation: str, border: str) -> tf.Tensor:
    """Colours at float32[B,N] positions in pixels, float32[B,N,3]."""
    batch, size = images.shape[0], images.shape[1]
    x0, y0 = tf.floor(x), tf.floor(y)
    across, down = (INTERPOLATIONS[interpolation](value[..., None]) for value in (x - x0, y - y0))
    rows = tf.reshape(images, [batch * size * size, 3])
    first = (tf.range(batch) * (size * size))[:, None]
    left = 1 - len(across) // 2

    def tap(column, row):
        column, row = tf.cast(column, tf.int32), tf.cast(row, tf.int32)
        inside = BORDERS[border]
        colour = tf.cast(tf.gather(rows, first + inside(row, size) * size + inside(column, size)), tf.float32)
        if border != "constant":
            return colour
        seen = (row >= 0) & (row < size) & (column >= 0) & (column < size)
        return tf.where(seen[..., None], colour, 0.0)

    lines = [
        sum(tap(x0 + (left + i), y0 + (left + j)) * weight for i, weight in enumerate(across)) for j in range(len(down))
    ]
    return sum(line * weight for line, weight in zip(lines, down))


def warp_images(images: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """`apply` of the geometry ops: float32[B,S,S,3] in [0, 1] through float32[B,3,3]."""
    return warp(images, matrix)


def recolor(images: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Applies float32[B,3,4] to the colours of float32[B,S,S,3] in [0, 1] and clips to [0, 1]."""
    weights = tf.transpose(matrix[:, :, :3], [0, 2, 1])
    columns = [images[..., channel : channel + 1] * weights[:, None, None, channel] for channel in range(3)]
    return tf.clip_by_value(tf.add_n(columns) + matrix[:, None, None, :, 3], 0.0, 1.0)
