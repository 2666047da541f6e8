"""Weights of others into a backbone, by layer name; every weight must be found with its shape, or it is an error."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from melanoma_tf.config import ModelConfig
from melanoma_tf.errors import UserError
from melanoma_tf.keras_compat import keras
from melanoma_tf.models import timm, torchvision
from melanoma_tf.models.keras_files import LayerWeights, read_h5, read_keras
from melanoma_tf.models.safetensors import read_safetensors

FORMATS = (
    ".h5 (Keras, by layer), .weights.h5 (Keras, a run of ours), .keras, .npz, "
    ".pth or .safetensors (names of torchvision or timm)"
)
LAYOUTS = {"features.0.0.weight": torchvision, "conv_stem.weight": timm}  # by the tensor that tells each
NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


def load(backbone: keras.Model, config: ModelConfig) -> None:
    """Fills the backbone from `config.weights`: `imagenet` or a path. Raises UserError naming file and layer."""
    source = config.weights
    ending = os.path.splitext(source)[1].lower()
    if source == "imagenet":
        assign(backbone, _imagenet(config.backbone), source)
    elif not os.path.isfile(source):
        raise UserError(f"model.weights: no file {source}; expected none, imagenet or a file: {FORMATS}")
    elif ending in STATE_DICTS:
        assign(backbone, _torch_layers(STATE_DICTS[ending](source), backbone, config), source)
    elif ending in LAYERED:
        _require_run_of_same_topology(config)
        assign(backbone, _best_fit(LAYERED[ending](source, backbone), backbone), source)
    else:
        raise UserError(f"model.weights: {source} has an unknown ending; valid: {FORMATS}")


def assign(backbone: keras.Model, layers: LayerWeights, source: str) -> None:
    """Sets every weight of every layer of `backbone`. Raises UserError naming the layer that does not fit."""
    for layer in flat_layers(backbone):
        if not layer.weights:
            continue
        if layer.name not in layers:
            raise UserError(f"{source} has no layer {layer.name}: weights of another topology than {backbone.name}")
        values, expected = layers[layer.name], _shapes(layer)
        if [value.shape for value in values] != expected:
            raise UserError(f"{source}: layer {layer.name} has shapes {[v.shape for v in values]}, "
                            f"{backbone.name} needs {expected}: weights of another topology")  # fmt: skip
        layer.set_weights(values)


def flat_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """All layers, those of nested models included, without the models."""
    flat: list[keras.layers.Layer] = []
    for layer in model.layers:
        flat += flat_layers(layer) if isinstance(layer, keras.Model) else [layer]
    return flat


def _shapes(layer: keras.layers.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]


def _best_fit(candidates: list[LayerWeights], backbone: keras.Model) -> LayerWeights:
    """Of a model and the models inside it, the one that the most layers of the backbone are like."""

    def alike(layers: LayerWeights) -> int:
        return sum([value.shape for value in layers.get(layer.name, [])] == _shapes(layer)
                   for layer in flat_layers(backbone) if layer.weights)  # fmt: skip

    return max(candidates, key=alike)


def _require_run_of_same_topology(config: ModelConfig) -> None:
    """Padding and epsilon leave no trace in the shapes, but a run of ours tells its topology."""
    path = Path(config.weights).resolve().parent.parent / "config.json"
    try:
        known = json.loads(path.read_text())["model"]["topology"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if known != config.topology:
        raise UserError(f"model.weights: {config.weights} is of a run with model.topology={known}; set the same")


# ---- torch -----------------------------------------------------------------------------------------------------------


def _torch_layers(state: Mapping[str, np.ndarray], backbone: keras.Model, config: ModelConfig) -> LayerWeights:
    """Weights of a state dict, torchvision's or timm's, under Keras' layer names. The network may be part of another,
    as in `enet.conv_stem.weight`."""
    found = [(mark, name) for mark in LAYOUTS for name in state if f".{name}".endswith(f".{mark}")]
    if not found:
        raise UserError(f"{config.weights} is no EfficientNet of torchvision or timm: it has no tensor "
                        f"{' or '.join(LAYOUTS)}")  # fmt: skip
    mark, name = found[0]
    if LAYOUTS[mark] is torchvision:
        _require_torchvision(config)
    outside = name[: -len(mark)]
    own = {name[len(outside) :]: value for name, value in state.items() if name.startswith(outside)}
    names = [layer.name for layer in flat_layers(backbone) if layer.weights]
    return {name: _torch_layer(name, LAYOUTS[mark].tensor_prefix(name, own), own, config.weights) for name in names}


def _torch_layer(name: str, prefix: str, state: Mapping[str, np.ndarray], path: str) -> list[np.ndarray]:
    is_norm = name.endswith("bn")
    parts = NORM_PARTS if is_norm else NORM_PARTS[:2]
    values = [state[f"{prefix}.{part}"] for part in parts if f"{prefix}.{part}" in state]
    if not values or (is_norm and len(values) < 4) or (not is_norm and values[0].ndim != 4):
        raise UserError(f"{path} has nothing for layer {name}: no EfficientNet, or one of another size")
    if not is_norm:
        # torch: (out, in / groups, height, width); Keras: (height, width, in, out), depthwise (height, width, in, 1)
        axes = (2, 3, 0, 1) if "dwconv" in name else (2, 3, 1, 0)
        values[0] = values[0].transpose(axes)
    return [np.ascontiguousarray(value, np.float32) for value in values]


def _require_torchvision(config: ModelConfig) -> None:
    if config.topology != "torchvision" or not config.backbone.startswith("efficientnet_b"):
        raise UserError(
            f"model.weights: {config.weights} is a torchvision file; it needs --set model.topology=torchvision "
            f"and a backbone efficientnet_b0 to efficientnet_b7"
        )


# ---- others ----------------------------------------------------------------------------------------------------------


def _imagenet(name: str) -> LayerWeights:
    if not name.startswith(("efficientnet_b", "efficientnet_v2_")):
        raise UserError(f"model.weights: imagenet is known for efficientnet_b0 to efficientnet_b7 and efficientnet_v2, "
                        f"not for {name}")  # fmt: skip
    build = getattr(keras.applications, f"EfficientNet{name.removeprefix('efficientnet_').replace('_', '').upper()}")
    try:
        model = build(include_top=False, weights="imagenet")
    except Exception as error:  # Keras raises whatever its download raised
        raise UserError(f"model.weights: imagenet could not be downloaded ({type(error).__name__}); "
                        f"give a path instead: {FORMATS}") from error  # fmt: skip
    return {layer.name: layer.get_weights() for layer in model.layers}


def _npz(path: str, _: keras.Model) -> list[LayerWeights]:
    """Arrays named `layer/0`, `layer/1`, ... in the order of the layer's weights."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            layers: dict[str, dict[int, np.ndarray]] = {}
            for key in arrays.files:
                name, _, number = key.rpartition("/")
                layers.setdefault(name, {})[int(number)] = arrays[key]
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is not an .npz of arrays named layer/0, layer/1, ...: {error}") from error
    return [{name: [values[number] for number in sorted(values)] for name, values in layers.items()}]


STATE_DICTS: dict[str, Callable[[str], Mapping[str, np.ndarray]]] = {
    ".pth": torchvision.read_state_dict, ".pt": torchvision.read_state_dict, ".safetensors": read_safetensors,
}  # fmt: skip
LAYERED: dict[str, Callable[[str, keras.Model], list[LayerWeights]]] = {
    ".h5": read_h5, ".hdf5": read_h5, ".keras": read_keras, ".npz": _npz,
}  # fmt: skip
