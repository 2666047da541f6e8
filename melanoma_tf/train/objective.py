"""What a training step minimises."""

from __future__ import annotations

import tensorflow as tf

from melanoma_tf.auxiliary import auxiliary_heads, auxiliary_losses
from melanoma_tf.config import Config
from melanoma_tf.losses import get_loss
from melanoma_tf.targets import classes


class Objective:
    """The configured loss between the truth of a batch and what the model says, and those of its auxiliary heads.

    Raises: UserError for an unknown target, loss or head, or a loss that does not suit the target.
    """

    def __init__(self, config: Config):
        self._classes = len(classes(config.model.target))
        self._loss = get_loss(config.train, self._classes)
        self._heads, self._weight = auxiliary_heads(config.model), config.train.auxiliary_weight

    def truth(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """float32[B,K] of a batch of the pipeline: all that is mixed when images are."""
        width = batch["target"].shape[-1]
        if width != self._classes:  # it would be broadcast, to a loss of something else
            raise ValueError(f"a target of {width} columns for {self._classes} classes; see targets.class_labels")
        return tf.concat([batch["target"], batch["meta"]], axis=1) if self._heads else batch["target"]

    def losses(self, truth: tf.Tensor, outputs: tf.Tensor | dict[str, tf.Tensor]) -> tf.Tensor:
        """float32[B] of the truth, mixed or not, and the model's outputs in training."""
        if not self._heads:
            return self._loss(truth, tf.cast(outputs, tf.float32))
        said = {name: tf.cast(value, tf.float32) for name, value in outputs.items()}
        losses = self._loss(truth[:, : self._classes], said["logits"])
        return losses + self._weight * auxiliary_losses(truth[:, self._classes :], said, self._heads)
