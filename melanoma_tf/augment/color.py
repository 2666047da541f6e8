"""Colour as 3x4 matrices: (r, g, b, 1), in [0, 1], to the new colour."""

from __future__ import annotations

import math

import tensorflow as tf

from melanoma_tf.augment.op import Strength, matrix, uniform

MAX_BRIGHTNESS = 0.4  # added, colours in [0, 1]
MAX_CONTRAST = 0.5
MAX_SATURATION = 0.8
MAX_HUE = math.radians(30)
MAX_ILLUMINANT = 1.4
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def sample_brightness(seed: tf.Tensor, batch: int, strength: Strength) -> tf.Tensor:
    """Adds a uniform value within +-0.4 x strength to all channels."""
    added = uniform(seed, batch) * MAX_BRIGHTNESS * strength
    return matrix([[1, 0, 0, added], [0, 1, 0, added], [0, 0, 1, added]])


def sample_contrast(seed: tf.Tensor, batch: int, strength: Strength) -> tf.Tensor:
    """Scales the distance to middle grey by a factor uniform within 1 +- 0.5 x strength."""
    factor = 1 + uniform(seed, batch) * MAX_CONTRAST * strength
    rest = 0.5 * (1 - factor)
    return matrix([[factor, 0, 0, rest], [0, factor, 0, rest], [0, 0, factor, rest]])


def sample_saturation(seed: tf.Tensor, batch: int, strength: Strength) -> tf.Tensor:
    """Scales the distance to the pixel's own grey (BT.601) by a factor uniform within 1 +- 0.8 x strength."""
    factor = 1 + uniform(seed, batch) * MAX_SATURATION * strength
    rows = [[luma * (1 - factor) + (factor if row == column else 0.0) for column, luma in enumerate(LUMA)]
            for row in range(3)]  # fmt: skip
    return matrix([[*row, 0] for row in rows])


def sample_hue(seed: tf.Tensor, batch: int, strength: Strength) -> tf.Tensor:
    """Rotates colours about the grey axis by a uniform angle within +-30 degrees x strength (Rodrigues' formula)."""
    angle = uniform(seed, batch) * MAX_HUE * strength
    along = (1 - tf.cos(angle)) / 3
    across = tf.sin(angle) / math.sqrt(3)
    same, left, right = tf.cos(angle) + along, along - across, along + across
    return matrix([[same, left, right, 0], [right, same, left, 0], [left, right, same, 0]])


def sample_illuminant(seed: tf.Tensor, batch: int, strength: Strength) -> tf.Tensor:
    """Another light or camera: gains per channel, log-uniform within 1.4^-strength to 1.4^strength (von Kries)."""
    red, green, blue = (
        tf.exp(uniform(seed, batch, channel) * math.log(MAX_ILLUMINANT) * strength) for channel in range(3)
    )
    return matrix([[red, 0, 0, 0], [0, green, 0, 0], [0, 0, blue, 0]])
