"""What a recipe trains: the network, its optimizer, and what follows the weights."""

from __future__ import annotations

from typing import NamedTuple

from melanoma_tf.config import Config
from melanoma_tf.keras_compat import keras
from melanoma_tf.models import build_model
from melanoma_tf.models.stages import freeze_stages
from melanoma_tf.optimizers import build_optimizer
from melanoma_tf.precision import computing_in, with_loss_scale
from melanoma_tf.train.followers import Follower, build_followers
from melanoma_tf.train.sizes import model_size


class Trainee(NamedTuple):
    """judged: the network that validates and predicts, an average of the trained one's weights where there is one."""

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    followers: dict[str, Follower]

    @property
    def judged(self) -> keras.Model:
        return next((one.model for one in self.followers.values() if one.model), self.model)


def build_trainee(config: Config) -> Trainee:
    """In the strategy's scope, all variables made. Raises UserError for names and weights that do not fit."""
    with computing_in(config.train.precision):
        model = build_model(config.model, model_size(config))
        freeze_stages(model, config.train.frozen_stages)
        optimizer = with_loss_scale(build_optimizer(config.train), config.train.precision)
        optimizer.build(model.trainable_variables)
        return Trainee(model, optimizer, build_followers(config, model, optimizer))
