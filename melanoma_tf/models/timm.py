"""Where timm keeps the weights of an EfficientNet: its tensor names for Keras' layer names, versions 1 and 2.

Its `tf_efficientnet...` are Keras' topology, its other ones torchvision's (symmetric padding, epsilon 1e-5); the names
are the same, so that the file does not tell which.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

OUTSIDE = {"stem_conv": "conv_stem", "stem_bn": "bn1", "top_conv": "conv_head", "top_bn": "bn2"}
SQUEEZE = {"se_reduce": "se.conv_reduce", "se_expand": "se.conv_expand"}
# Which tensor tells the kind of a block, and what stands where in it; the first that is there counts.
BLOCKS: dict[str, dict[str, str]] = {
    "conv_exp": {"expand_conv": "conv_exp", "expand_bn": "bn1", "project_conv": "conv_pwl", "project_bn": "bn2"},
    "conv_pwl": {"expand_conv": "conv_pw", "expand_bn": "bn1", "dwconv": "conv_dw", "dwconv2": "conv_dw", "bn": "bn2",
                 "project_conv": "conv_pwl", "project_bn": "bn3", **SQUEEZE},
    "conv_dw": {"dwconv": "conv_dw", "bn": "bn1", "project_conv": "conv_pw", "project_bn": "bn2", **SQUEEZE},
    "conv": {"project_conv": "conv", "project_bn": "bn1"},
}  # fmt: skip


def tensor_prefix(name: str, state: Mapping[str, np.ndarray]) -> str:
    """timm's name of Keras' layer `name`, without `.weight`; one that no file has where there is none."""
    if name in OUTSIDE:
        return OUTSIDE[name]
    match = re.match(r"block(\d)([a-z])_(.+)$", name)
    if not match:
        return "absent"
    block = f"blocks.{int(match.group(1)) - 1}.{ord(match.group(2)) - ord('a')}"
    places = next((places for mark, places in BLOCKS.items() if f"{block}.{mark}.weight" in state), {})
    return f"{block}.{places.get(match.group(3), 'absent')}"
