"""What a run would take, told before it starts."""

from __future__ import annotations

import time

import numpy as np
import tensorflow as tf

from melanoma_tf.data.faults import named_faults
from melanoma_tf.progress import duration
from melanoma_tf.train import memory
from melanoma_tf.train.fold import FoldRun
from melanoma_tf.train.sizes import size_of_epoch, sizes_of
from melanoma_tf.train.step import step_seed

TIMED_STEPS = 3


def describe(run: FoldRun, folds: int) -> str:
    """Parameters, memory, steps and time of the whole run of `folds`, by one that is built but not run.

    Nothing is written; the model does a few steps.
    """
    config, model, replicas = run.config.train, run.model, run.strategy.num_replicas_in_sync
    found, total = memory.estimate(model, run.optimizer, run.config), folds * config.epochs
    own = config.batch_size // replicas // config.accumulation
    trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)
    steps, seconds = run.steps_per_epoch, _seconds_per_step(run)
    lines = {
        "parameters": f"{model.count_params():,}, of which {trained:,} are trained",
        "memory": f"{memory.shown(found.image)} an image, {memory.shown(found.batch(own))} for {own} at once on each "
                  f"of {replicas} devices, of it {memory.shown(found.weights)} weights and gradients, "
                  f"{memory.shown(found.slots)} {config.optimizer}'s; a sum over layers, without working space",
        "steps": f"{steps:,} an epoch of {steps * config.batch_size:,} images, epochs: {config.epochs}, "
                 f"folds: {folds}, in all: {steps * total:,}",
        "time": f"{seconds:.3g} s a step of {config.batch_size} images, the fastest of {TIMED_STEPS}; "
                f"{duration(seconds * steps * total)} for all steps, without reading and validation",
    }  # fmt: skip
    return "\n".join(f"{name:<12}{text}" for name, text in lines.items())


def _seconds_per_step(run: FoldRun) -> float:
    """The mean over the epochs, whose images may differ in size."""
    seconds = {size: _seconds_at(run, size) for size in sizes_of(run.config)}
    epochs = range(run.config.train.epochs)
    return float(np.mean([seconds[size_of_epoch(run.config, epoch)] for epoch in epochs]))


def _seconds_at(run: FoldRun, size: int) -> float:
    shortage = memory.shortage_named("train", run.config, run.model, run.optimizer, run.strategy.num_replicas_in_sync)
    with named_faults(run.train), shortage:
        batch, times = next(iter(run.batches(0, 0, size))), []
        for number in range(TIMED_STEPS + 1):  # the first compiles
            seed = tf.constant(step_seed(run.config.seed, run.fold.name, number))
            began = time.monotonic()
            float(run.train_step(batch, seed, tf.constant(0.0)))
            times.append(time.monotonic() - began)
    return min(times[1:])
