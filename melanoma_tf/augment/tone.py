"""Tone: curves that are not linear in the colour, so that no matrix can hold them."""

from __future__ import annotations

import math

import tensorflow as tf

from melanoma_tf.augment.color import LUMA
from melanoma_tf.augment.filters import reflect
from melanoma_tf.augment.op import Strength, per_image, uniform

MAX_GAMMA = 1.5
TILES = 8
MAX_SLOPE = 4.0
LEVELS = 32


def sample_gamma(seed: tf.Tensor, batch: int, strength: Strength) -> tf.Tensor:
    """Exponent, log-uniform within 1.5^-strength to 1.5^strength, float32[batch]."""
    return tf.exp(uniform(seed, batch) * math.log(MAX_GAMMA) * strength)


def gamma(images: tf.Tensor, exponent: tf.Tensor) -> tf.Tensor:
    """colour^exponent: another tone curve of the camera.

    Range: strength 0.5 is that of `albumentations.RandomGamma` unless told otherwise.
    """
    # By exponential and logarithm, four times as fast on a CPU as a power.
    return tf.minimum(tf.exp(per_image(exponent, 4) * tf.math.log(tf.maximum(images, 1e-30))), 1.0)


def color_constancy(images: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
    """Moves the gains of the channels from 1 (amount 0) to those that make the light grey (amount 1); clipped.

    Shades of grey with Minkowski norm 6 (Finlayson & Trezzi 2004; for dermoscopy Barata, Celebi & Marques 2015), the
    formula of the model's own `color_constancy`.
    """
    # The sixth power by products, four times as fast on a CPU.
    light = tf.reduce_mean(tf.square(images * images * images), axis=[1, 2], keepdims=True) ** (1 / 6)
    level = tf.sqrt(tf.reduce_mean(light**2, axis=-1, keepdims=True))
    gain = 1.0 + per_image(amount, 4) * (level / tf.maximum(light, 1e-3) - 1.0)
    return tf.clip_by_value(images * gain, 0.0, 1.0)


def equalize(images: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
    """Contrast-limited adaptive histogram equalisation of the luma (BT.601), mixed in by amount; clipped to [0, 1].

    CLAHE (Zuiderveld 1994) with 8x8 tiles and limit 4, as the winners of SIIM-ISIC 2020 used it. Equalising the whole
    picture at once would spend its contrast on skin against lesion; in tiles the network of pigment gets it.
    """
    luma = sum(images[..., channel] * weight for channel, weight in enumerate(LUMA))
    added = (equalized(luma, TILES, MAX_SLOPE) - luma) * per_image(amount, 3)
    return tf.clip_by_value(images + added[..., None], 0.0, 1.0)


def equalized(luma: tf.Tensor, tiles: int, max_slope: float) -> tf.Tensor:
    """Each pixel by its place in the distributions of the tiles around it, mixed bilinearly between their centres.

    Args:
      luma: float32[B,S,S] in [0, 1]. tiles: along each side. max_slope: of the tone curve; what a distribution has
        beyond that is given to all levels alike.

    Returns: float32[B,S,S] in [0, 1].
    """
    batch, size = luma.shape[:2]
    tile = -(-size // tiles)
    shares = _shares(_in_tiles(luma, 0, tiles, tile), max_slope)
    shares = tf.pad(shares, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    # Squares from centre to centre of the tiles, in each of which the same four distributions matter.
    before = tile - tile // 2
    squares = _in_tiles(luma, before, tiles + 1, tile)
    place = (tf.range(tile, dtype=tf.float32) + (tile // 2 + 0.5)) / tile - 0.5
    down, across = place[:, None, None], place
    rows = shares[:, :-1, None] * (1 - down) + shares[:, 1:, None] * down  # [B,tiles+1,tile,tiles+2,LEVELS]
    total = tf.zeros_like(squares)
    for level in range(LEVELS):
        left, right = rows[:, :, :, :-1, level, None], rows[:, :, :, 1:, level, None]
        total += (left * (1 - across) + right * across) * tf.clip_by_value(squares * LEVELS - level, 0.0, 1.0)
    whole = tf.reshape(total, [batch, (tiles + 1) * tile, (tiles + 1) * tile])
    return whole[:, before : before + size, before : before + size]


def _in_tiles(luma: tf.Tensor, before: int, tiles: int, tile: int) -> tf.Tensor:
    """float32[B,tiles,tile,tiles,tile] of float32[B,S,S] with `before` pixels reflected in front, the rest behind."""
    after = tiles * tile - before - luma.shape[1]
    padded = reflect(reflect(luma, before, after, 1), before, after, 2)
    return tf.reshape(padded, [luma.shape[0], tiles, tile, tiles, tile])


def _shares(pixels: tf.Tensor, max_slope: float) -> tf.Tensor:
    """Share of the pixels of each tile at each level, limited, float32[B,tiles,tiles,LEVELS]."""
    # Of a large tile 32 x 32 pixels or a few more are counted, which tells a share of a 32nd to about a fifth of it.
    step = max(1, pixels.shape[2] // 32)
    pixels = pixels[:, :, ::step, :, ::step]
    # By comparison, level by level: there is no histogram for a TPU.
    below = [tf.reduce_mean(tf.cast(pixels < level / LEVELS, tf.float32), axis=[2, 4]) for level in range(1, LEVELS)]
    ends = tf.zeros_like(below[0])
    shares = tf.stack([*below, ends + 1.0], axis=-1) - tf.stack([ends, *below], axis=-1)
    shares = tf.minimum(shares, max_slope / LEVELS)
    return shares + (1.0 - tf.reduce_sum(shares, axis=-1, keepdims=True)) / LEVELS
