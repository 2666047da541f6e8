"""torchvision EfficientNet weights (`.pth`) without torch.

A `.pth` is a zip: `data.pkl` describes tensors, `data/<key>` holds their bytes. The description is read by an unpickler
that can build nothing but dictionaries and tensors, so that a file can not run code.
"""

from __future__ import annotations

import collections
import pickle
import re
import zipfile
from typing import Any

import numpy as np

from melanoma_tf.errors import UserError

STORAGES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
}


def read_state_dict(path: str) -> dict[str, np.ndarray]:
    """Tensor name -> array, of a file written by `torch.save(model.state_dict())`. Raises UserError naming the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            description = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            folder = description[: -len("data.pkl")]
            with archive.open(description) as file:
                state = _TensorUnpickler(file, lambda key: archive.read(f"{folder}data/{key}")).load()
    except (
        zipfile.BadZipFile,
        StopIteration,
        KeyError,
        EOFError,
        OSError,
        ValueError,
        pickle.UnpicklingError,
    ) as error:
        raise UserError(f"{path} is not a state dict of torch 1.6 or later, or it is damaged: {error}") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    tensors = {name: value for name, value in state.items() if isinstance(value, np.ndarray)} if state else {}
    if not tensors:
        raise UserError(f"{path} holds no tensors; expected torch.save(model.state_dict())")
    return {name.removeprefix("module."): value for name, value in tensors.items()}


class _TensorUnpickler(pickle.Unpickler):
    """Knows the few names that a state dict needs, refuses every other."""

    def __init__(self, file, read_storage):
        super().__init__(file)
        self._read_storage = read_storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in STORAGES:
            return name
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no state dict needs")

    def persistent_load(self, reference: tuple) -> np.ndarray:
        _, storage, key, _, count = reference
        return np.frombuffer(self._read_storage(key), STORAGES[storage], count)


def _rebuild_tensor(storage: np.ndarray, offset: int, size: tuple, stride: tuple, *_: Any) -> np.ndarray:
    stride_bytes = [step * storage.itemsize for step in stride]
    if size and offset + sum((n - 1) * step for n, step in zip(size, stride)) >= len(storage):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    return np.lib.stride_tricks.as_strided(storage[offset:], size, stride_bytes).copy()


def layer_weights(path: str, names: list[str]) -> dict[str, list[np.ndarray]]:
    """Weights of a torchvision EfficientNet under Keras' layer names.

    Args: path: `.pth`. names: the backbone's layers with weights, Keras' names.
    Raises: UserError naming the layer that the file lacks.
    """
    state = read_state_dict(path)
    blocks = _block_prefixes(state)
    return {name: _one_layer(name, state, blocks, path) for name in names}


def _block_prefixes(state: dict[str, np.ndarray]) -> dict[str, str]:
    """Keras' block names, `2b` -> `features.2.1.block`."""
    found = {}
    for key in state:
        if match := re.match(r"features\.(\d)\.(\d+)\.block\.", key):
            stage, number = int(match.group(1)), int(match.group(2))
            found[f"{stage}{chr(ord('a') + number)}"] = f"features.{stage}.{number}.block"
    return found


def _one_layer(name: str, state: dict, blocks: dict[str, str], path: str) -> list[np.ndarray]:
    prefix = _tensor_prefix(name, state, blocks)
    is_norm = name.endswith("bn")
    parts = ("weight", "bias", "running_mean", "running_var") if is_norm else ("weight", "bias")
    values = [state[f"{prefix}.{part}"] for part in parts if f"{prefix}.{part}" in state]
    if not values or (is_norm and len(values) < 4):
        raise UserError(f"{path} has nothing for layer {name}: not an EfficientNet of torchvision, or of another size")
    if not is_norm:
        # torch: (out, in / groups, height, width); Keras: (height, width, in, out), depthwise (height, width, in, 1)
        axes = (2, 3, 0, 1) if name.endswith("dwconv") else (2, 3, 1, 0)
        values[0] = values[0].transpose(axes)
    return [np.ascontiguousarray(value, np.float32) for value in values]


def _tensor_prefix(name: str, state: dict, blocks: dict[str, str]) -> str:
    if name in ("stem_conv", "stem_bn"):
        return f"features.0.{0 if name == 'stem_conv' else 1}"
    if name in ("top_conv", "top_bn"):
        return f"features.8.{0 if name == 'top_conv' else 1}"
    match = re.match(r"block(\d[a-z]+)_(.+)$", name)
    block = blocks.get(match.group(1), "absent") if match else "absent"
    # A block without expansion has no first convolution: everything stands one place earlier.
    shift = 0 if f"{block}.3.0.weight" in state else -1
    places = {
        "expand_conv": "0.0", "expand_bn": "0.1", "dwconv": f"{1 + shift}.0", "bn": f"{1 + shift}.1",
        "se_reduce": f"{2 + shift}.fc1", "se_expand": f"{2 + shift}.fc2",
        "project_conv": f"{3 + shift}.0", "project_bn": f"{3 + shift}.1",
    }  # fmt: skip
    return f"{block}.{places.get(match.group(2), 'absent') if match else 'absent'}"
