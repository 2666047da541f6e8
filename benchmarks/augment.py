"""The training recipe's augmentation against Keras' preprocessing layers and the code of the public notebooks.

    python benchmarks/augment.py [--size=512] [--batch=16] [--rounds=7]
    python benchmarks/augment.py --memory --size=1024 --batch=64

From the root of a checkout, on quiet cores. All three do the same work on the same uint8 batch: flips, rotation, shear,
zoom, shift, brightness, contrast, saturation, hue and coarse dropout. Ours is one compiled function on the batch;
Keras' layers one after another in one `tf.function`; the notebooks' way one image at a time in `tf.data`, a 3x3 matrix
and one `gather_nd`, nearest neighbour. Alternating, medians; prints one JSON object last, with `share_of_bandwidth`:
the bytes that must move at least (uint8 in, float32 out), over the copy bandwidth measured in the same run.
With --memory nothing is timed: what ours takes in memory at its peak, beyond the batch that goes in.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from melanoma_tf import command_line

RECIPE = ("flip", "rotate", "shear", "zoom", "shift", "brightness", "contrast", "saturation", "hue", "coarse_dropout")
HOLES, HOLE_SHARE = 8, 0.2


def build_ours(images: np.ndarray) -> Callable[[], np.ndarray]:
    import tensorflow as tf

    from melanoma_tf.augment import OPS, augment
    from melanoma_tf.config import AugmentConfig

    config = AugmentConfig(**{name: float(name in RECIPE) for name in OPS})
    compiled = tf.function(lambda x, seed: augment(x, seed, config), jit_compile=True)
    batch, seed = tf.constant(images), tf.constant([1, 2])
    return lambda: compiled(batch, seed).numpy()


def build_keras(images: np.ndarray) -> tuple[Callable[[], np.ndarray], list[str]]:
    """Whatever of the recipe this Keras has as a layer."""
    import tensorflow as tf

    layers = tf.keras.layers
    wanted = [
        ("RandomFlip", {}), ("RandomRotation", {"factor": 0.5}), ("RandomShear", {"x_factor": 0.3, "y_factor": 0.0}),
        ("RandomZoom", {"height_factor": 0.33, "width_factor": 0.33}),
        ("RandomTranslation", {"height_factor": 0.2, "width_factor": 0.2}),
        ("RandomBrightness", {"factor": 0.4, "value_range": (0, 255)}), ("RandomContrast", {"factor": 0.5}),
        ("RandomSaturation", {"factor": (0.1, 0.9)}), ("RandomHue", {"factor": 0.08}),
        ("RandomErasing", {"factor": 1.0}),
    ]  # fmt: skip
    chain = [getattr(layers, name)(**options) for name, options in wanted if hasattr(layers, name)]

    @tf.function
    def run(x):
        x = tf.cast(x, tf.float32)
        for layer in chain:
            x = layer(x, training=True)
        return x / 255.0

    batch = tf.constant(images)
    return lambda: run(batch).numpy(), [type(layer).__name__ for layer in chain]


def build_notebook(images: np.ndarray) -> Callable[[], np.ndarray]:
    """One image at a time, as a user of `tf.data` writes it."""
    import tensorflow as tf

    size = images.shape[1]
    half = size // 2

    def turn_shear_zoom_shift(image):
        angle = math.pi * tf.random.normal([])
        shear = math.radians(20) * tf.random.normal([])
        across, down = (1.0 + tf.random.normal([]) / 8.0 for _ in range(2))
        moved = [size / 10 * tf.random.normal([]) for _ in range(2)]
        one, zero = tf.ones([]), tf.zeros([])
        rows = lambda *values: tf.reshape(tf.stack(values), [3, 3])  # noqa: E731
        matrix = rows(tf.cos(angle), tf.sin(angle), zero, -tf.sin(angle), tf.cos(angle), zero, zero, zero, one)
        matrix = matrix @ rows(one, tf.sin(shear), zero, zero, tf.cos(shear), zero, zero, zero, one)
        matrix = matrix @ rows(1 / across, zero, zero, zero, 1 / down, zero, zero, zero, one)
        matrix = matrix @ rows(one, zero, moved[0], zero, one, moved[1], zero, zero, one)
        x = tf.repeat(tf.range(half, -half, -1), size)
        y = tf.tile(tf.range(-half, half), [size])
        places = tf.cast(matrix @ tf.cast(tf.stack([x, y, tf.ones_like(x)]), tf.float32), tf.int32)
        places = tf.clip_by_value(places, -half + 1, half)
        return tf.reshape(
            tf.gather_nd(image, tf.transpose(tf.stack([half - places[0], half - 1 + places[1]]))), image.shape
        )

    def drop(image):
        side = int(size * HOLE_SHARE)
        for _ in range(HOLES):
            top, left = (tf.random.uniform([], 0, size - side, tf.int32) for _ in range(2))
            hole = tf.pad(tf.ones([side, side]), [[top, size - side - top], [left, size - side - left]])
            image = image * (1.0 - hole)[..., None]
        return image

    def one(image):
        image = tf.cast(image, tf.float32) / 255.0
        image = turn_shear_zoom_shift(tf.image.random_flip_left_right(tf.image.random_flip_up_down(image)))
        image = tf.ensure_shape(image, [size, size, 3])
        image = tf.image.random_hue(image, 0.08)
        image = tf.image.random_saturation(image, 0.2, 1.8)
        image = tf.image.random_contrast(image, 0.5, 1.5)
        return drop(tf.image.random_brightness(image, 0.4))

    # One batch an iteration: an endless data set would work ahead while the others are measured.
    dataset = tf.data.Dataset.from_tensor_slices(images).map(one, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(len(images))
    return lambda: next(iter(dataset)).numpy()


def copy_bandwidth(bytes_moved: int) -> float:
    """Bytes/s of a copy in memory, read and write counted, all cores by TensorFlow's own copy."""
    import tensorflow as tf

    source = tf.zeros([bytes_moved // 8], tf.float32)
    copy = tf.function(lambda x: x + 1.0)
    copy(source)
    seconds = []
    for _ in range(9):
        started = time.perf_counter()
        copy(source).numpy()
        seconds.append(time.perf_counter() - started)
    return 2 * source.shape[0] * 4 / statistics.median(seconds)


def measure(ways: dict[str, Callable[[], np.ndarray]], rounds: int) -> dict[str, float]:
    """Median seconds of each, alternating; the first two rounds warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 2):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
        print(
            f"round {number + 1}: { ({name: round(times[-1], 3) for name, times in seconds.items()}) }", file=sys.stderr
        )
    return {name: statistics.median(times[2:]) for name, times in seconds.items()}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_memory(shape: tuple[int, ...]) -> dict[str, float]:
    """Of the result and of everything beside it; a small batch first, so that the compiler itself is not counted."""
    build_ours(np.zeros((1, 64, 64, 3), np.uint8))()
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    run, before = build_ours(images), peak_mb()
    result = run()
    result_mb = result.nbytes / 2**20
    return {"batch_mb": images.nbytes / 2**20, "result_mb": result_mb, "beside_mb": peak_mb() - before - result_mb}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("size", 512), ("batch", 16), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()
    command_line.import_tensorflow_quietly()
    import tensorflow as tf

    shape = (arguments.batch, arguments.size, arguments.size, 3)
    if arguments.memory:
        print(json.dumps({"tensorflow": tf.__version__, "shape": shape, **measure_memory(shape)}))
        return
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    keras, layers = build_keras(images)
    seconds = measure(
        {"ours": build_ours(images), "keras": keras, "notebook": build_notebook(images)}, arguments.rounds
    )
    least = images.size * 5
    bandwidth = copy_bandwidth(images.size * 8)
    print(json.dumps({
        "tensorflow": tf.__version__, "size": arguments.size, "batch": arguments.batch, "keras_layers": layers,
        **{f"{name}_ms": round(value * 1e3, 1) for name, value in seconds.items()},
        "ratio_keras": round(seconds["keras"] / seconds["ours"], 2),
        "ratio_notebook": round(seconds["notebook"] / seconds["ours"], 2),
        "copy_gb_per_s": round(bandwidth / 1e9, 2),
        "share_of_bandwidth": round(least / bandwidth / seconds["ours"], 3),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
