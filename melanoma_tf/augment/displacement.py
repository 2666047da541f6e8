"""Displacements: positions (x, y) in [-1, 1] over the image are moved to where the image is looked up.

As functions of the position they chain exactly, and no field of offsets has to be stored or interpolated.
"""

from __future__ import annotations

import math

import tensorflow as tf

from melanoma_tf.augment.op import Parameters, Strength, uniform

MAX_DISTORTION = 0.15  # beyond a sixth the corners of the image, at r^2 = 2, would fold back
GRID_CELLS = 5
MAX_GRID = 0.6  # of a cell
WAVES = 8
MAX_ELASTIC = 0.08  # of half the side
Positions = tuple[tf.Tensor, tf.Tensor]


def sample_optical(seed: tf.Tensor, batch: int, strength: Strength) -> tf.Tensor:
    """Distortion of a lens: k, uniform within +-0.15 x strength, float32[batch]."""
    return uniform(seed, batch) * MAX_DISTORTION * strength


def move_optical(x: tf.Tensor, y: tf.Tensor, parameters: Parameters) -> Positions:
    """Radial polynomial of first order (Brown 1966), r' = r (1 + k r^2) / (1 + k): r = 1, half the side, stays."""
    k = parameters[:, None]
    scale = (1.0 + k * (x * x + y * y)) / (1.0 + k)
    return x * scale, y * scale


def sample_grid(seed: tf.Tensor, batch: int, strength: Strength) -> tf.Tensor:
    """Offsets of the lines of a 5x5 grid per axis, uniform within +-0.3 of a cell x strength, float32[batch,2,4].

    Neighbouring lines keep at least two fifths of a cell between them, so that nothing folds over.
    """
    amount = (2.0 / GRID_CELLS) * MAX_GRID / 2 * tf.convert_to_tensor(strength, tf.float32)
    return uniform(seed, batch, shape=[2, GRID_CELLS - 1]) * tf.reshape(amount, [-1, 1, 1])


def move_grid(x: tf.Tensor, y: tf.Tensor, parameters: Parameters) -> Positions:
    """Piecewise linear per axis: the offset of a position is that of its neighbouring lines, 0 at the border."""
    return tuple(value + _between(value, parameters[:, axis]) for axis, value in enumerate((x, y)))


def _between(value: tf.Tensor, offsets: tf.Tensor) -> tf.Tensor:
    """The offsets as a sum of hat functions, one per line: no lookup per position."""
    total = tf.zeros_like(value)
    for line in range(GRID_CELLS - 1):
        centre = -1.0 + (line + 1) * 2.0 / GRID_CELLS
        total += offsets[:, line, None] * tf.nn.relu(1.0 - tf.abs(value - centre) * (GRID_CELLS / 2.0))
    return total


def sample_elastic(seed: tf.Tensor, batch: int, strength: Strength) -> dict[str, tf.Tensor]:
    """A smooth random field: per axis eight plane waves of 1-3 periods over the image, with random phases.

    A random field of limited bandwidth by its Fourier components (Simard et al. 2003 smooth white noise instead), so
    that it is known at every position. The root mean square of the offset is at most 0.08 of half the side x strength;
    each image's amplitude is uniform up to that.
    """
    size = tf.convert_to_tensor(strength, tf.float32) * (uniform(seed, batch) + 1.0) / 2.0 * MAX_ELASTIC
    direction = uniform(seed, batch, 1, [2, WAVES]) * math.pi
    frequency = (uniform(seed, batch, 2, [2, WAVES]) + 2.0) * math.pi
    return {
        "amplitude": size * math.sqrt(2.0 / WAVES),
        "across": frequency * tf.cos(direction),
        "down": frequency * tf.sin(direction),
        "phase": uniform(seed, batch, 3, [2, WAVES]) * math.pi,
    }


def move_elastic(x: tf.Tensor, y: tf.Tensor, parameters: Parameters) -> Positions:
    """Adds the waves."""
    across, down, phase = (parameters[name][..., None] for name in ("across", "down", "phase"))
    offsets = [tf.zeros_like(x), tf.zeros_like(x)]
    for axis in range(2):
        for wave in range(WAVES):
            angle = across[:, axis, wave] * x + down[:, axis, wave] * y + phase[:, axis, wave]
            offsets[axis] += tf.sin(angle)
    amplitude = parameters["amplitude"][:, None]
    return x + amplitude * offsets[0], y + amplitude * offsets[1]
