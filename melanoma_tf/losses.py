"""The table of losses, `(target float32[B,C], logits float32[B,C], settings) -> float32[B]`, from logits.

C is 1 for the binary target, else the number of classes, melanoma first (see `targets`). To add one: write a function
and put it into `LOSSES`; what looks at several classes at once goes into `SEVERAL_CLASSES`. All are finite, and so are
their gradients, for logits of any size that training meets (tested to 1e4).
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from melanoma_tf.config import TrainConfig
from melanoma_tf.errors import UserError, nearest

Loss = Callable[[tf.Tensor, tf.Tensor, TrainConfig], tf.Tensor]
SMALLEST_MISS = 1e-12  # the gradient of miss**gamma is infinite at 0 where gamma is below 1


def binary_cross_entropy(target: tf.Tensor, logits: tf.Tensor, settings: TrainConfig) -> tf.Tensor:
    """Cross entropy of a Bernoulli per class, mean over classes; targets are pulled towards 1/2 by the smoothing."""
    target = _smoothed(target, settings.label_smoothing, 2)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(target, logits), axis=-1)


def focal(target: tf.Tensor, logits: tf.Tensor, settings: TrainConfig) -> tf.Tensor:
    """Focal loss (Lin et al. 2017, arXiv 1708.02002): alpha for positives, 1 - alpha for negatives."""
    target = _smoothed(target, settings.label_smoothing, 2)
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(target, logits)
    # 1 - p_t as a sigmoid of the signed logit keeps its precision where p_t is close to 1.
    miss = target * tf.sigmoid(-logits) + (1.0 - target) * tf.sigmoid(logits)
    alpha = target * settings.focal_alpha + (1.0 - target) * (1.0 - settings.focal_alpha)
    return tf.reduce_mean(alpha * _focused(miss, settings) * cross_entropy, axis=-1)


def categorical_cross_entropy(target: tf.Tensor, logits: tf.Tensor, settings: TrainConfig) -> tf.Tensor:
    """Cross entropy of the softmax; targets are pulled towards 1/C by the smoothing."""
    target = _smoothed(target, settings.label_smoothing, logits.shape[-1])
    return -tf.reduce_sum(target * tf.nn.log_softmax(logits), axis=-1)


def categorical_focal(target: tf.Tensor, logits: tf.Tensor, settings: TrainConfig) -> tf.Tensor:
    """Focal loss of the softmax, without alpha; `train.positive_weight` tells melanoma from the rest."""
    target = _smoothed(target, settings.label_smoothing, logits.shape[-1])
    log_probability = tf.nn.log_softmax(logits)
    miss = -tf.math.expm1(log_probability)
    return -tf.reduce_sum(target * _focused(miss, settings) * log_probability, axis=-1)


def pairwise_auc(target: tf.Tensor, logits: tf.Tensor, settings: TrainConfig) -> tf.Tensor:
    """Mean of log(1 + exp(negative - positive)) over the pairs of a melanoma and another image of this replica's batch.

    A smooth bound of 1 - AUC (logistic surrogate, Gao & Zhou 2015, arXiv 1208.0645). Each pair's loss is shared by its
    two images, scaled so that the mean over the batch is the mean over the pairs. A soft truth (mixup, pseudo-labels)
    makes soft pairs. A batch without a melanoma has no pair: its loss and gradient are 0, so see to
    `data.melanoma_repeat`. Scores are ranked, not levelled: label smoothing does not apply, and probabilities are good
    for ranks alone.
    """
    positive, score = target[:, 0], melanoma_logit(logits)
    apart = 1.0 - tf.eye(score.shape[0] or tf.shape(score)[0])
    pairs = positive[:, None] * (1.0 - positive)[None, :] * apart
    losses = pairs * tf.nn.softplus(score[None, :] - score[:, None])
    of_images = (tf.reduce_sum(losses, axis=1) + tf.reduce_sum(losses, axis=0)) / 2.0
    return tf.math.divide_no_nan(of_images, tf.reduce_mean(tf.reduce_sum(pairs, axis=1)))


def melanoma_logit(logits: tf.Tensor) -> tf.Tensor:
    """Log-odds of melanoma, float32[B]: the logit itself, or that of its softmax among all classes."""
    if logits.shape[-1] == 1:
        return logits[:, 0]
    return logits[:, 0] - tf.reduce_logsumexp(logits[:, 1:], axis=-1)


def weighted(target: tf.Tensor, losses: tf.Tensor, settings: TrainConfig) -> tf.Tensor:
    """Losses of melanoma times `train.positive_weight`; of a soft truth, by its share. float32[B]."""
    if settings.positive_weight == 1.0:
        return losses
    return losses * (1.0 + (settings.positive_weight - 1.0) * target[:, 0])


def _smoothed(target: tf.Tensor, label_smoothing: float, classes: int) -> tf.Tensor:
    return target * (1.0 - label_smoothing) + label_smoothing / classes


def _focused(miss: tf.Tensor, settings: TrainConfig) -> tf.Tensor:
    return tf.maximum(miss, SMALLEST_MISS) ** settings.focal_gamma


def get_loss(settings: TrainConfig, classes: int) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The configured loss `(target, logits) -> float32[B]`, weighted.

    Raises: UserError for an unknown name (names the nearest), or for a loss that does not suit the number of classes.
    """
    name = settings.loss
    if name not in LOSSES:
        raise UserError(f"train.loss: no loss {name!r}; {nearest(name, LOSSES)}")
    valid = [one for one in LOSSES if one == "pairwise_auc" or (one in SEVERAL_CLASSES) == (classes > 1)]
    if name not in valid:
        kind = f"{classes} classes" if classes > 1 else "the binary target"
        raise UserError(f"train.loss is {name}, which is not for {kind} of model.target; valid: {', '.join(valid)}")
    if name == "pairwise_auc" and settings.positive_weight != 1.0:
        raise UserError("train.positive_weight must be 1 with train.loss=pairwise_auc: every pair has one melanoma")
    return lambda target, logits: weighted(target, LOSSES[name](target, logits, settings), settings)


LOSSES: dict[str, Loss] = {
    "binary_cross_entropy": binary_cross_entropy,
    "focal": focal,
    "categorical_cross_entropy": categorical_cross_entropy,
    "categorical_focal": categorical_focal,
    "pairwise_auc": pairwise_auc,
}
SEVERAL_CLASSES = ("categorical_cross_entropy", "categorical_focal")
