"""Learning rate as a pure function of the position in the run."""

from __future__ import annotations

import math
from collections.abc import Callable

from melanoma_tf.config import TrainConfig
from melanoma_tf.errors import UserError

Schedule = Callable[[TrainConfig, float], float]  # (config, position in epochs) -> share of the peak


def learning_rate(config: TrainConfig, epoch: float) -> float:
    """The rate at a position counted in epochs, such as 2.5."""
    return config.learning_rate * SCHEDULES[config.schedule](config, epoch)


def cycle_ends(config: TrainConfig) -> list[int]:
    """After how many epochs each cycle of `restarts` ends: [4, 8, 12] for 3 of them in 12 epochs.

    Whole epochs, so that every cycle ends with a validation; where they do not divide, cycles differ by one.
    Raises: UserError for more cycles than epochs.
    """
    if config.restarts > config.epochs:
        raise UserError(f"train.restarts is {config.restarts}; valid is 1 to train.epochs, {config.epochs}")
    return [round(config.epochs * number / config.restarts) for number in range(1, config.restarts + 1)]


def _warmed(schedule: Schedule) -> Schedule:
    """With a linear warm-up from 1/100 of the peak before it."""

    def share(config: TrainConfig, epoch: float) -> float:
        warmup = min(config.warmup_epochs, config.epochs)
        return 0.01 + 0.99 * epoch / warmup if epoch < warmup else schedule(config, epoch)

    return share


def _half_cosine(config: TrainConfig, epoch: float, start: float, end: float) -> float:
    """From 1 at `start` to the floor at `end`."""
    floor = config.final_learning_rate_ratio
    share = min((epoch - start) / max(end - start, 1e-9), 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


def _cosine(config: TrainConfig, epoch: float) -> float:
    """To `final_learning_rate_ratio` of the peak at the end (Loshchilov & Hutter 2017, arXiv 1608.03983)."""
    return _half_cosine(config, epoch, min(config.warmup_epochs, config.epochs), config.epochs)


def _restarts(config: TrainConfig, epoch: float) -> float:
    """The same in `restarts` cycles, each from the peak again."""
    ends = cycle_ends(config)
    number = min(sum(epoch >= end for end in ends), len(ends) - 1)
    return _half_cosine(config, epoch, max([0, *ends][number], config.warmup_epochs), ends[number])


def _exponential(config: TrainConfig, epoch: float) -> float:
    """Times `decay_per_epoch` per epoch of what is above `final_learning_rate_ratio`."""
    floor, after = config.final_learning_rate_ratio, epoch - min(config.warmup_epochs, config.epochs)
    return floor + (1 - floor) * config.decay_per_epoch**after


def _constant(config: TrainConfig, epoch: float) -> float:
    return 1.0


def _one_cycle(config: TrainConfig, epoch: float) -> float:
    """Linearly from a tenth of the peak to the peak in 45 % of the run, back in 45 %, then to the floor.

    Smith 2018 (arXiv 1803.09820), without his cycle of the momentum. Its rise is its warm-up.
    """
    share, floor = epoch / config.epochs, min(config.final_learning_rate_ratio, 0.1)
    if share < 0.9:
        return 1.0 - 0.9 * abs(share - 0.45) / 0.45
    return 0.1 + (floor - 0.1) * min((share - 0.9) / 0.1, 1.0)


SCHEDULES: dict[str, Schedule] = {
    "cosine": _warmed(_cosine),
    "exponential": _warmed(_exponential),
    "constant": _warmed(_constant),
    "restarts": _warmed(_restarts),
    "one_cycle": _one_cycle,
}
