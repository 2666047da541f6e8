"""Learning rate as a pure function of the position in the run."""

from __future__ import annotations

import math

from melanoma_tf.config import TrainConfig


def learning_rate(config: TrainConfig, epoch: float) -> float:
    """The rate at a position counted in epochs, such as 2.5.

    Linear warm-up from 1/100 of the peak; then `cosine` to `final_learning_rate_ratio` of the peak at the end, or
    `exponential`, times `decay_per_epoch` per epoch of what is above that ratio, or `constant`.
    """
    peak, warmup = config.learning_rate, min(config.warmup_epochs, config.epochs)
    if epoch < warmup:
        return peak * (0.01 + 0.99 * epoch / warmup)
    floor, after = config.final_learning_rate_ratio, epoch - warmup
    if config.schedule == "cosine":
        share = min(after / max(config.epochs - warmup, 1e-9), 1.0)
        return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share)))
    if config.schedule == "exponential":
        return peak * (floor + (1 - floor) * config.decay_per_epoch**after)
    return peak
