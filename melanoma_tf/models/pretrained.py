"""Weights of others into a backbone, by layer name; every weight must be found with its shape, or it is an error."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from melanoma_tf.config import ModelConfig
from melanoma_tf.errors import UserError
from melanoma_tf.keras_compat import keras
from melanoma_tf.models import torchvision

LayerWeights = Mapping[str, list[np.ndarray]]
FORMATS = ".pth (torchvision), .h5 (Keras, by layer), .keras, .npz"


def load(backbone: keras.Model, config: ModelConfig) -> None:
    """Fills the backbone from `config.weights`: `imagenet` or a path. Raises UserError naming file and layer."""
    source = config.weights
    ending = os.path.splitext(source)[1].lower()
    if source == "imagenet":
        assign(backbone, _imagenet(config.backbone), "imagenet")
    elif not os.path.isfile(source):
        raise UserError(f"model.weights: no file {source}; expected none, imagenet or a file: {FORMATS}")
    elif ending in (".pth", ".pt"):
        _require_torchvision(config)
        assign(backbone, torchvision.layer_weights(source, _convolution_names(backbone)), source)
    elif ending in (".h5", ".hdf5", ".keras", ".npz"):
        assign(backbone, {".npz": _npz, ".keras": _keras_file}.get(ending, _legacy_h5)(source), source)
    else:
        raise UserError(f"model.weights: {source} has an unknown ending; valid: {FORMATS}")


def assign(backbone: keras.Model, layers: LayerWeights, source: str) -> None:
    """Sets every weight of every layer of `backbone`. Raises UserError naming the layer that does not fit."""
    for layer in flat_layers(backbone):
        if not layer.weights:
            continue
        if layer.name not in layers:
            raise UserError(f"{source} has no layer {layer.name}: weights of another topology than {backbone.name}")
        values, expected = layers[layer.name], [tuple(weight.shape) for weight in layer.weights]
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


def _require_torchvision(config: ModelConfig) -> None:
    if config.topology != "torchvision" or not config.backbone.startswith("efficientnet_b"):
        raise UserError(
            f"model.weights: {config.weights} is a torchvision file; it needs --set model.topology=torchvision "
            f"and a backbone efficientnet_b0 to efficientnet_b7"
        )


def _convolution_names(backbone: keras.Model) -> list[str]:
    return [layer.name for layer in flat_layers(backbone) if layer.weights]


def _imagenet(name: str) -> LayerWeights:
    if not name.startswith("efficientnet_b"):
        raise UserError(f"model.weights: imagenet is known for efficientnet_b0 to efficientnet_b7, not for {name}")
    build = getattr(keras.applications, f"EfficientNet{name[-2:].upper()}")
    try:
        model = build(include_top=False, weights="imagenet")
    except Exception as error:  # Keras raises whatever its download raised
        raise UserError(f"model.weights: imagenet could not be downloaded ({type(error).__name__}); "
                        f"give a path instead: {FORMATS}") from error  # fmt: skip
    return {layer.name: layer.get_weights() for layer in model.layers}


def _keras_file(path: str) -> LayerWeights:
    try:
        model = keras.models.load_model(path, compile=False)
    except (ValueError, OSError, TypeError) as error:
        raise UserError(f"{path} is not a Keras model: {str(error).splitlines()[0]}") from error
    return {layer.name: layer.get_weights() for layer in flat_layers(model)}


def _npz(path: str) -> LayerWeights:
    """Arrays named `layer/0`, `layer/1`, ... in the order of the layer's weights."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            layers: dict[str, dict[int, np.ndarray]] = {}
            for key in arrays.files:
                name, _, number = key.rpartition("/")
                layers.setdefault(name, {})[int(number)] = arrays[key]
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is not an .npz of arrays named layer/0, layer/1, ...: {error}") from error
    return {name: [values[number] for number in sorted(values)] for name, values in layers.items()}


def _legacy_h5(path: str) -> LayerWeights:
    """Keras' HDF5 weights by layer, as `keras.applications` and the `efficientnet` package publish them."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            group = file["model_weights"] if "model_weights" in file else file
            if "layer_names" not in group.attrs:
                raise UserError(f"{path} is not a Keras weight file by layer (no layer_names); valid: {FORMATS}")
            names = [_text(name) for name in group.attrs["layer_names"]]
            return {
                name: [np.asarray(group[name][_text(weight)]) for weight in group[name].attrs["weight_names"]]
                for name in names
            }
    except OSError as error:
        raise UserError(f"{path} is not an HDF5 file, or it is cut") from error


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
