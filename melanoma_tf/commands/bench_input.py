"""Measures the input on this machine, part by part, and says what would starve first.

On shards of your own: images/s of the disk, the records, decoding alone, the pipeline as a whole and images held
decoded; with --step those of the recipe's training step too, which is what the input has to feed.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from melanoma_tf.command_line import CommandFlags, boolean_flag, integer_flag, repeated_flag, text_flag
from melanoma_tf.errors import UserError

LIMITS = {"images": (1, 100_000), "rounds": (1, 100)}
ADVICE = {
    "disk": "the disk: a nearer or faster one helps, and more shards at once",
    "records": "reading records: fewer, larger shards help, and a disk that is nearer",
    "decode": "decoding: more cores help, images held decoded (data.cache), or shards of a smaller size",
}


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "data_dir", None, "folder with the shards", required=True)
    text_flag(flag_values, "prefix", "train", "which shards: PREFIX*.tfrec")
    text_flag(flag_values, "config", "b0_256", "recipe in melanoma_tf/configs/: image and batch size, and the step")
    repeated_flag(flag_values, "set", "setting=value of the recipe, such as data.image_size=512")
    integer_flag(flag_values, "images", 1000, "how many images to read at least, from the first shards")
    integer_flag(flag_values, "rounds", 3, "passes over them, of which the median counts")
    boolean_flag(flag_values, "step", "time the recipe's training step too, on images of noise")
    boolean_flag(flag_values, "json", "print one JSON object")


def main(flag_values: CommandFlags) -> None:
    from melanoma_tf import command_line
    from melanoma_tf import config as configuration

    for name, (low, high) in LIMITS.items():
        value = getattr(flag_values, name)
        if not low <= value <= high:
            raise UserError(f"--{name}={value}: valid is {low} to {high}")
    config = configuration.override(configuration.load_recipe(flag_values.config), flag_values.set)
    command_line.import_tensorflow_quietly()
    from melanoma_tf.data import speed

    size, batch = config.data.image_size, config.train.batch_size
    images, total = speed.sample_shards(flag_values.data_dir, flag_values.prefix, flag_values.images)
    count = len(images)
    shuffle_mb = max(config.data.shuffle_memory_mb * count // (total or count), 1)
    stages = speed.stages(images, size, batch, shuffle_memory_mb=shuffle_mb, memory_mb=config.data.cache_memory_mb)
    rates = speed.measure(stages, count, flag_values.rounds)
    if flag_values.step:
        steps = max(min(count // batch, 8), 1)
        rates |= speed.measure({"training step": _training_steps(config, steps)}, steps * batch, flag_values.rounds)
    report = {
        "images": count, "images_in_all": total, "bytes_per_image": images.index.bytes_total // count,
        "image_size": size, "batch_size": batch, "cores": speed.cores(), "images_per_second": rates,
        "decoded_bytes": (total or count) * size**2 * 3,
    }  # fmt: skip
    print(json.dumps(report) if flag_values.json else "\n".join(describe(report)))


def describe(report: dict) -> list[str]:
    """The report as lines for a person."""
    rates, size = report["images_per_second"], report["bytes_per_image"]
    lines = [
        f"{report['images']:,} images of {size / 1e3:,.0f} kB to {report['image_size']} px, {report['cores']} cores"
    ]
    for name, rate in rates.items():
        detail = f"{rate * size / 1e6:,.0f} MB/s" if name in ("disk", "records") else ""
        lines.append(f"{name:<14} {rate:>10,.0f} images/s  {detail}".rstrip())
    if report["images_in_all"]:
        lines.append(_epoch_line(report))
    return [*lines, _verdict(rates)]


def _verdict(rates: dict[str, float]) -> str:
    """What would starve first; the slowest part names the cause."""
    cause = ADVICE[min(ADVICE, key=lambda part: rates[part])]
    if "training step" not in rates:
        return f"slowest is {cause}"
    step, pipeline = rates["training step"], rates["pipeline"]
    if pipeline >= step:
        return f"the training step is slowest: the input brings {pipeline / step:.1f} times what it takes"
    return f"the training step waits: the input brings {pipeline / step:.0%} of what it takes; slowest is {cause}"


def _epoch_line(report: dict) -> str:
    from melanoma_tf.progress import duration

    total, rates = report["images_in_all"], report["images_per_second"]
    line = f"an epoch of all {total:,} images takes the pipeline {duration(total / rates['pipeline'])}"
    return f"{line}; decoded they need {report['decoded_bytes'] / 1e9:,.1f} GB"


def _training_steps(config, steps: int) -> Callable[[], None]:
    """Runs the recipe's step as often as told, on noise: what the input would have to feed."""
    import numpy as np
    import tensorflow as tf

    from melanoma_tf.distribute import make_strategy
    from melanoma_tf.models import build_model
    from melanoma_tf.optimizers import build_optimizer
    from melanoma_tf.tables import METADATA_WIDTH
    from melanoma_tf.targets import classes
    from melanoma_tf.train.step import build_train_step, step_seed

    strategy, batch, size = make_strategy(), config.train.batch_size, config.data.image_size
    with strategy.scope():
        model, optimizer = build_model(config.model, size), build_optimizer(config.train)
        optimizer.build(model.trainable_variables)
    step = build_train_step(strategy, model, optimizer, config)
    noise = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
    element = {
        "image": noise, "meta": np.zeros((batch, METADATA_WIDTH), np.float32),
        "target": np.zeros((batch, len(classes(config.model.target))), np.float32),
        "weight": np.ones(batch, np.float32),
    }  # fmt: skip
    dataset = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensors(element).repeat(steps))

    def run() -> None:
        for number, one in enumerate(dataset):
            float(step(one, tf.constant(step_seed(0, "0", number)), tf.constant(1e-4)))

    return run
