"""How strong each op is for each image: as the recipe says, RandAugment, one of a group."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from melanoma_tf.augment.op import Strength, uniform
from melanoma_tf.augment.ops import OPS
from melanoma_tf.config import AugmentConfig
from melanoma_tf.errors import UserError, nearest
from melanoma_tf.randomness import fold_in


def strengths(seed: tf.Tensor, config: AugmentConfig, batch: int) -> dict[str, Strength]:
    """Strength of every op that is not off: a number, or float32[batch] where it differs from image to image.

    `randaugment_n` ops, drawn for each image from all that cost nothing more to compose (geometry, displacements,
    colour), are raised to `randaugment_m` (Cubuk et al. 2020; drawn with replacement, as there). Of each group in
    `one_of` an image keeps one op, at its own strength.

    Raises: UserError for a name in `one_of` that is no op.
    """
    found: dict[str, Strength] = {
        name: value for name, value in dataclasses.asdict(config).items() if name in OPS and value > 0
    }
    if config.randaugment_n and config.randaugment_m > 0:
        found |= _raised(fold_in(seed, "randaugment"), config, found, batch)
    for number, group in enumerate(groups(config.one_of)):
        chosen = _choose(fold_in(fold_in(seed, "one_of"), number), batch, len(group))
        found |= {
            name: tf.where(chosen == place, found[name], 0.0) for place, name in enumerate(group) if name in found
        }
    return {name: found[name] for name in OPS if name in found}


def groups(text: str) -> list[list[str]]:
    """`a,b;c,d` -> [[a, b], [c, d]]. Raises UserError naming what is no op."""
    found = [[name.strip() for name in group.split(",")] for group in text.split(";") if group.strip()]
    for name in (name for group in found for name in group):
        if name not in OPS:
            raise UserError(f"augment.one_of: no op {name!r}; {nearest(name, OPS)}")
    return found


def _raised(seed: tf.Tensor, config: AugmentConfig, found: dict[str, Strength], batch: int) -> dict[str, Strength]:
    candidates = [name for name, op in OPS.items() if op.kind != "pixel"]
    chosen = [_choose(fold_in(seed, turn), batch, len(candidates)) for turn in range(config.randaugment_n)]
    raised: dict[str, Strength] = {}
    for place, name in enumerate(candidates):
        hit = tf.reduce_any(tf.stack([turn == place for turn in chosen]), axis=0)
        own = tf.convert_to_tensor(found.get(name, 0.0), tf.float32)
        raised[name] = tf.where(hit, tf.maximum(own, config.randaugment_m), own)
    return raised


def _choose(seed: tf.Tensor, batch: int, count: int) -> tf.Tensor:
    """int32[batch], each uniform in 0..count-1."""
    unit = (uniform(seed, batch) + 1.0) / 2.0
    return tf.minimum(tf.cast(unit * count, tf.int32), count - 1)
