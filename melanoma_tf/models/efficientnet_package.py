"""The only file that imports `efficientnet`, and only when asked: importing it registers `swish` and `FixedDropout`
with Keras, for everybody."""

from __future__ import annotations

from typing import Any


def build(version: str, shape: tuple[int | None, int | None, int]) -> Any:
    """Its EfficientNet without a head, weights initialised at random."""
    import efficientnet.tfkeras as efficientnet

    return getattr(efficientnet, f"EfficientNet{version}")(include_top=False, weights=None, input_shape=shape)
