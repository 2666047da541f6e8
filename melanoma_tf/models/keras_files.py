"""Weight files of Keras, old and new, read without building the model in them, so that no code of a file runs.

Each reader gives the candidates for a backbone: the weights by layer of the model and of every model inside it.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Iterator, Mapping

import numpy as np

from melanoma_tf.errors import UserError
from melanoma_tf.keras_compat import keras

LayerWeights = Mapping[str, list[np.ndarray]]
WEIGHTS_IN_KERAS = "model.weights.h5"


def read_keras(path: str, backbone: keras.Model) -> list[LayerWeights]:
    """Of a `.keras` file, whichever Keras wrote it. Raises UserError naming the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            content = archive.read(WEIGHTS_IN_KERAS)
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise UserError(f"{path} is not a Keras model: {str(error).splitlines()[0]}") from error
    return _read_hdf5(io.BytesIO(content), path, backbone)


def read_h5(path: str, backbone: keras.Model) -> list[LayerWeights]:
    """Of an HDF5 file: `.h5` by layer, as `keras.applications` and the `efficientnet` package publish them, or
    `.weights.h5`, as our runs do. Raises UserError naming the file."""
    return _read_hdf5(path, path, backbone)


def _read_hdf5(file: str | io.BytesIO, path: str, backbone: keras.Model) -> list[LayerWeights]:
    import h5py

    try:
        with h5py.File(file, "r") as group:
            group = group.get("model_weights", group)
            if "layer_names" in group.attrs:
                return [_by_layer(group)]
            found = [_container(one, backbone) for one in _containers(group)]
    except (OSError, KeyError, RuntimeError, AttributeError) as error:
        raise UserError(f"{path} is not an HDF5 file of weights, or it is cut") from error
    if not found:
        raise UserError(f"{path} has neither layer_names nor layers: no weight file of Keras")
    return found


def _by_layer(group) -> LayerWeights:
    """The old format: each layer's group lists its weights. A model inside a model is one group there, and its layers
    are told by the first part of their weights' names."""
    layers: dict[str, list[np.ndarray]] = {}
    for name in map(_text, group.attrs["layer_names"]):
        names = [_text(weight) for weight in group[name].attrs["weight_names"]]
        owners = [os.path.basename(os.path.dirname(weight)) for weight in names]
        for owner, weight in zip(owners, names):
            layers.setdefault(owner if len(set(owners)) > 1 else name, []).append(np.asarray(group[name][weight]))
    return layers


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _containers(group) -> Iterator:
    """Every `layers` group of the new format, the outer ones first."""
    if "layers" in group:
        yield group["layers"]
        for name in group["layers"]:
            yield from _containers(group["layers"][name])


def _container(group, backbone: keras.Model) -> LayerWeights:
    """The weights of one model of the new format under the names of its layers.

    Today's Keras 3 notes the names; before, a layer is the nth of its class, and what the nth is called is read from
    the backbone: right where the model is the same, and where it is not, shapes do not fit.
    """
    called = _names_by_number(backbone)
    layers: dict[str, list[np.ndarray]] = {}
    for key, layer in group.items():
        if "vars" in layer and len(layer["vars"]):
            values = layer["vars"]
            name = _text(values.attrs["name"]) if "name" in values.attrs else called.get(_plain(key), key)
            layers[name] = [np.asarray(values[number]) for number in sorted(values, key=int)]
    return layers


def _names_by_number(model: keras.Model) -> dict[str, str]:
    """What the new format calls a layer (`conv2d_3`, the fourth of its class) -> the layer's name."""
    inner = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    if len(inner) == 1:
        return _names_by_number(inner[0])
    names: dict[str, str] = {}
    counts: dict[str, int] = {}
    for layer in model.layers:
        kind = _plain(_snake(type(layer).__name__))
        number = counts[kind] = counts.get(kind, -1) + 1
        names[f"{kind}_{number}" if number else kind] = layer.name
    return names


def _snake(name: str) -> str:
    """`DepthwiseConv2D` -> `depthwise_conv2d`, as Keras does."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _plain(key: str) -> str:
    """The key of Keras' own layer where one of ours stands in for it."""
    return key.replace("fused_batch_normalization", "batch_normalization")
