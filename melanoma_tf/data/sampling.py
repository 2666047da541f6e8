"""How often each training image comes in an epoch: melanoma more often, other sources of images by a share."""

from __future__ import annotations

import numpy as np

from melanoma_tf.config import DataConfig
from melanoma_tf.data.image_set import ImageSet
from melanoma_tf.errors import UserError, nearest
from melanoma_tf.schema import SOURCE

MAX_WEIGHT = 1000
_PURPOSE = 0x5A4D  # keeps these draws apart from those of the shuffle


class Sampling:
    """The rows of a training epoch. Every epoch has the same number of them, `length`.

    An image of weight 2.3 comes twice in every epoch, and three times in three of ten: images of the same weight take
    turns, so that after ten epochs each has come equally often.

    Args: images; rows: int[n], the training images; config: melanoma_repeat and source_weights, which multiply.
    Raises: UserError for a source that the table does not have, or weights that leave nothing.
    """

    def __init__(self, images: ImageSet, rows: np.ndarray, config: DataConfig):
        self.rows = np.asarray(rows)
        weight = np.where(images.target[self.rows] > 0, config.melanoma_repeat, 1.0)
        weight = weight * _source_weights(images, self.rows, config.source_weights)
        self._groups = [
            (np.flatnonzero(weight == value), float(value)) for value in np.unique(weight)
        ]  # ascending, so the same everywhere
        self.length = sum(int(value) * len(group) + _extra(value, len(group)) for group, value in self._groups)
        if not self.length:
            raise UserError("data.source_weights and data.melanoma_repeat leave no training image")

    def repeats(self, seed: int, epoch: int) -> np.ndarray:
        """int64[n]: how often each of `rows` comes in this epoch, a function of (seed, epoch)."""
        repeats = np.zeros(len(self.rows), np.int64)
        for number, (group, weight) in enumerate(self._groups):
            repeats[group] = int(weight)
            extra = _extra(weight, len(group))
            turn = np.random.default_rng([seed, _PURPOSE, number]).permutation(group)
            repeats[turn[(epoch * extra + np.arange(extra)) % len(group)]] += 1
        return repeats


def _extra(weight: float, count: int) -> int:
    """How many of `count` images come once more than the whole number in `weight`."""
    return round((weight - int(weight)) * count)


def _source_weights(images: ImageSet, rows: np.ndarray, text: str) -> np.ndarray:
    weights = parse_source_weights(text)
    if not weights:
        return np.ones(len(rows))
    if SOURCE not in images.table:
        raise UserError(f"data.source_weights={text}: the table has no column {SOURCE!r}")
    source = images.table[SOURCE].astype(str)
    for name in weights:
        if not (source == name).any():
            raise UserError(f"data.source_weights={text}: no image is of source {name!r}; {nearest(name, set(source))}")
    return source.iloc[rows].map(weights).fillna(1.0).to_numpy(np.float64)


def parse_source_weights(text: str) -> dict[str, float]:
    """{"isic2019": 0.5} of `isic2019=0.5,ham=0`. Raises UserError for anything else."""
    weights = {}
    for part in filter(None, text.split(",")):
        name, _, value = (piece.strip() for piece in part.partition("="))
        try:
            weights[name] = float(value)
        except ValueError:
            weights[name] = -1.0
        if not name or not 0 <= weights[name] <= MAX_WEIGHT:
            raise UserError(
                f"data.source_weights={text}: expected SOURCE=WEIGHT,SOURCE=WEIGHT with weights of 0 to {MAX_WEIGHT}"
            )
    return weights
