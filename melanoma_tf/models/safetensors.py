"""`.safetensors`: the length of a header (8 bytes), a header in JSON, then the tensors' bytes. Nothing in it can run.

Source: https://github.com/huggingface/safetensors, "Format". Read here, because two dozen lines are no dependency.
"""

from __future__ import annotations

import json
import math

import numpy as np

from melanoma_tf.errors import UserError

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}


def read_safetensors(path: str) -> dict[str, np.ndarray]:
    """Tensor name -> array; bfloat16 as float32. Raises UserError naming the file."""
    try:
        with open(path, "rb") as file:
            content = memoryview(file.read())
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(bytes(content[8:start]))
        header.pop("__metadata__", None)
        return {name: _tensor(entry, content[start:]) for name, entry in header.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError, RecursionError) as error:
        raise UserError(f"{path} is not a .safetensors file, or it is cut: {error}") from error


def _tensor(entry: dict, body: memoryview) -> np.ndarray:
    first, last = entry["data_offsets"]
    dtype, shape = np.dtype(DTYPES[entry["dtype"]]), tuple(entry["shape"])
    if not 0 <= first <= last <= len(body) or last - first != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"a tensor of shape {shape} has the bytes {first} to {last} of {len(body)}")
    values = np.frombuffer(body[first:last], dtype).reshape(shape)
    if entry["dtype"] == "BF16":  # the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values
