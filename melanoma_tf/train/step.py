"""The training step: augment, forward, loss over the global batch, update."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from melanoma_tf.augment import augment, mix
from melanoma_tf.config import Config
from melanoma_tf.keras_compat import keras, step_randomness
from melanoma_tf.losses import get_loss
from melanoma_tf.randomness import fold_in
from melanoma_tf.train.followers import Follower
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
    loss_function, replicas = get_loss(config.train.loss), strategy.num_replicas_in_sync
    global_batch = float(config.train.batch_size)
    augment_share = compiled_augmentation(config, replicas)
    update = build_update(model, optimizer, config.train, followers)

    def replica_step(batch, seed, learning_rate):
        context = tf.distribute.get_replica_context()
        replica = tf.cast(context.replica_id_in_sync_group, tf.int32)
        images, target = augment_share(batch["image"], batch["target"], seed, replica)
        inputs = {"image": images, "meta": batch["meta"]}
        own_seed = fold_in(seed, replica)

        def loss_and_gradients():
            with tf.GradientTape() as tape, step_randomness(own_seed):
                logits = tf.cast(model(inputs, training=True), tf.float32)
                losses = loss_function(target, logits, config.train.label_smoothing)
                loss = tf.reduce_sum(losses * batch["weight"]) / global_batch
            return loss, tape.gradient(loss, model.trainable_variables)

        loss, gradients = sharpness_aware(loss_and_gradients, model, config.train.sam_rho)
        update(gradients, learning_rate)
        return loss

    @tf.function
    def step(batch, seed, learning_rate):
        losses = strategy.run(replica_step, args=(batch, seed, learning_rate))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    return step
