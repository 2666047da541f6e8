"""The table of losses, `(target float32[B,C], logits float32[B,C], label_smoothing) -> float32[B]`, from logits."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from melanoma_tf.errors import UserError, nearest

FOCAL_GAMMA = 2.0
FOCAL_ALPHA = 0.25


def _smoothed(target: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    return target * (1.0 - label_smoothing) + 0.5 * label_smoothing


def binary_cross_entropy(target: tf.Tensor, logits: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    """Cross entropy of a Bernoulli per class, mean over classes; targets are pulled towards 1/2 by the smoothing."""
    target = _smoothed(target, label_smoothing)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(target, logits), axis=-1)


def focal(target: tf.Tensor, logits: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    """Focal loss, gamma 2, alpha 0.25 (Lin et al. 2017, arXiv 1708.02002), stable for any logit."""
    target = _smoothed(target, label_smoothing)
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(target, logits)
    # 1 - p_t as a sigmoid of the signed logit keeps its precision where p_t is close to 1.
    miss = target * tf.sigmoid(-logits) + (1.0 - target) * tf.sigmoid(logits)
    alpha = target * FOCAL_ALPHA + (1.0 - target) * (1.0 - FOCAL_ALPHA)
    return tf.reduce_mean(alpha * miss**FOCAL_GAMMA * cross_entropy, axis=-1)


def get_loss(name: str) -> Callable[[tf.Tensor, tf.Tensor, float], tf.Tensor]:
    """A loss of the table. Raises UserError that names the nearest."""
    if name not in LOSSES:
        raise UserError(f"train.loss: no loss {name!r}; {nearest(name, LOSSES)}")
    return LOSSES[name]


LOSSES: dict[str, Callable[[tf.Tensor, tf.Tensor, float], tf.Tensor]] = {
    "binary_cross_entropy": binary_cross_entropy,
    "focal": focal,
}
