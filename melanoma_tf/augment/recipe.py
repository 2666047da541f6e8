"""A recipe of ops on a batch, and test-time views."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from melanoma_tf.augment.ops import OPS
from melanoma_tf.augment.resample import recolor, warp
from melanoma_tf.config import AugmentConfig
from melanoma_tf.randomness import fold_in


def augment(
    images: tf.Tensor, seed: tf.Tensor, config: AugmentConfig, replica: tf.Tensor | int = 0, replicas: int = 1
) -> tf.Tensor:
    """Augments this replica's share of a global batch.

    Args:
      images: uint8[B,S,S,3]. seed: int32[2], new for every step. replica, replicas: which share of the global batch
        this is; parameters are drawn for the global batch, so that their number does not depend on the replicas.

    Returns: float32[B,S,S,3] in [0, 1].
    """
    strengths = {name: value for name, value in dataclasses.asdict(config).items() if value > 0}
    draw = lambda kind: _compose(kind, strengths, seed, images.shape[0], replica, replicas)  # noqa: E731
    geometry, color = draw("geometry"), draw("color")
    shown = tf.cast(images, tf.float32) if geometry is None else warp(images, geometry)
    shown = shown / 255.0
    return shown if color is None else recolor(shown, color)


def _compose(kind, strengths, seed, batch, replica, replicas) -> tf.Tensor | None:
    composed = None
    for name, op in OPS.items():
        if op.kind != kind or name not in strengths:
            continue
        # Seeded by name: switching one op off leaves the others as they were.
        matrix = op.sample(fold_in(seed, name), batch * replicas, strengths[name])
        matrix = tf.slice(matrix, [replica * batch, 0, 0], [batch, -1, -1])
        composed = matrix if composed is None else _then(composed, matrix, kind)
    return composed


def _then(first: tf.Tensor, second: tf.Tensor, kind: str) -> tf.Tensor:
    """The matrix of `first` followed by `second`. Geometry maps backwards, from output to input, so it multiplies the
    other way round."""
    if kind == "geometry":
        return _product(first, second)
    bottom = tf.broadcast_to(tf.constant([[[0.0, 0.0, 0.0, 1.0]]]), [first.shape[0], 1, 4])
    return _product(second, tf.concat([first, bottom], axis=1))


def _product(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Batched matrix product in float32 proper; a TPU's matmul rounds to bfloat16."""
    return tf.reduce_sum(a[:, :, :, None] * b[:, None], axis=2)


def views(images: tf.Tensor, count: int) -> list[tf.Tensor]:
    """The first `count` of the eight dihedral views of [B,S,S,3]: itself, left-right, up-down, both, and transposed."""
    flips = [images, images[:, :, ::-1], images[:, ::-1], images[:, ::-1, ::-1]]
    if count > 4:
        flips += [tf.transpose(view, [0, 2, 1, 3]) for view in flips]
    return flips[:count]
