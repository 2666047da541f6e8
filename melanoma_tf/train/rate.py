"""The learning-rate range test (Smith 2015, arXiv 1506.01186): the recipe's own steps at ever higher rates."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from scipy.ndimage import gaussian_filter1d

from melanoma_tf.config import Config
from melanoma_tf.data.faults import named_faults
from melanoma_tf.data.image_set import ImageSet
from melanoma_tf.data.pipeline import distributed, train_dataset
from melanoma_tf.data.sampling import Sampling
from melanoma_tf.errors import UserError
from melanoma_tf.keras_compat import keras
from melanoma_tf.train.memory import shortage_named
from melanoma_tf.train.plan import require_whole_parts
from melanoma_tf.train.step import build_train_step, step_seed
from melanoma_tf.train.trainee import build_trainee

NAME = "find_rate"  # in the place of a fold's name, so that its draws are its own
TOO_MUCH = 4.0  # times the lowest running loss: it will not come back
DEEP_ENOUGH = 0.1  # of the loss: a fall by less is noise
DOWN_THE_VALLEY = 2 / 3  # steep still, and some way from where it turns


@dataclasses.dataclass(frozen=True)
class RateTest:
    """Attributes: rates, losses: float64[n], one for each step."""

    rates: np.ndarray
    losses: np.ndarray

    @property
    def smoothed(self) -> np.ndarray:
        """float64[n], the loss averaged over its neighbours on both sides; behind alone would shift it to the right."""
        return gaussian_filter1d(self.losses, max(len(self.losses) / 25, 1.0), mode="nearest")

    @property
    def valley(self) -> tuple[int, int]:
        """First and last step of the longest and deepest unbroken fall of the smoothed loss (steps times fall).

        Not where the loss is lowest: at rates that are too high it jumps up and down, and may happen to be low.
        """
        smoothed = self.smoothed
        breaks = np.flatnonzero(np.diff(smoothed) >= 0)
        starts, ends = np.append(0, breaks + 1), np.append(breaks, len(smoothed) - 1)
        best = int(np.argmax((ends - starts) * (smoothed[starts] - smoothed[ends])))
        return int(starts[best]), int(ends[best])

    @property
    def suggestion(self) -> float:
        """The rate where two thirds of the fall are done; fastai's `lr_find` goes by two thirds of its steps instead.

        Raises: UserError where the loss did not fall, or was still falling at the end.
        """
        (start, end), smoothed = self.valley, self.smoothed
        if smoothed[start] - smoothed[end] < DEEP_ENOUGH * smoothed[start]:
            raise UserError("the loss never fell by a tenth; try a lower --low, a higher --high or more --steps")
        if end == len(self.rates) - 1:
            raise UserError(f"the loss was still falling at the last rate, {self.rates[-1]:.1e}; give a higher --high")
        level = smoothed[start] - DOWN_THE_VALLEY * (smoothed[start] - smoothed[end])
        return float(self.rates[start + np.argmax(smoothed[start : end + 1] <= level)])


def range_test(
    config: Config, images: ImageSet, strategy: tf.distribute.Strategy, low: float, high: float, steps: int,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> RateTest:  # fmt: skip
    """Trains from the recipe's start, at rates from `low` to `high` in equal ratios; ends early where the loss bursts.

    Averages that predict are left out: they do not change the steps.

    Args: images: all are trained on. on_step: called with the number of steps done and the loss.
    Raises: UserError for a batch that does not divide, memory that does not suffice, or a first loss that is no number.
    """
    replicas = strategy.num_replicas_in_sync
    require_whole_parts(config, replicas, ("train",))
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, ema=0.0, swa_epochs=0))
    seed = int(step_seed(config.seed, NAME, 0)[0])
    keras.utils.set_random_seed(seed)
    with strategy.scope():
        model, optimizer, followers = build_trainee(config)
    step = build_train_step(strategy, model, optimizer, config, followers.values())
    rates, losses, watch = np.geomspace(low, high, steps), [], _Watch()
    for number, batch in zip(range(steps), _batches(config, images, strategy, seed)):
        draw = tf.constant(step_seed(config.seed, NAME, number))
        with shortage_named("train", config, model, optimizer, replicas):
            loss = float(step(batch, draw, tf.constant(rates[number], tf.float32)))
        if not math.isfinite(loss):
            break
        losses.append(loss)
        on_step(number + 1, loss)
        if watch.burst(loss):
            break
    if not losses:
        raise UserError("the loss is no number in the first step, whatever the rate; other weights or data are needed")
    return RateTest(rates[: len(losses)], np.array(losses))


class _Watch:
    """Tells when the running loss has left its lowest value far behind."""

    def __init__(self) -> None:
        self.running = self.lowest = math.nan

    def burst(self, loss: float) -> bool:
        self.running = loss if math.isnan(self.running) else 0.8 * self.running + 0.2 * loss
        self.lowest = self.running if math.isnan(self.lowest) else min(self.lowest, self.running)
        return self.running > TOO_MUCH * self.lowest


def _batches(config: Config, images: ImageSet, strategy: tf.distribute.Strategy, seed: int) -> Iterator[dict]:
    """Epoch after epoch, without end."""
    rows = np.arange(len(images))
    sampling, data = Sampling(images, rows, config.data), config.data
    if sampling.length < config.train.batch_size:
        raise UserError(f"{sampling.length} training images do not fill one batch; "
                        f"train.batch_size must be at most {sampling.length}")  # fmt: skip
    with named_faults(images):
        for epoch in itertools.count():
            repeats = sampling.repeats(seed, epoch)
            yield from _epoch(config, images, strategy, {"seed": seed, "epoch": epoch, "repeats": repeats,
                                                         "rows": rows, "crop": data.crop})  # fmt: skip


def _epoch(config: Config, images: ImageSet, strategy: tf.distribute.Strategy, draw: dict) -> Iterator[dict]:
    data, size = config.data, config.train.batch_size
    return iter(distributed(
        strategy,
        lambda share: train_dataset(
            images, image_size=data.image_size, batch_size=size, shuffle_memory_mb=data.shuffle_memory_mb,
            share=share, **draw,
        ),
    ))  # fmt: skip
