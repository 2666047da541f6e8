"""Auxiliary heads: in training the network also tells site, sex and age, which shapes its features; see `models.heads`.

Their truth is the `meta` of a batch (`tables.metadata_features`). A missing value is zero there, and so is its loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from melanoma_tf.config import ModelConfig
from melanoma_tf.errors import UserError, nearest
from melanoma_tf.tables import AGE, SEX, SEXES, SITE, SITES

AUXILIARY: dict[str, int] = {"site": len(SITES), "sex": len(SEXES), "age": 1}  # width of each head's output
AGE_MEAN, AGE_DEVIATION = 0.5, 0.15  # of age / 100, rounded; the 2020 training set has 0.489 and 0.144


def auxiliary_heads(config: ModelConfig) -> tuple[str, ...]:
    """The names in `model.auxiliary`, in the order of `AUXILIARY`.

    Raises: UserError for an unknown name, or where the network sees as input what it should tell.
    """
    names = [name for part in config.auxiliary.split(",") if (name := part.strip())]
    for name in names:
        if name not in AUXILIARY:
            raise UserError(f"model.auxiliary={config.auxiliary}: no head {name!r}; {nearest(name, AUXILIARY)}")
    if names and config.metadata:
        raise UserError("model.auxiliary asks for what model.metadata=true shows to the network; set one of them only")
    return tuple(name for name in AUXILIARY if name in names)


def auxiliary_losses(meta: tf.Tensor, outputs: dict[str, tf.Tensor], names: Sequence[str]) -> tf.Tensor:
    """The sum over the heads, float32[B]: cross entropy of site and sex, squared error of the standardised age.

    Args: meta: float32[B,METADATA_WIDTH], of one image or mixed of two, in which case each counts by its share.
      outputs: float32[B,width] under `auxiliary_<name>`.
    """
    return tf.add_n([_loss(name, meta, outputs[f"auxiliary_{name}"]) for name in names])


def _loss(name: str, meta: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    if name != "age":
        return -tf.reduce_sum(meta[:, SITE if name == "site" else SEX] * tf.nn.log_softmax(output), axis=-1)
    age, known = tf.unstack(meta[:, AGE], axis=-1)
    standardised = (tf.math.divide_no_nan(age, known) - AGE_MEAN) / AGE_DEVIATION
    return known * (output[:, 0] - standardised) ** 2
