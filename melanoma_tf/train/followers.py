"""What follows the trained weights: slow weights that pull them back, and averages that predict in their place."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from melanoma_tf.config import Config
from melanoma_tf.distribute import on_each_replica
from melanoma_tf.errors import UserError
from melanoma_tf.keras_compat import as_tensorflow, keras
from melanoma_tf.models import build_model
from melanoma_tf.models.stages import freeze_stages


class Follower(tf.Module):
    """Its variables are part of the checkpoint. `model`: the network that validates and predicts, where it has one."""

    model: keras.Model | None = None

    def after_update(self) -> None:
        """Follows one update of the weights; called on each replica, inside the compiled step."""
        return  # AutoGraph of TensorFlow 2.15 warns of a body that is a docstring alone

    def after_epoch(self, epoch: int, estimate: Callable[[], None]) -> None:
        """Follows one epoch, counted from 0. `estimate` sets the BatchNormalization statistics of `model` anew."""


class Lookahead(Follower):
    """Every `steps` updates the weights return to a point between where they set out and where they came to.

    Zhang et al. 2019 (arXiv 1907.08610); the same numbers as `tfa.optimizers.Lookahead`, tested step by step.

    Args: optimizer: counts the updates. rate: 0 would undo them, 1 changes nothing.
    """

    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, steps: int, rate: float):
        super().__init__(name="lookahead")
        self._fast = [as_tensorflow(variable) for variable in model.trainable_variables]
        self.slow = [tf.Variable(tf.convert_to_tensor(variable), trainable=False) for variable in self._fast]
        self._optimizer, self._steps, self._rate = optimizer, steps, rate

    def after_update(self) -> None:
        def change(fast, slow):
            meets = tf.equal(tf.cast(as_tensorflow(self._optimizer.iterations), tf.int64) % self._steps, 0)
            between = slow + self._rate * (fast - slow)
            fast.assign(tf.where(meets, between, fast))
            slow.assign(tf.where(meets, between, slow))

        on_each_replica(self._fast, change, self.slow)


class MovingAverage(Follower):
    """Exponential moving average of the weights and of the statistics of BatchNormalization, after every update.

    The statistics with the same decay, as the authors of EfficientNet did: taken from the model they would belong to
    weights that are ahead of the average. The decay starts small, min(decay, (1 + n) / (10 + n)) after n updates (as in
    `tf.train.ExponentialMovingAverage`), so that the initial weights are soon forgotten.
    """

    def __init__(self, model: keras.Model, twin: keras.Model, optimizer: keras.optimizers.Optimizer, decay: float):
        super().__init__(name="moving_average")
        self.model = twin
        self._averages, self._weights = _pairs(twin, model)
        self._optimizer, self._decay = optimizer, decay

    def after_update(self) -> None:
        def change(average, weight):
            count = tf.cast(as_tensorflow(self._optimizer.iterations), average.dtype)
            decay = tf.minimum(tf.constant(self._decay, average.dtype), (1.0 + count) / (10.0 + count))
            average.assign(weight + decay * (average - weight))

        on_each_replica(self._averages, change, self._weights)


class EpochMean(Follower):
    """Mean of the weights at the ends of the epochs from `first` on (SWA, Izmailov et al. 2018, arXiv 1803.05407).

    Before them it is a copy of the model, so that what validates and predicts is always this.
    """

    def __init__(self, model: keras.Model, twin: keras.Model, first: int):
        super().__init__(name="epoch_mean")
        self.model = twin
        self._averages, self._weights = _pairs(twin, model)
        self._first = first

    def after_epoch(self, epoch: int, estimate: Callable[[], None]) -> None:
        count = epoch - self._first + 1
        for average, weight in zip(self._averages, self._weights):
            average.assign(average + (weight - average) / count if count > 1 else weight)
        if count > 1:
            estimate()


def _pairs(twin: keras.Model, model: keras.Model) -> tuple[list[tf.Variable], list[tf.Variable]]:
    """Their weights side by side, those of the twin set to the model's."""
    averages, weights = ([as_tensorflow(variable) for variable in one.weights] for one in (twin, model))
    for average, weight in zip(averages, weights):
        average.assign(weight)
    return averages, weights


def require_one_average(config: Config) -> None:
    """Raises UserError where two averages are asked for, or one over more epochs than there are."""
    train = config.train
    asked = [name for name in ("ema", "swa_epochs", "snapshots") if getattr(train, name)]
    if len(asked) > 1:
        raise UserError(f"train.{asked[0]} and train.{asked[1]} are both set; one kind of average at a time")
    if train.swa_epochs > train.epochs:
        raise UserError(f"train.swa_epochs is {train.swa_epochs}; valid is 0 to train.epochs, {train.epochs}")


def build_followers(config: Config, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> dict[str, Follower]:
    """Those that the configuration asks for, in the order in which they follow; in the strategy's scope."""
    require_one_average(config)
    train, followers = config.train, {}
    if train.lookahead_steps:
        followers["lookahead"] = Lookahead(model, optimizer, train.lookahead_steps, train.lookahead_rate)
    if train.ema or train.swa_epochs:
        twin = build_model(config.model, config.data.image_size, pretrained_weights=False)
        freeze_stages(twin, train.frozen_stages)  # whose statistics are not estimated anew either
        if train.ema:
            followers["average"] = MovingAverage(model, twin, optimizer, train.ema)
        else:
            followers["average"] = EpochMean(model, twin, train.epochs - train.swa_epochs)
    return followers
