"""Optimizers that Keras lacks, or has in another form: rectified Adam and LAMB."""

from __future__ import annotations

import re

import tensorflow as tf

from melanoma_tf.keras_compat import SlotOptimizer

BETA_1, BETA_2 = 0.9, 0.999
SURE_ENOUGH = 5.0  # rectified Adam adapts from this length of the average on; the paper's text says 4, its code 5


def _moments(gradient: tf.Tensor, slots: list[tf.Variable], step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and mean square of the gradient, both corrected for their start at 0.

    1 - beta is taken in the weight's own precision, so that the error of beta cancels in the correction.
    """
    (first, beta_1), (second, beta_2) = zip(slots, (tf.constant(beta, step.dtype) for beta in (BETA_1, BETA_2)))
    mean = first.assign(beta_1 * first + (1.0 - beta_1) * gradient)
    square = second.assign(beta_2 * second + (1.0 - beta_2) * tf.square(gradient))
    return mean / (1.0 - beta_1**step), square / (1.0 - beta_2**step)


class RectifiedAdam(SlotOptimizer):
    """Adam that takes plain momentum steps until its second moment can be trusted (Liu et al. 2019, arXiv 1908.03265).

    The same numbers as `tfa.optimizers.RectifiedAdam`, tested step by step.
    """

    SLOTS = ("momentum", "velocity")

    def change(self, gradient, weight, slots, step):
        mean, square = _moments(gradient, slots, step)
        beta = tf.constant(BETA_2, step.dtype)
        longest = 2.0 / (1.0 - beta) - 1.0
        length = longest - 2.0 * step * beta**step / (1.0 - beta**step)
        rectified = tf.sqrt(  # NaN while the length is too short, and then not chosen
            (length - 4.0) / (longest - 4.0) * (length - 2.0) / (longest - 2.0) * longest / length
        )
        return tf.where(length >= SURE_ENOUGH, rectified * mean / (tf.sqrt(square) + 1e-7), mean)


class Lamb(SlotOptimizer):
    """Adam whose step for a tensor is as long as the tensor itself, times the rate (You et al. 2019, arXiv 1904.00962).

    The decay is part of the step whose length is set, as in the paper and `tfa.optimizers.LAMB`; Keras 3's own Lamb
    takes it outside. Tensors that are not decayed keep the length of Adam's step.

    Args: decay: of the weights. not_decayed: words in the names of variables without decay.
    """

    SLOTS = ("momentum", "velocity")

    def __init__(self, learning_rate: float, decay: float = 0.0, not_decayed: tuple[str, ...] = (), **options):
        super().__init__(learning_rate, **options)
        self.decay, self.not_decayed = decay, not_decayed

    def change(self, gradient, weight, slots, step):
        mean, square = _moments(gradient, slots, step)
        change = mean / (tf.sqrt(square) + 1e-6)
        if any(re.search(word, weight.name) for word in self.not_decayed):
            return change
        change += self.decay * weight
        length, of_change = tf.norm(weight), tf.norm(change)
        usable = (length > 0.0) & (of_change > 0.0)
        return tf.where(usable, length / tf.where(usable, of_change, 1.0), 1.0) * change

    def get_config(self) -> dict:
        return super().get_config() | {"decay": self.decay, "not_decayed": self.not_decayed}
