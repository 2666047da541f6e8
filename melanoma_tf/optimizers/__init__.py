"""The table of optimizers."""

from __future__ import annotations

from collections.abc import Callable

from melanoma_tf.config import TrainConfig
from melanoma_tf.errors import UserError, nearest
from melanoma_tf.keras_compat import Adam, AdamW, keras
from melanoma_tf.optimizers import addons
from melanoma_tf.optimizers.adaptive import Lamb, RectifiedAdam

NOT_DECAYED = ["bias", "gamma", "beta", "power"]  # power: of GeM pooling


def _adam(config: TrainConfig, **common) -> keras.optimizers.Optimizer:
    return Adam(config.learning_rate, **common)


def _adamw(config: TrainConfig, **common) -> keras.optimizers.Optimizer:
    """Adam with decoupled decay, multiplied by the learning rate (Loshchilov & Hutter 2019), weights only."""
    optimizer = AdamW(config.learning_rate, weight_decay=config.weight_decay, **common)
    optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    return optimizer


def _radam(config: TrainConfig, **common) -> keras.optimizers.Optimizer:
    """Rectified Adam; the decay as in `adamw`."""
    optimizer = RectifiedAdam(config.learning_rate, weight_decay=config.weight_decay or None, **common)
    optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    return optimizer


def _lamb(config: TrainConfig, **common) -> keras.optimizers.Optimizer:
    return Lamb(config.learning_rate, config.weight_decay, tuple(NOT_DECAYED), **common)


def _sgd(config: TrainConfig, **common) -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(config.learning_rate, momentum=0.9, nesterov=True, **common)


OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adam": _adam, "adamw": _adamw, "radam": _radam, "lamb": _lamb, "sgd": _sgd,
}  # fmt: skip
DECAYING = ("adamw", "radam", "lamb")


def build_optimizer(config: TrainConfig) -> keras.optimizers.Optimizer:
    """The configured optimizer; its learning rate is set anew at every step. Raises UserError for an unknown name."""
    common = {"global_clipnorm": config.clip_norm} if config.clip_norm else {}
    if config.optimizer.startswith(addons.PREFIX):
        return addons.build(config, **common)
    if config.optimizer not in OPTIMIZERS:
        raise UserError(f"train.optimizer: no {config.optimizer!r}; {nearest(config.optimizer, OPTIMIZERS)}, "
                        f"or {addons.PREFIX} and an optimizer of tensorflow-addons")  # fmt: skip
    if config.weight_decay and config.optimizer not in DECAYING:
        raise UserError(f"train.weight_decay is {config.weight_decay} but {config.optimizer} has none; "
                        f"use {', '.join(DECAYING)}")  # fmt: skip
    return OPTIMIZERS[config.optimizer](config, **common)
