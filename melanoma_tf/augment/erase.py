"""Erasing parts of an image: one square, several rectangles, a grid.

What is erased shows the image's own mean colour. Black would look like the dark field of a dermatoscope, and grey like
nothing on skin: a network can tell both from skin at a glance, and both move the statistics of its normalisation.
"""

from __future__ import annotations

import math

import tensorflow as tf

from melanoma_tf.augment.drawing import between, covered, direction, mean_colour, mixed, positions, shares, turned, wide
from melanoma_tf.augment.op import Parameters, Strength

MAX_CUTOUT = 0.375  # of the side
RECTANGLES = 8
MAX_RECTANGLE = 0.2  # of the side
GRID_PERIOD = (1 / 6, 1 / 2)  # of the side
MAX_GRID_HOLE = 0.5  # of the period


def sample_cutout(seed: tf.Tensor, batch: int, strength: Strength) -> dict[str, tf.Tensor]:
    """One square (DeVries & Taylor 2017): side uniform up to 0.375 of the image's x strength.

    Its centre is anywhere in the image, as there, so that a part of it may be outside. The largest side is that of the
    winners of the SIIM-ISIC 2020 challenge (Ha et al. 2020), who always cut as much.
    """
    x, y, amount = shares(seed, batch, 3, each=1)
    side = amount * MAX_CUTOUT * _column(strength)
    return {"x": x, "y": y, "width": side, "height": side}


def sample_coarse_dropout(seed: tf.Tensor, batch: int, strength: Strength) -> dict[str, tf.Tensor]:
    """Eight rectangles inside the image, their sides uniform within 0.5 to 1 of 0.2 x amplitude of the image's.

    The amplitude is uniform up to strength. Eight squares of 0.2 are what public notebooks of the challenge cut
    (Deotte 2020).
    """
    (amount,) = shares(seed, batch, 1, each=1)
    x, y, width, height = shares(seed, batch, 4, 1, RECTANGLES)
    width, height = (between(side, 0.5, 1.0) * amount * MAX_RECTANGLE * _column(strength) for side in (width, height))
    x, y = (between(place, side / 2, 1.0 - side / 2) for place, side in ((x, width), (y, height)))
    return {"x": x, "y": y, "width": width, "height": height}


def erase_rectangles(images: tf.Tensor, parameters: Parameters) -> tf.Tensor:
    """Erases rectangles, their centres and sides in units of the image's side, float32[B,N] each."""
    size = images.shape[1]
    x, y = positions(size)
    across = covered(x - (2 * parameters["x"][..., None] - 1), parameters["width"][..., None], size)
    down = covered(y[..., 0] - (2 * parameters["y"][..., None] - 1), parameters["height"][..., None], size)
    kept = 1.0 - down[:, 0, :, None] * across[:, 0, None, :]
    for number in range(1, across.shape[1]):
        kept *= 1.0 - down[:, number, :, None] * across[:, number, None, :]
    return mixed(images, mean_colour(images), kept)


def sample_grid_mask(seed: tf.Tensor, batch: int, strength: Strength) -> dict[str, tf.Tensor]:
    """Squares on a turned square lattice (GridMask, Chen et al. 2020), its period uniform in 1/6 to 1/2 of the side.

    The squares' side is uniform up to half the period x strength, so that at most a quarter is erased; there it is
    0.4 of the period for photographs of ImageNet.
    """
    period, amount, turn, along, across = shares(seed, batch, 5)
    period = between(period, *GRID_PERIOD)
    hole = amount * period * MAX_GRID_HOLE * strength
    return {"period": period, "hole": hole, "along": along, "across": across, **direction(turn * 2 * math.pi)}


def erase_grid(images: tf.Tensor, parameters: Parameters) -> tf.Tensor:
    """Erases the squares of a lattice: period and hole in units of the image's side, places along and across in
    periods."""
    size = images.shape[1]
    grid = {name: wide(values) for name, values in parameters.items()}
    erased = tf.ones([])
    for position, place in zip(turned(*positions(size), grid), (grid["along"], grid["across"])):
        cells = position / (2 * grid["period"]) + place
        erased *= covered((cells - tf.floor(cells) - 0.5) * 2 * grid["period"], grid["hole"], size)
    return mixed(images, mean_colour(images), 1.0 - erased)


def _column(strength: Strength) -> Strength:
    return strength[:, None] if isinstance(strength, tf.Tensor) and strength.shape.rank else strength
