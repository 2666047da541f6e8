"""The table of augmentation ops. To add one: write its `sample` function and put it into `OPS`.

`sample(seed int32[2], batch, strength in [0, 1])` gives float32[batch,3,3] for geometry, which maps an output position
(x, y, 1), both in [-1, 1] over the image, to the input position that is shown there; or float32[batch,3,4] for colour,
which maps (r, g, b, 1) in [0, 1] to the new colour. Strength 0 is the identity.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from melanoma_tf.randomness import fold_in, uniform

MAX_SHEAR = math.radians(20)
MAX_ZOOM = 1.5  # magnification between 1/1.5 and 1.5
MAX_SHIFT = 0.4  # in units of half the image: a fifth of the side
MAX_BRIGHTNESS = 0.4  # added, colours in [0, 1]
MAX_CONTRAST = 0.5
MAX_SATURATION = 0.8
MAX_HUE = math.radians(30)
MAX_ILLUMINANT = 1.4
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Op:
    """An augmentation: what it changes, and how its parameters are drawn."""

    kind: Literal["geometry", "color"]
    sample: Callable[[tf.Tensor, int, float], tf.Tensor]


def _uniform(seed: tf.Tensor, batch: int, number: int = 0) -> tf.Tensor:
    """float32[batch] in [-1, 1)."""
    return uniform([batch], fold_in(seed, number), -1.0, 1.0)


def _matrix(rows: list[list]) -> tf.Tensor:
    """float32[batch, rows, columns] of scalars and float32[batch] vectors."""
    batch = next(value for row in rows for value in row if isinstance(value, tf.Tensor))
    fill = lambda value: value if isinstance(value, tf.Tensor) else tf.fill(tf.shape(batch), float(value))  # noqa: E731
    return tf.stack([tf.stack([fill(value) for value in row], axis=-1) for row in rows], axis=-2)


def _mirror(seed: tf.Tensor, batch: int, strength: float, number: int) -> tf.Tensor:
    return tf.where(_uniform(seed, batch, number) < strength - 1.0, -1.0, 1.0)


def sample_flip(seed: tf.Tensor, batch: int, strength: float) -> tf.Tensor:
    """Left-right and up-down mirroring, each with probability strength / 2: a lesion has no up."""
    return _matrix([[_mirror(seed, batch, strength, 0), 0, 0], [0, _mirror(seed, batch, strength, 1), 0], [0, 0, 1]])


def sample_transpose(seed: tf.Tensor, batch: int, strength: float) -> tf.Tensor:
    """Exchanges x and y with probability strength / 2; with flips it gives all eight dihedral views."""
    swap = tf.where(_uniform(seed, batch) < strength - 1.0, 1.0, 0.0)
    return _matrix([[1 - swap, swap, 0], [swap, 1 - swap, 0], [0, 0, 1]])


def sample_rotate(seed: tf.Tensor, batch: int, strength: float) -> tf.Tensor:
    """Rotation by a uniform angle within +-180 degrees x strength."""
    angle = _uniform(seed, batch) * math.pi * strength
    cosine, sine = tf.cos(angle), tf.sin(angle)
    return _matrix([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def sample_shear(seed: tf.Tensor, batch: int, strength: float) -> tf.Tensor:
    """Horizontal shear by a uniform angle within +-20 degrees x strength."""
    return _matrix([[1, tf.tan(_uniform(seed, batch) * MAX_SHEAR * strength), 0], [0, 1, 0], [0, 0, 1]])


def sample_zoom(seed: tf.Tensor, batch: int, strength: float) -> tf.Tensor:
    """Magnification, log-uniform within 1.5^-strength to 1.5^strength, and per axis by a fifth of that."""
    both, one = (_uniform(seed, batch, number) * math.log(MAX_ZOOM) * strength for number in (0, 1))
    return _matrix([[tf.exp(both + 0.2 * one), 0, 0], [0, tf.exp(both - 0.2 * one), 0], [0, 0, 1]])


def sample_shift(seed: tf.Tensor, batch: int, strength: float) -> tf.Tensor:
    """Translation per axis, uniform within +-20 % of the side x strength."""
    along, down = (_uniform(seed, batch, number) * MAX_SHIFT * strength for number in (0, 1))
    return _matrix([[1, 0, along], [0, 1, down], [0, 0, 1]])


def sample_brightness(seed: tf.Tensor, batch: int, strength: float) -> tf.Tensor:
    """Adds a uniform value within +-0.4 x strength to all channels."""
    added = _uniform(seed, batch) * MAX_BRIGHTNESS * strength
    return _matrix([[1, 0, 0, added], [0, 1, 0, added], [0, 0, 1, added]])


def sample_contrast(seed: tf.Tensor, batch: int, strength: float) -> tf.Tensor:
    """Scales the distance to middle grey by a factor uniform within 1 +- 0.5 x strength."""
    factor = 1 + _uniform(seed, batch) * MAX_CONTRAST * strength
    rest = 0.5 * (1 - factor)
    return _matrix([[factor, 0, 0, rest], [0, factor, 0, rest], [0, 0, factor, rest]])


def sample_saturation(seed: tf.Tensor, batch: int, strength: float) -> tf.Tensor:
    """Scales the distance to the pixel's own grey (BT.601) by a factor uniform within 1 +- 0.8 x strength."""
    factor = 1 + _uniform(seed, batch) * MAX_SATURATION * strength
    rows = [[luma * (1 - factor) + (factor if row == column else 0.0) for column, luma in enumerate(LUMA)]
            for row in range(3)]  # fmt: skip
    return _matrix([[*row, 0] for row in rows])


def sample_hue(seed: tf.Tensor, batch: int, strength: float) -> tf.Tensor:
    """Rotates colours about the grey axis by a uniform angle within +-30 degrees x strength (Rodrigues' formula)."""
    angle = _uniform(seed, batch) * MAX_HUE * strength
    along = (1 - tf.cos(angle)) / 3
    across = tf.sin(angle) / math.sqrt(3)
    same, left, right = tf.cos(angle) + along, along - across, along + across
    return _matrix([[same, left, right, 0], [right, same, left, 0], [left, right, same, 0]])


def sample_illuminant(seed: tf.Tensor, batch: int, strength: float) -> tf.Tensor:
    """Another light or camera: gains per channel, log-uniform within 1.4^-strength to 1.4^strength (von Kries)."""
    red, green, blue = (
        tf.exp(_uniform(seed, batch, channel) * math.log(MAX_ILLUMINANT) * strength) for channel in range(3)
    )
    return _matrix([[red, 0, 0, 0], [0, green, 0, 0], [0, 0, blue, 0]])


# In the order in which they act on the image; the keys are the fields of `AugmentConfig`.
OPS: dict[str, Op] = {
    "flip": Op("geometry", sample_flip),
    "transpose": Op("geometry", sample_transpose),
    "rotate": Op("geometry", sample_rotate),
    "shear": Op("geometry", sample_shear),
    "zoom": Op("geometry", sample_zoom),
    "shift": Op("geometry", sample_shift),
    "brightness": Op("color", sample_brightness),
    "contrast": Op("color", sample_contrast),
    "saturation": Op("color", sample_saturation),
    "hue": Op("color", sample_hue),
    "illuminant": Op("color", sample_illuminant),
}
