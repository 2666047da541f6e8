"""The optimizers of tensorflow-addons by name, as `tfa:RectifiedAdam`; the one file that knows the package."""

from __future__ import annotations

import inspect

import tensorflow as tf

from melanoma_tf.config import TrainConfig
from melanoma_tf.errors import UserError, nearest
from melanoma_tf.keras_compat import keras

PREFIX = "tfa:"


def build(config: TrainConfig, **common) -> keras.optimizers.Optimizer:
    """The class of `tfa.optimizers` that `train.optimizer` names after `tfa:`, with its own defaults otherwise.

    Raises: UserError where tensorflow-addons cannot be imported, or has no such optimizer of one learning rate.
    """
    name, offered = config.optimizer.removeprefix(PREFIX), _offered()
    if name not in offered:
        raise UserError(f"train.optimizer: tensorflow-addons has no {name!r} that could be built from a learning rate; "
                        f"{nearest(name, offered)}")  # fmt: skip
    kind = offered[name]
    if "weight_decay" in inspect.signature(kind).parameters:
        common["weight_decay"] = config.weight_decay
    elif config.weight_decay:
        raise UserError(f"train.weight_decay is {config.weight_decay} but {config.optimizer} has none")
    return _buildable(kind)(learning_rate=config.learning_rate, **common)


def _buildable(kind: type) -> type:
    """The class with Keras' `build`: its variables must be there before a checkpoint is read."""
    return type(kind.__name__, (kind,), {"build": lambda self, variables: self._create_all_weights(variables)})


def _offered() -> dict[str, type]:
    """Those that need no more than a learning rate and a decay; the wrappers of other optimizers are not among them."""
    try:
        import tensorflow_addons as tfa
    except ImportError as error:
        raise UserError(
            f"train.optimizer: tfa: needs tensorflow-addons, which runs with TensorFlow 2.15 on Python 3.10 or 3.11 "
            f"(pip install 'melanoma_tf[addons]'); here is TensorFlow {tf.__version__}. "
            f"radam, lamb, adamw and train.lookahead_steps are its optimizers for every version"
        ) from error
    kinds = inspect.getmembers(tfa.optimizers, inspect.isclass)
    return {name: kind for name, kind in kinds if issubclass(kind, tfa.optimizers.KerasLegacyOptimizer) and _fits(kind)}


def _fits(kind: type) -> bool:
    parameters = dict(inspect.signature(kind).parameters)
    rate, _ = parameters.pop("learning_rate", None), parameters.pop("weight_decay", None)
    optional = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    needed = [one for one in parameters.values() if one.default is one.empty and one.kind not in optional]
    return rate is not None and not needed
