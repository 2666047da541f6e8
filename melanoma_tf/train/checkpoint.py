"""Where a fold stands: model, optimizer and position, saved so that a rerun goes on from there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from melanoma_tf.errors import UserError
from melanoma_tf.keras_compat import keras


class Checkpoint:
    """Saves and restores one fold. The last two states are kept; a state is used only if it was written to its end.

    Attributes: epoch, step: int variables, the next epoch and the next step within it; loss_sum: float64 variable, the
    sum of the losses of the steps behind it in this epoch; seconds: float64 variable, time spent in this epoch.
    """

    def __init__(
        self, folder: Path, model: keras.Model, optimizer: keras.optimizers.Optimizer,
        followers: Mapping[str, tf.Module] | None = None,
    ):  # fmt: skip
        self.epoch = tf.Variable(0, dtype=tf.int64, trainable=False, name="epoch")
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.loss_sum = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="loss_sum")
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="seconds")
        self._checkpoint = tf.train.Checkpoint(
            model=model,
            optimizer=optimizer,
            epoch=self.epoch,
            step=self.step,
            loss_sum=self.loss_sum,
            seconds=self.seconds,
            **(followers or {}),
        )
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(folder), max_to_keep=2)

    def restore(self) -> bool:
        """Goes to the last saved state; False where there is none. Raises UserError when it is of another model."""
        latest = self._manager.latest_checkpoint
        if latest is None:
            return False
        try:
            self._checkpoint.restore(latest).assert_existing_objects_matched()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise UserError(
                f"checkpoint {latest} does not fit this model; use another --work_dir or --overwrite"
            ) from error
        return True

    def save(self) -> None:
        """Writes the state. Raises UserError when the disk is full."""
        try:
            self._manager.save()
        except (tf.errors.OpError, OSError) as error:
            raise UserError(f"cannot save a checkpoint: {str(error).splitlines()[0]}") from error
