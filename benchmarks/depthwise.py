"""Filter gradients of EfficientNet-B0's 5x5 depthwise convolutions, oneDNN's and TensorFlow's own: milliseconds.

    python benchmarks/depthwise.py [--size=128] [--batch=32] [--repeats=15]

From the root of a checkout, on quiet cores. In turns, medians; prints one JSON object last. See
`melanoma_tf.kernels.depthwise`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

KERNEL = 5
SHAPES = ((32, 2, 144), (16, 1, 240), (8, 1, 480), (8, 1, 672), (8, 2, 672), (4, 1, 1152))  # side at 128 px, stride, C


def build_ways(stride: int, channels: int) -> dict[str, Callable]:
    """`(inputs, upstream) -> gradient`, by name."""
    import tensorflow as tf

    from melanoma_tf.kernels.depthwise import filter_gradient

    sizes, strides = [KERNEL, KERNEL, channels, 1], [1, stride, stride, 1]
    return {
        "onednn": tf.function(
            lambda x, dy: tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=x, filter_sizes=sizes, out_backprop=dy, strides=strides, padding="SAME"
            )
        ),
        "own": tf.function(lambda x, dy: filter_gradient(x, dy, sizes, strides, "SAME")),
    }


def measure(batch: int, side: int, stride: int, channels: int, repeats: int) -> dict[str, float]:
    import tensorflow as tf

    inputs = tf.random.stateless_normal((batch, side, side, channels), [1, 2])
    upstream = tf.random.stateless_normal((batch, side // stride, side // stride, channels), [1, 3])
    ways = build_ways(stride, channels)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 2):  # the first two trace and choose kernels
        for name, way in ways.items():
            start = time.perf_counter()
            way(inputs, upstream).numpy()
            seconds[name].append(time.perf_counter() - start)
    return {name: round(statistics.median(taken[2:]) * 1e3, 2) for name, taken in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("size", 128), ("batch", 32), ("repeats", 15)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    found = {}
    for side_at_128, stride, channels in SHAPES:
        side = side_at_128 * options.size // 128
        shape = "x".join(map(str, (options.batch, side, side, channels))) + f"/{stride}"
        found[shape] = measure(options.batch, side, stride, channels, options.repeats)
        print(f"{shape}: {found[shape]}", flush=True)
    print(json.dumps({"tensorflow": tf.__version__, "size": options.size, "batch": options.batch,
                      "depthwise_ms": found}))  # fmt: skip


if __name__ == "__main__":
    main()
