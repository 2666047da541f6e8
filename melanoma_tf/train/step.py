"""The training step: augment, forward, loss over the global batch, update."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from melanoma_tf.augment import augment, mix
from melanoma_tf.config import Config
from melanoma_tf.keras_compat import keras, scaled_loss, step_randomness, unscaled_gradients
from melanoma_tf.losses import get_loss
from melanoma_tf.randomness import fold_in
from melanoma_tf.train.parts import in_parts


def step_seed(seed: int, fold: str, step: int) -> np.ndarray:
    """int32[2] for stateless ops: one for the run and fold, one for the step."""
    return np.array([zlib.crc32(f"{seed}/{fold}".encode()) & 0x7FFFFFFF, step], np.int32)


def build_train_step(
    strategy: tf.distribute.Strategy, model: keras.Model, optimizer: keras.optimizers.Optimizer, config: Config
) -> Callable:
    """Compiled step `(batch, seed int32[2], learning_rate float32) -> loss float32`, the mean over the global batch."""
    loss_function, replicas = get_loss(config.train.loss), strategy.num_replicas_in_sync
    global_batch = float(config.train.batch_size)

    # Compiled, so that all of it is few passes over memory; on a TPU the whole step is compiled anyway.
    @tf.function(jit_compile=True, autograph=False)
    def augment_share(images, target, seed, replica):
        images = augment(images, seed, config.augment, replica, replicas)
        return mix(images, target, seed, config.augment, replica, replicas)

    def gradients_of(share, seed):
        inputs = {"image": share["image"], "meta": share["meta"]}
        with tf.GradientTape() as tape, step_randomness(seed):
            logits = tf.cast(model(inputs, training=True), tf.float32)
            losses = loss_function(share["target"], logits, config.train.label_smoothing)
            loss = tf.reduce_sum(losses * share["weight"]) / global_batch
            scaled = scaled_loss(optimizer, loss)
        return loss, tape.gradient(scaled, model.trainable_variables)

    def replica_step(batch, seed, learning_rate):
        context = tf.distribute.get_replica_context()
        replica = tf.cast(context.replica_id_in_sync_group, tf.int32)
        images, target = augment_share(batch["image"], batch["target"], seed, replica)
        share = {"image": images, "meta": batch["meta"], "target": target, "weight": batch["weight"]}
        weights = model.trainable_variables
        loss, gradients = in_parts(gradients_of, share, fold_in(seed, replica), weights, config.train.accumulation)
        optimizer.learning_rate.assign(learning_rate)
        optimizer.apply_gradients(zip(unscaled_gradients(optimizer, gradients), weights))
        return loss

    @tf.function
    def step(batch, seed, learning_rate):
        losses = strategy.run(replica_step, args=(batch, seed, learning_rate))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    return step
