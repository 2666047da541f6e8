"""What a training step minimises."""

from __future__ import annotations

import tensorflow as tf

from melanoma_tf.config import Config
from melanoma_tf.losses import get_loss
from melanoma_tf.targets import classes


class Objective:
    """The configured loss between the truth of a batch and what the model says.

    Raises: UserError for an unknown target or loss, or a loss that does not suit the target.
    """

    def __init__(self, config: Config):
        self._loss = get_loss(config.train, len(classes(config.model.target)))

    def truth(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """float32[B,K] of a batch of the pipeline: all that is mixed when images are."""
        return batch["target"]

    def losses(self, truth: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """float32[B] of the truth, mixed or not, and the model's outputs in training."""
        return self._loss(truth, tf.cast(outputs, tf.float32))
