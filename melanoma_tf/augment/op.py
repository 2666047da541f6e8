"""What an augmentation op is, and how its random parameters are drawn.

An op is `sample(seed, batch, strength) -> parameters` and `apply(images, parameters) -> images`. Strength is in [0, 1],
one number or one per image; 0 is the identity. Images are float32[B,S,S,3] in [0, 1]. Parameters are a tensor, or a
dict of tensors, whose first dimension is the batch, so that a replica can take its share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import tensorflow as tf

from melanoma_tf import randomness
from melanoma_tf.randomness import fold_in

Strength: TypeAlias = float | tf.Tensor
Parameters: TypeAlias = Any  # a tensor, or tensors by name
# Output positions to input positions, float32[B,N] x and y each, in [-1, 1] over the image.
Move: TypeAlias = Callable[[tf.Tensor, tf.Tensor, Parameters], tuple[tf.Tensor, tf.Tensor]]


@dataclass(frozen=True)
class Op:
    """An augmentation.

    Attributes:
      kind: `geometry`, whose parameters are float32[B,3,3], output position -> input position; `displacement`, which
        moves positions by `move`; `color`, float32[B,3,4], (r, g, b, 1) -> colour; `pixel`, which has only `apply`.
        Geometry and displacements of a recipe are resampled together, colours are multiplied together, pixel ops
        follow in the order of the table.
      sample: how parameters are drawn. apply: what they do to images.
      move: of a displacement.
    """

    kind: Literal["geometry", "displacement", "color", "pixel"]
    sample: Callable[[tf.Tensor, int, Strength], Parameters]
    apply: Callable[[tf.Tensor, Parameters], tf.Tensor]
    move: Move | None = None


def uniform(seed: tf.Tensor, batch: int, number: int = 0, shape: Sequence[int] = ()) -> tf.Tensor:
    """float32[batch, *shape] in [-1, 1); `number` tells apart the draws of one op."""
    return randomness.uniform([batch, *shape], fold_in(seed, number), -1.0, 1.0)


def happens(seed: tf.Tensor, batch: int, probability: Strength, number: int) -> tf.Tensor:
    """bool[batch], each True with the given probability."""
    return uniform(seed, batch, number) < 2.0 * probability - 1.0


def per_image(values: tf.Tensor, rank: int) -> tf.Tensor:
    """float32[batch] with ones behind, so that it broadcasts over tensors of `rank` dimensions."""
    return tf.reshape(values, [-1] + [1] * (rank - 1))


def matrix(rows: list[list]) -> tf.Tensor:
    """float32[batch, rows, columns] of scalars and float32[batch] vectors."""
    batch = next(value for row in rows for value in row if isinstance(value, tf.Tensor))
    fill = lambda value: value if isinstance(value, tf.Tensor) else tf.fill(tf.shape(batch), float(value))  # noqa: E731
    return tf.stack([tf.stack([fill(value) for value in row], axis=-1) for row in rows], axis=-2)
