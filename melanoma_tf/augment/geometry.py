"""Geometry as 3x3 matrices: each maps an output position (x, y, 1), in [-1, 1] over the image, to the input position
that is shown there."""

from __future__ import annotations

import math

import tensorflow as tf

from melanoma_tf.augment.op import Strength, happens, matrix, uniform

MAX_SHEAR = math.radians(20)
MAX_ZOOM = 1.5  # magnification between 1/1.5 and 1.5
MAX_SHIFT = 0.4  # in units of half the image: a fifth of the side
MAX_PERSPECTIVE = 0.25


def sample_flip(seed: tf.Tensor, batch: int, strength: Strength) -> tf.Tensor:
    """Left-right and up-down mirroring, each with probability strength / 2: a lesion has no up."""
    left, up = (tf.where(happens(seed, batch, strength / 2, number), -1.0, 1.0) for number in (0, 1))
    return matrix([[left, 0, 0], [0, up, 0], [0, 0, 1]])


def sample_transpose(seed: tf.Tensor, batch: int, strength: Strength) -> tf.Tensor:
    """Exchanges x and y with probability strength / 2; with flips it gives all eight dihedral views."""
    swap = tf.where(happens(seed, batch, strength / 2, 0), 1.0, 0.0)
    return matrix([[1 - swap, swap, 0], [swap, 1 - swap, 0], [0, 0, 1]])


def sample_rotate(seed: tf.Tensor, batch: int, strength: Strength) -> tf.Tensor:
    """Rotation by a uniform angle within +-180 degrees x strength."""
    angle = uniform(seed, batch) * math.pi * strength
    cosine, sine = tf.cos(angle), tf.sin(angle)
    return matrix([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def sample_shear(seed: tf.Tensor, batch: int, strength: Strength) -> tf.Tensor:
    """Horizontal shear by a uniform angle within +-20 degrees x strength."""
    return matrix([[1, tf.tan(uniform(seed, batch) * MAX_SHEAR * strength), 0], [0, 1, 0], [0, 0, 1]])


def sample_zoom(seed: tf.Tensor, batch: int, strength: Strength) -> tf.Tensor:
    """Magnification, log-uniform within 1.5^-strength to 1.5^strength, and per axis by a fifth of that."""
    both, one = (uniform(seed, batch, number) * math.log(MAX_ZOOM) * strength for number in (0, 1))
    return matrix([[tf.exp(both + 0.2 * one), 0, 0], [0, tf.exp(both - 0.2 * one), 0], [0, 0, 1]])


def sample_shift(seed: tf.Tensor, batch: int, strength: Strength) -> tf.Tensor:
    """Translation per axis, uniform within +-20 % of the side x strength."""
    along, down = (uniform(seed, batch, number) * MAX_SHIFT * strength for number in (0, 1))
    return matrix([[1, 0, along], [0, 1, down], [0, 0, 1]])


def sample_perspective(seed: tf.Tensor, batch: int, strength: Strength) -> tf.Tensor:
    """A camera held at a slant: the divisor 1 + a x + b y of a homography, a and b uniform within +-0.25 x strength.

    At full strength the far side of the image is shown up to 1.7 times as small as the near one.
    """
    along, down = (uniform(seed, batch, number) * MAX_PERSPECTIVE * strength for number in (0, 1))
    return matrix([[1, 0, 0], [0, 1, 0], [along, down, 1]])
