"""The stages of a network, from the stem to the head: for learning rates by layer and for freezing."""

from __future__ import annotations

import itertools
import re

from melanoma_tf.errors import UserError
from melanoma_tf.keras_compat import keras
from melanoma_tf.models.pretrained import flat_layers

TOP = 1_000_000  # behind every numbered stage
NUMBERED = re.compile(r"(?:block|tiny_conv|tiny_bn)(\d+)")


def stages(model: keras.Model) -> list[list[keras.layers.Layer]]:
    """The layers with weights: stem, numbered stages, top convolution if there is one, and last the head.

    Args: model: of `build_model`, where the nested model is the backbone and all around it is the head.
    Raises: UserError for a backbone whose layers do not tell their stage by name.
    """
    found: dict[int, list[keras.layers.Layer]] = {}
    head = []
    for layer in model.layers:
        if not isinstance(layer, keras.Model):
            head += [layer] if layer.weights else []
            continue
        for inner in flat_layers(layer):
            if inner.weights:
                found.setdefault(_stage(inner.name, layer.name), []).append(inner)
    return [found[number] for number in sorted(found)] + [head]


def _stage(layer: str, backbone: str) -> int:
    numbered = NUMBERED.match(layer)
    if numbered:
        return int(numbered[1])
    if layer.startswith(("stem", "top")):
        return 0 if layer.startswith("stem") else TOP
    raise UserError(f"train.layer_decay and train.frozen_stages do not know the stages of {backbone}: layer {layer!r}")


def freeze_stages(model: keras.Model, count: int) -> None:
    """The stem and `count` stages behind it are not trained, and their BatchNormalization is as in inference; 0: none.

    Raises: UserError for more stages than there are.
    """
    if not count:
        return
    parts = stages(model)
    if not 0 < count <= len(parts) - 2:
        raise UserError(f"train.frozen_stages is {count}; valid is 0 to {len(parts) - 2} for this backbone")
    for layer in itertools.chain(*parts[: count + 1]):
        layer.trainable = False


def rate_factors(model: keras.Model, decay: float) -> list[float]:
    """The factor of the learning rate of each trainable variable: 1 in the head, `decay` once more per stage below."""
    if decay == 1.0:
        return [1.0] * len(model.trainable_variables)
    parts = stages(model)
    factors = {
        id(variable): decay ** (len(parts) - 1 - number)
        for number, layers in enumerate(parts)
        for layer in layers
        for variable in layer.trainable_variables
    }
    return [factors[id(variable)] for variable in model.trainable_variables]
