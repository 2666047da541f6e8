"""torchvision EfficientNet weights (`.pth`) without torch.

A `.pth` is a zip: `data.pkl` describes tensors, `data/<key>` holds their bytes. The description is read by an unpickler
that can build nothing but dictionaries and tensors, so that a file can not run code.
"""

from __future__ import annotations

import collections
import pickle
import re
import zipfile
from collections.abc import Mapping
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


def tensor_prefix(name: str, state: Mapping[str, np.ndarray]) -> str:
    """torchvision's name of Keras' layer `name`, without `.weight`; one that no file has where there is none."""
    if name in ("stem_conv", "stem_bn"):
        return f"features.0.{0 if name == 'stem_conv' else 1}"
    if name in ("top_conv", "top_bn"):
        return f"features.8.{0 if name == 'top_conv' else 1}"
    match = re.match(r"block(\d)([a-z])_(.+)$", name)
    if not match:
        return "absent"
    block = f"features.{match.group(1)}.{ord(match.group(2)) - ord('a')}.block"
    # A block without expansion has no first convolution: everything stands one place earlier.
    shift = 0 if f"{block}.3.0.weight" in state else -1
    places = {
        "expand_conv": "0.0", "expand_bn": "0.1", "dwconv": f"{1 + shift}.0", "bn": f"{1 + shift}.1",
        "se_reduce": f"{2 + shift}.fc1", "se_expand": f"{2 + shift}.fc2",
        "project_conv": f"{3 + shift}.0", "project_bn": f"{3 + shift}.1",
    }  # fmt: skip
    return f"{block}.{places.get(match.group(3), 'absent')}"
