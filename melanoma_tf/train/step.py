"""The training step: augment, forward, loss over the global batch, update."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from melanoma_tf.augment import augment, mix
from melanoma_tf.config import Config
from melanoma_tf.distribute import average_over_replicas
from melanoma_tf.keras_compat import keras, scaled_loss, unscaled_gradients
from melanoma_tf.layers import step_randomness
from melanoma_tf.models.normalizations import running_statistics, statistics_kept
from melanoma_tf.randomness import fold_in
from melanoma_tf.train.followers import Follower
from melanoma_tf.train.objective import Objective
from melanoma_tf.train.parts import in_parts
from melanoma_tf.train.sharpness import sharpness_aware
from melanoma_tf.train.update import build_update


def step_seed(seed: int, fold: str, step: int) -> np.ndarray:
    """int32[2] for stateless ops: one for the run and fold, one for the step."""
    return np.array([zlib.crc32(f"{seed}/{fold}".encode()) & 0x7FFFFFFF, step], np.int32)


def compiled_augmentation(config: Config, replicas: int) -> Callable:
    """`(images uint8[B,S,S,3], target, seed int32[2], replica int32) -> (images float32[B,S,S,3], target)`.

    Compiled, so that all of it is few passes over memory; on a TPU the whole step is compiled anyway.
    """

    @tf.function(jit_compile=True, autograph=False)
    def augment_share(images, target, seed, replica):
        images = augment(images, seed, config.augment, replica, replicas)
        return mix(images, target, seed, config.augment, replica, replicas)

    return augment_share


def build_train_step(
    strategy: tf.distribute.Strategy, model: keras.Model, optimizer: keras.optimizers.Optimizer, config: Config,
    followers: Iterable[Follower] = (),
) -> Callable:  # fmt: skip
    """Compiled step `(batch, seed int32[2], learning_rate float32) -> loss float32`, the mean over the global batch."""
    objective, replicas = Objective(config), strategy.num_replicas_in_sync
    global_batch, parts = float(config.train.batch_size), config.train.accumulation
    augment_share = compiled_augmentation(config, replicas)
    update, statistics = build_update(model, optimizer, config.train, followers), running_statistics(model)

    def gradients_of(share, seed):
        inputs = {"image": share["image"], "meta": share["meta"]}
        with step_randomness(seed):  # around the gradient too, which may compute activations again
            with tf.GradientTape() as tape:
                losses = objective.losses(share["truth"], model(inputs, training=True))
                loss = tf.reduce_sum(losses * share["weight"]) / global_batch
                scaled = scaled_loss(optimizer, loss)
            with statistics_kept(model) if config.model.rematerialize else contextlib.nullcontext():
                return loss, tape.gradient(scaled, model.trainable_variables)

    def replica_step(batch, seed, learning_rate):
        context = tf.distribute.get_replica_context()
        replica = tf.cast(context.replica_id_in_sync_group, tf.int32)
        images, truth = augment_share(batch["image"], objective.truth(batch), seed, replica)
        share = {"image": images, "meta": batch["meta"], "truth": truth, "weight": batch["weight"]}

        def loss_and_gradients():
            return in_parts(gradients_of, share, fold_in(seed, replica), model.trainable_variables, parts)

        loss, gradients = sharpness_aware(loss_and_gradients, model, config.train.sam_rho)
        # At every step, so that a prediction does not depend on the replica, and a checkpoint of one copy is the run.
        average_over_replicas(statistics)
        update(unscaled_gradients(optimizer, gradients), learning_rate)
        return loss

    @tf.function
    def step(batch, seed, learning_rate):
        losses = strategy.run(replica_step, args=(batch, seed, learning_rate))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    return step
