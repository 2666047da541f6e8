"""A recipe of ops on a batch."""

from __future__ import annotations

import tensorflow as tf

from melanoma_tf.augment import resample
from melanoma_tf.augment.op import Parameters
from melanoma_tf.augment.ops import OPS
from melanoma_tf.augment.policy import strengths
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
    drawn = _draw(seed, config, images.shape[0] * replicas)
    return _in_parts(images, _rows(drawn, replica * images.shape[0], images.shape[0]), config)


def augment_alike(images: tf.Tensor, seed: tf.Tensor, config: AugmentConfig) -> tf.Tensor:
    """As `augment`, with the parameters of one draw for all images."""
    drawn = tf.nest.map_structure(lambda value: tf.repeat(value, images.shape[0], axis=0), _draw(seed, config, 1))
    return _in_parts(images, drawn, config)


def _in_parts(images: tf.Tensor, parameters: dict[str, Parameters], config: AugmentConfig) -> tf.Tensor:
    """Parts of `CHUNK_PIXELS`, one after another: a loop, as XLA keeps what unrolled parts need all at once."""
    batch, size = images.shape[0], images.shape[1]
    whole = min(batch, max(1, resample.CHUNK_PIXELS // (size * size)))
    parts = batch // whole
    looped = parts * whole if parts > 1 else 0
    done = [_in_loop(images[:looped], _rows(parameters, 0, looped), config, parts)] if looped else []
    if looped < batch:
        rest = batch - looped
        done.append(_apply(images[looped:], _rows(parameters, looped, rest), config))
    return done[0] if len(done) == 1 else tf.concat(done, axis=0)


def _in_loop(images: tf.Tensor, parameters: dict[str, Parameters], config: AugmentConfig, parts: int) -> tf.Tensor:
    def split(value: tf.Tensor) -> tf.Tensor:
        return tf.reshape(value, [parts, value.shape[0] // parts, *value.shape[1:]])

    shown = tf.map_fn(
        lambda part: _apply(part[0], part[1], config),
        tf.nest.map_structure(split, (images, parameters)),
        fn_output_signature=tf.TensorSpec([images.shape[0] // parts, *images.shape[1:]], tf.float32),
        parallel_iterations=1,
    )
    return tf.reshape(shown, images.shape)


def _draw(seed: tf.Tensor, config: AugmentConfig, batch: int) -> dict[str, Parameters]:
    """Parameters of every op that is switched on."""
    # Seeded by name: switching one op off leaves the others as they were.
    return {
        name: OPS[name].sample(fold_in(seed, name), batch, strength)
        for name, strength in strengths(seed, config, batch).items()
    }


def _rows(parameters: dict[str, Parameters], start: tf.Tensor | int, count: int) -> dict[str, Parameters]:
    def share(value: tf.Tensor) -> tf.Tensor:
        return tf.slice(value, [start, *[0] * (len(value.shape) - 1)], [count, *value.shape[1:]])

    return tf.nest.map_structure(share, parameters)


def _apply(images: tf.Tensor, parameters: dict[str, Parameters], config: AugmentConfig) -> tf.Tensor:
    """One resampling, one colour product, then the pixel ops."""
    kinds = {kind: [name for name in parameters if OPS[name].kind == kind]
             for kind in ("geometry", "displacement", "color", "pixel")}  # fmt: skip
    matrix = _compose([parameters[name] for name in kinds["geometry"]], "geometry")
    moves = [(OPS[name].move, parameters[name]) for name in reversed(kinds["displacement"])]
    shown = tf.cast(images, tf.float32)
    if matrix is not None or moves:
        shown = resample.warp(images, matrix, moves, interpolation=config.interpolation, border=config.border)
    shown = shown / 255.0
    color = _compose([parameters[name] for name in kinds["color"]], "color")
    if color is not None:
        shown = resample.recolor(shown, color)
    for name in kinds["pixel"]:
        shown = OPS[name].apply(shown, parameters[name])
    return shown


def _compose(matrices: list[tf.Tensor], kind: str) -> tf.Tensor | None:
    """All of them, one after another."""
    composed = None
    for matrix in matrices:
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
