"""The statistics of BatchNormalization: estimated anew for weights that no training step has run with."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from melanoma_tf.config import Config
from melanoma_tf.keras_compat import keras
from melanoma_tf.layers import step_randomness
from melanoma_tf.models.normalizations import normalizations, running_statistics
from melanoma_tf.randomness import fold_in
from melanoma_tf.train.step import compiled_augmentation

ENOUGH_IMAGES = 10_000  # 1,000 to 10,000 do (Wu & Johnson 2021, arXiv 2105.07576, section 3.3)


def build_statistics_step(strategy: tf.distribute.Strategy, model: keras.Model, config: Config) -> Callable:
    """Compiled step `(batch, seed int32[2]) -> [mean float32[C], variance float32[C], ...]`, of the batch alone.

    It augments and drops out as the training step does with this seed. Replicas' statistics are averaged.
    """
    variables = running_statistics(model)
    replicas, augmented = strategy.num_replicas_in_sync, compiled_augmentation(config, strategy.num_replicas_in_sync)
    # Starting at 0, a layer's running value after one batch is (1 - momentum) times the batch's.
    shares = [1.0 - layer.momentum for layer in normalizations(model) for _ in range(2)]

    def replica_step(batch, seed):
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)
        images, _ = augmented(batch["image"], batch["target"], seed, replica)
        for variable in variables:
            variable.assign(tf.zeros_like(variable))
        with step_randomness(fold_in(seed, replica)):
            model({"image": images, "meta": batch["meta"]}, training=True)
        return [tf.convert_to_tensor(variable) / share for variable, share in zip(variables, shares)]

    @tf.function
    def step(batch, seed):
        found = strategy.run(replica_step, args=(batch, seed))
        return [strategy.reduce(tf.distribute.ReduceOp.SUM, one, axis=None) / replicas for one in found]

    return step


def estimate_statistics(model: keras.Model, step: Callable, batches: Iterable[tuple[np.ndarray, dict]]) -> None:
    """Sets them to the mean over `batches`, pairs of a seed and a batch (Izmailov et al. 2018, arXiv 1803.05407)."""
    sums, count = None, 0
    for seed, batch in batches:
        found = [one.numpy().astype(np.float64) for one in step(batch, tf.constant(seed))]
        sums = found if sums is None else [before + one for before, one in zip(sums, found)]
        count += 1
    for variable, total in zip(running_statistics(model), sums or []):
        variable.assign((total / count).astype(np.float32))
