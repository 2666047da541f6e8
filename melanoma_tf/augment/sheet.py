"""A picture of every op at three strengths, and of a whole recipe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from melanoma_tf.augment.mix import mix
from melanoma_tf.augment.op import Op
from melanoma_tf.augment.ops import OPS
from melanoma_tf.augment.recipe import augment
from melanoma_tf.config import AugmentConfig
from melanoma_tf.randomness import fold_in

STRENGTHS = {"1/3": 1 / 3, "2/3": 2 / 3, "1": 1.0}
DRAWS, DRAWN_SIDE = 16, 64
PAGE_WIDTH, MAX_COLUMNS = 1900, 12
HEADING, LABEL = 22, 16  # text heights in pixels
GAP, BLOCK_GAP = 2, 12
INK, FAINT = "#1a1a1a", "#6a6a6a"


def draw_sheet(images: np.ndarray, labels: Sequence[str], config: AugmentConfig, seed: int) -> Image.Image:
    """Rows are images, columns the ops of `OPS` at a third, two thirds and the whole of their strength.

    Of an op each image shows the draw, of sixteen, that changes it most over the three strengths: what is absurd
    shows there. Bands of columns stand below one another, each led by the images themselves; the last one is plain
    draws of the recipe.

    Args:
      images: uint8[N,S,S,3]. labels: of the rows. config: the recipe. seed: of every draw.
    """
    seeds = tf.constant([seed, 0])
    columns = min(max((PAGE_WIDTH - LABEL) // (images.shape[1] + GAP) - 1, len(STRENGTHS)), MAX_COLUMNS)
    original = ("original", [("", images)])
    blocks = [(name, list(zip(STRENGTHS, op_columns(images, op, fold_in(seeds, name))))) for name, op in OPS.items()]
    in_a_band = columns // len(STRENGTHS)
    bands = [[original, *blocks[start : start + in_a_band]] for start in range(0, len(blocks), in_a_band)]
    recipe = [(f"draw {number + 1}", column)
              for number, column in enumerate(recipe_columns(images, config, seeds, columns))]  # fmt: skip
    return _stacked([_band(band, labels) for band in [*bands, [original, ("the whole recipe", recipe)]]])


def op_columns(images: np.ndarray, op: Op, seed: tf.Tensor) -> list[np.ndarray]:
    """uint8[N,S,S,3] for each of `STRENGTHS`: the same random numbers, scaled."""
    count = len(images) * DRAWS
    chosen = _most_telling(images, op, seed) + np.arange(len(images)) * DRAWS
    return [
        _to_bytes(op.apply(_to_float(images), _rows(op.sample(seed, count, strength), chosen)))
        for strength in STRENGTHS.values()
    ]


def recipe_columns(images: np.ndarray, config: AugmentConfig, seed: tf.Tensor, count: int) -> list[np.ndarray]:
    """uint8[N,S,S,3] for each of `count` draws."""
    nothing = tf.zeros([len(images), 1])
    seeds = [fold_in(seed, number) for number in range(count)]
    return [_to_bytes(mix(augment(tf.constant(images), s, config), nothing, s, config)[0]) for s in seeds]


def _most_telling(images: np.ndarray, op: Op, seed: tf.Tensor) -> np.ndarray:
    """int[N] in [0, DRAWS): found on small copies, as an op means the same at every size."""
    side = min(DRAWN_SIDE, images.shape[1])
    small = tf.image.resize(_to_float(images), [side, side], antialias=True)
    many = tf.repeat(tf.clip_by_value(small, 0.0, 1.0), DRAWS, axis=0)
    score = np.zeros([len(images), DRAWS])
    for strength in STRENGTHS.values():
        change = tf.abs(op.apply(many, op.sample(seed, len(many), strength)) - many)
        change = tf.reduce_mean(change, axis=[1, 2, 3]).numpy().reshape(score.shape)
        score += change / np.maximum(change.max(axis=1, keepdims=True), 1e-9)
    return score.argmax(axis=1)


def _rows(parameters, rows: np.ndarray):
    return tf.nest.map_structure(lambda value: tf.gather(value, rows), parameters)


def _to_float(images: np.ndarray) -> tf.Tensor:
    return tf.constant(images, tf.float32) / 255.0


def _to_bytes(images: tf.Tensor) -> np.ndarray:
    return np.rint(images.numpy().clip(0, 1) * 255).astype(np.uint8)


Block = tuple[str, list[tuple[str, np.ndarray]]]  # heading and columns: label and images of each


def _band(blocks: list[Block], labels: Sequence[str]) -> Image.Image:
    count, cell = blocks[0][1][0][1].shape[:2]
    step = cell + GAP
    columns = sum(len(block) for _, block in blocks)
    width = LABEL + columns * step + BLOCK_GAP * len(blocks)
    page = Image.new("RGB", (width, HEADING + LABEL + count * step + BLOCK_GAP), "white")
    for row, label in enumerate(labels):
        page.paste(_upright(label, cell), (0, HEADING + LABEL + row * step))
    x = LABEL
    for heading, block in blocks:
        page.paste(_text(heading, (len(block) * step, HEADING), INK), (x, 0))
        for label, images in block:
            page.paste(_text(label, (cell, LABEL), FAINT), (x, HEADING))
            for row, pixels in enumerate(images):
                page.paste(Image.fromarray(pixels), (x, HEADING + LABEL + row * step))
            x += step
        x += BLOCK_GAP
    return page


def _text(text: str, size: tuple[int, int], colour: str) -> Image.Image:
    box = Image.new("RGB", size, "white")
    try:
        font = ImageFont.load_default(size=size[1] - 5)
    except TypeError:  # before Pillow 10.1 it has one size
        font = ImageFont.load_default()
    ImageDraw.Draw(box).text((0, 0), text, fill=colour, font=font)
    return box


def _upright(text: str, length: int) -> Image.Image:
    return _text(text, (length, LABEL), FAINT).rotate(90, expand=True)


def _stacked(bands: list[Image.Image]) -> Image.Image:
    page = Image.new("RGB", (max(band.width for band in bands), sum(band.height for band in bands)), "white")
    y = 0
    for band in bands:
        page.paste(band, (0, y))
        y += band.height
    return page
