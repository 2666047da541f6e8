"""Filters over neighbouring pixels. Lengths are in pixels at a side of 512 and grow with the side.

Borders are reflected, the edge pixel repeated. Rows are handled as [B,S,S*3], so that a step to the side is a slice of
long rows: one kernel for all taps, 6-7 times as fast on a CPU as slices of [B,S,S,3].
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from melanoma_tf.augment.op import Parameters, Strength, happens, per_image, uniform

MAX_SIGMA = 2.0
SHARPEN_SIGMA = 1.0
MAX_SHARPEN = 1.0
MAX_MOTION = 6.0


def reflect(images: tf.Tensor, before: int, after: int, axis: int) -> tf.Tensor:
    """Pads an axis by ... 1 0 | 0 1 2 ..., also beyond the width of the image."""
    size = images.shape[axis]
    while before or after:
        widths = [[0, 0] for _ in images.shape]
        widths[axis] = [min(before, size), min(after, size)]
        images = tf.pad(images, widths, "SYMMETRIC")
        before, after = before - widths[axis][0], after - widths[axis][1]
    return images


def in_pixels(length: float, size: int) -> float:
    """A length at 512 pixels for images of side `size`; at least half a pixel, below which a kernel does nothing."""
    return max(length * size / 512, 0.5)


def sample_amount(seed: tf.Tensor, batch: int, strength: Strength) -> tf.Tensor:
    """Share of the greatest effect, uniform in [0, strength), float32[batch]."""
    return strength * (uniform(seed, batch) + 1.0) / 2.0


def gaussian_blur(images: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
    """Gaussian blur of sigma 2 pixels x amount, the kernel sampled and cut off at 6 pixels.

    Range: strength 0.5 is about what the winners of SIIM-ISIC 2020 did, kernels of up to 5x5, whose sigma is 1.1
    (Ha, Liu & Liu 2020).
    """
    sigma = in_pixels(MAX_SIGMA, images.shape[1])
    return tf.clip_by_value(_blur(images, amount * sigma, math.ceil(3 * sigma)), 0.0, 1.0)


def sharpen(images: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
    """Unsharp mask: adds the difference to a Gaussian blur of sigma 1 pixel, times amount; clipped to [0, 1].

    Range: amount 1 is two thirds of the 150 % that Pillow's `UnsharpMask` adds unless told otherwise.
    """
    sigma = in_pixels(SHARPEN_SIGMA, images.shape[1])
    blurred = _blur(images, tf.fill([images.shape[0]], sigma), math.ceil(3 * sigma))
    return tf.clip_by_value(images + (images - blurred) * per_image(amount * MAX_SHARPEN, 4), 0.0, 1.0)


def _blur(images: tf.Tensor, sigma: tf.Tensor, radius: int) -> tf.Tensor:
    """Separable Gaussian of sigma float32[B] pixels on float32[B,S,S,3]; taps up to `radius`."""
    distance = tf.range(-radius, radius + 1, dtype=tf.float32)
    weights = tf.exp(-0.5 * (distance / tf.maximum(sigma, 1e-3)[:, None]) ** 2)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    across = _weighted_sum(_shifted(images, 0, radius), weights)
    return _weighted_sum(_shifted(across, radius, 0), weights)


def _shifted(images: tf.Tensor, down: int, across: int) -> list[tf.Tensor]:
    """The images moved by -down..down and, running faster, -across..across pixels, each float32[B,S,S*3]."""
    batch, size = images.shape[:2]
    padded = reflect(reflect(images, across, across, 2), down, down, 1)
    rows = tf.reshape(padded, [batch, size + 2 * down, (size + 2 * across) * 3])
    return [
        rows[:, row : row + size, column * 3 : (column + size) * 3]
        for row in range(2 * down + 1)
        for column in range(2 * across + 1)
    ]


def _weighted_sum(taps: Sequence[tf.Tensor], weights: tf.Tensor) -> tf.Tensor:
    """float32[B,S,S,3] of taps float32[B,S,S*3] and float32[B,taps]."""
    batch, size = taps[0].shape[:2]
    total = sum(tap * weights[:, number, None, None] for number, tap in enumerate(taps))
    return tf.reshape(total, [batch, size, size, 3])


def sample_motion_blur(seed: tf.Tensor, batch: int, strength: Strength) -> dict[str, tf.Tensor]:
    """`amount`, uniform in [0, strength), and `angle` of the way, uniform within +-90 degrees; float32[batch] each."""
    return {"amount": sample_amount(seed, batch, strength), "angle": uniform(seed, batch, 1) * math.pi / 2}


def motion_blur(images: tf.Tensor, parameters: Parameters) -> tf.Tensor:
    """Mean along a straight way of 6 pixels x amount, centred on the pixel.

    Range: the way of strength 1 fills a 7x7 kernel, the largest of `albumentations.MotionBlur` unless told otherwise.
    """
    reach = in_pixels(MAX_MOTION / 2, images.shape[1])
    radius = math.ceil(reach)
    kernel = line_kernel(parameters["amount"] * reach, parameters["angle"], radius)
    weights = tf.reshape(kernel, [images.shape[0], (2 * radius + 1) ** 2])
    return tf.clip_by_value(_weighted_sum(_shifted(images, radius, radius), weights), 0.0, 1.0)


def line_kernel(reach: tf.Tensor, angle: tf.Tensor, radius: int) -> tf.Tensor:
    """A line from -reach to reach pixels, float32[B], at `angle` radians clockwise from the right, anti-aliased.

    Points at most half a pixel apart, each shared out bilinearly over four pixels.

    Returns: float32[B, 2 radius + 1, 2 radius + 1], rows first, of sum 1.
    """
    along = tf.linspace(-1.0, 1.0, 4 * radius + 1) * reach[:, None]
    distance = tf.range(-radius, radius + 1, dtype=tf.float32)
    near = lambda place: tf.nn.relu(1.0 - tf.abs(distance - place[..., None]))  # noqa: E731
    rows, columns = near(along * tf.sin(angle)[:, None]), near(along * tf.cos(angle)[:, None])
    return tf.reduce_mean(rows[:, :, :, None] * columns[:, :, None, :], axis=1)


def sample_median_blur(seed: tf.Tensor, batch: int, strength: Strength) -> tf.Tensor:
    """Whether an image is filtered, with probability strength / 2, bool[batch]."""
    return happens(seed, batch, strength / 2, 0)


def median_blur(images: tf.Tensor, filtered: tf.Tensor) -> tf.Tensor:
    """Median of 3x3 pixels per channel: removes what is one pixel wide. 3x3 at every size, being the least there is.

    By minima and maxima only: with the columns of three sorted, the median of nine is that of the greatest low, the
    middle of the middles and the least high.
    """
    low, middle, high = _sorted(*_shifted(images, 1, 0))
    batch, size = images.shape[:2]
    low, middle, high = (_shifted(tf.reshape(value, [batch, size, size, 3]), 0, 1) for value in (low, middle, high))
    found = _sorted(_sorted(*low)[2], _sorted(*middle)[1], _sorted(*high)[0])[1]
    return tf.where(per_image(filtered, 4), tf.reshape(found, images.shape), images)


def _sorted(a: tf.Tensor, b: tf.Tensor, c: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Least, middle and greatest, elementwise."""
    least, most = tf.minimum(a, b), tf.maximum(a, b)
    return tf.minimum(least, c), tf.maximum(least, tf.minimum(most, c)), tf.maximum(most, c)
