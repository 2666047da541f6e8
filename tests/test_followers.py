"""Averages, slow weights, sharpness, rates by layer: as arithmetic on a tiny network, in one step and in whole runs."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from melanoma_tf import config as configuration
from melanoma_tf.errors import UserError

from .conftest import FLIPS, TINY

tf = pytest.importorskip("tensorflow")

from melanoma_tf.keras_compat import keras  # noqa: E402
from melanoma_tf.models import build_model  # noqa: E402
from melanoma_tf.models.normalizations import normalizations, running_statistics  # noqa: E402
from melanoma_tf.models.stages import freeze_stages, rate_factors, stages  # noqa: E402
from melanoma_tf.optimizers import build_optimizer  # noqa: E402
from melanoma_tf.train.followers import build_followers, require_one_average  # noqa: E402
from melanoma_tf.train.statistics import build_statistics_step, estimate_statistics  # noqa: E402
from melanoma_tf.train.step import build_train_step, compiled_augmentation, step_seed  # noqa: E402


def recipe(*more):
    return configuration.override(configuration.load_recipe("demo"), [*TINY, *FLIPS, *more])


class Training:
    """A tiny network and its step on batches of noise. still: BatchNormalization as in inference."""

    def __init__(self, *more, strategy=None, still=False):
        self.config = recipe(*more)
        keras.backend.clear_session()
        keras.utils.set_random_seed(7)
        strategy = strategy or tf.distribute.get_strategy()
        with strategy.scope():
            self.model = build_model(self.config.model, 32)
            freeze_stages(self.model, self.config.train.frozen_stages)
            for layer in normalizations(self.model) if still else []:
                layer.trainable = False
            self.optimizer = build_optimizer(self.config.train)
            self.optimizer.build(self.model.trainable_variables)
            self.followers = build_followers(self.config, self.model, self.optimizer)
        self.step = build_train_step(strategy, self.model, self.optimizer, self.config, self.followers.values())

    def run(self, steps, rate=0.01, first=0):
        """The weights of the model after each step, and of the average where there is one."""
        path, averages = [], []
        for number in range(first, first + steps):
            self.loss = float(self.step(batch(number), tf.constant(step_seed(1, "0", number)), tf.constant(rate)))
            path.append(self.model.get_weights())
            averages += [one.model.get_weights() for one in self.followers.values() if one.model]
        return path, averages


def batch(number):
    random = np.random.default_rng(number)
    return {
        "image": tf.constant(random.integers(0, 256, (8, 32, 32, 3), np.uint8)),
        "meta": tf.zeros([8, 10]),
        "target": tf.constant(random.integers(0, 2, (8, 1)), tf.float32),
        "weight": tf.ones([8]),
    }


def same(one, other, **tolerance):
    assert len(one) == len(other)
    for a, b in zip(one, other):
        np.testing.assert_allclose(a, b, **(tolerance or {"rtol": 0, "atol": 0}))


def test_a_moving_average_follows_weights_and_statistics():
    path, averages = Training("train.ema=0.5").run(6)
    expected = Training().model.get_weights()
    for number, weights in enumerate(path, start=1):
        decay = min(0.5, (1 + number) / (10 + number))
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, weights)]
        same(averages[number - 1], expected, rtol=1e-5, atol=1e-7)


def test_a_moving_average_changes_nothing_in_the_training():
    same(Training("train.ema=0.9").run(3)[0][-1], Training().run(3)[0][-1])


def test_lookahead_returns_half_the_way_every_third_step():
    fast = Training("train.optimizer=sgd")
    start, (path, _) = fast.model.get_weights(), fast.run(3)
    got, _ = Training("train.optimizer=sgd", "train.lookahead_steps=3").run(3)
    same(got[1], path[1])
    moving = [
        weight.name.startswith(("moving", "tiny_bn")) and "moving" in weight.name for weight in fast.model.weights
    ]
    half = [b if still else a + 0.5 * (b - a) for a, b, still in zip(start, path[2], moving)]
    same(got[2], half, rtol=1e-6, atol=1e-7)


def test_the_mean_of_epochs_begins_where_it_should():
    training = Training("train.epochs=4", "train.swa_epochs=3")
    mean = training.followers["average"]
    start, estimated = training.model.get_weights(), []
    for epoch, value in enumerate((5.0, 1.0, 2.0, 6.0)):
        training.model.set_weights([np.full_like(one, value) for one in start])
        mean.after_epoch(epoch, lambda epoch=epoch: estimated.append(epoch))
        want = {0: 5.0, 1: 1.0, 2: (1.0 + 2.0) / 2, 3: (1.0 + 2.0 + 6.0) / 3}[epoch]
        same(mean.model.get_weights(), [np.full_like(one, want) for one in start], rtol=1e-6)
    assert estimated == [2, 3]  # until then it is one set of weights, whose statistics are its own


def test_statistics_are_those_of_the_batches_alone():
    """Against a pass in training mode, which moves each running value by (1 - momentum) of the way."""
    training = Training("model.dropout=0")
    model, augmented = training.model, compiled_augmentation(training.config, 1)
    before = [variable.numpy() for variable in running_statistics(model)]
    momentum = [layer.momentum for layer in normalizations(model) for _ in range(2)]
    assert len(before) == 6 and set(momentum) == {0.9}
    wanted = []
    for number in (0, 1):
        for variable, value in zip(running_statistics(model), before):
            variable.assign(value)
        seed, one = tf.constant(step_seed(1, "0", number)), batch(number)
        images, _ = augmented(one["image"], one["target"], seed, tf.constant(0))
        model({"image": images, "meta": one["meta"]}, training=True)
        after = [variable.numpy() for variable in running_statistics(model)]
        wanted.append([(b - m * a) / (1 - m) for a, b, m in zip(before, after, momentum)])
    step = build_statistics_step(tf.distribute.get_strategy(), model, training.config)
    found = []
    for _ in range(2):
        estimate_statistics(model, step, [(step_seed(1, "0", number), batch(number)) for number in (0, 1)])
        found.append([variable.numpy() for variable in running_statistics(model)])
    same(found[0], [(a + b) / 2 for a, b in zip(*wanted)], rtol=1e-3, atol=1e-4)
    same(found[1], found[0])


TWO_REPLICAS = """
import json, sys
import tensorflow as tf
from melanoma_tf.distribute import make_strategy
from tests.test_followers import followed
if sys.argv[1] == "2":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
print(json.dumps(followed(make_strategy("mirrored" if sys.argv[1] == "2" else "one"))))
"""
EVERYTHING = [
    "train.optimizer=radam", "train.ema=0.5", "train.sam_rho=0.1", "train.lookahead_steps=2", "train.layer_decay=0.5",
    "model.dropout=0",
]  # fmt: skip


def followed(strategy):
    """Loss and size of the averaged weights after each of four steps, with everything on."""
    training = Training(*EVERYTHING, strategy=strategy, still=True)
    path = []
    for number in range(4):
        dataset = tf.data.Dataset.from_tensors(batch(number)).unbatch().batch(8)
        part = next(iter(strategy.experimental_distribute_dataset(dataset)))
        loss = float(training.step(part, tf.constant(step_seed(1, "0", number)), tf.constant(0.01)))
        average = training.followers["average"].model
        path += [loss, *(float(np.abs(weight).sum()) for weight in average.get_weights())]
    return path


def test_two_replicas_follow_like_one():
    one, two = (
        json.loads(subprocess.run([sys.executable, "-c", TWO_REPLICAS, count], capture_output=True, text=True,
                                  check=True).stdout.splitlines()[-1])
        for count in ("1", "2")
    )  # fmt: skip
    np.testing.assert_allclose(two, one, rtol=1e-4)


def test_rates_by_layer_shorten_each_stages_first_step():
    start = Training().model.get_weights()
    plain, slowed = Training(), Training("train.layer_decay=0.5")
    whole, short = plain.run(1)[0][0], slowed.run(1)[0][0]
    factors = dict(zip(map(id, slowed.model.trainable_variables), rate_factors(slowed.model, 0.5)))
    assert set(factors.values()) == {1 / 8, 1 / 4, 1 / 2, 1.0}  # stem, two stages, head
    for weight, a, b, c in zip(slowed.model.weights, start, whole, short):
        factor = factors.get(id(weight), 1.0)  # the statistics move as ever
        np.testing.assert_allclose(c - a, factor * (b - a), rtol=1e-3, atol=1e-7)


def test_frozen_stages_keep_weights_and_statistics():
    training = Training("train.frozen_stages=1")
    start, end = training.model.get_weights(), training.run(2)[0][-1]
    frozen = {id(weight) for layers in stages(training.model)[:2] for layer in layers for weight in layer.weights}
    assert len(frozen) == 10  # two convolutions, two times four of BatchNormalization
    for weight, a, b in zip(training.model.weights, start, end):
        assert np.array_equal(a, b) == (id(weight) in frozen), weight.name


@pytest.mark.parametrize(("backbone", "count"), [("efficientnet_b0", 10), ("efficientnet_package_b0", 10), ("tiny", 4)])
def test_every_weight_of_a_backbone_is_in_one_stage(backbone, count):
    if "package" in backbone:
        pytest.importorskip("efficientnet")
    model = build_model(dataclasses.replace(recipe().model, backbone=backbone, metadata=True), 32)
    parts = stages(model)
    assert len(parts) == count
    found = [id(weight) for layers in parts for layer in layers for weight in layer.weights]
    assert len(found) == len(set(found)) and set(found) == set(map(id, model.weights))
    assert {layer.name for layer in parts[-1]} == {"logits", "meta_hidden"}
    with pytest.raises(UserError, match=f"valid is 0 to {count - 2}"):
        freeze_stages(model, count - 1)


def test_sharpness_takes_the_gradient_uphill_and_keeps_the_first_statistics():
    """One step of SGD without momentum's history, done by hand: up along the gradient, and the gradient there."""
    options = ["train.optimizer=sgd", "model.dropout=0.3"]
    plain, sharp = Training(*options), Training(*options, "train.sam_rho=0.5")
    start = [variable.numpy() for variable in plain.model.trainable_variables]
    still = plain.model.get_weights()
    first = gradient_of_one_step(plain)
    length = np.sqrt(sum((one.astype(np.float64) ** 2).sum() for one in first))
    plain.model.set_weights(still)
    for variable, value, gradient in zip(plain.model.trainable_variables, start, first):
        variable.assign(value + 0.5 * gradient / length)
    uphill = gradient_of_one_step(plain)
    second = gradient_of_one_step(sharp)
    assert max(np.abs(a - b).max() for a, b in zip(first, uphill)) > 1e-2
    same(second, uphill, rtol=1e-3, atol=1e-4)
    plain.model.set_weights(still)
    Training.run(plain, 1)
    assert sharp.loss == plain.loss
    for a, b in zip(sharp.model.non_trainable_variables, plain.model.non_trainable_variables):
        assert np.array_equal(a.numpy(), b.numpy())


def gradient_of_one_step(training):
    """From the change by the first step of SGD with Nesterov momentum 0.9: 1.9 times the rate times the gradient."""
    before = [variable.numpy() for variable in training.model.trainable_variables]
    momenta = training.optimizer.variables
    for variable in momenta() if callable(momenta) else momenta:
        if variable.shape.rank:
            variable.assign(tf.zeros_like(variable))
    training.run(1, rate=0.5)
    after = [variable.numpy() for variable in training.model.trainable_variables]
    return [(a - b) / (0.5 * 1.9) for a, b in zip(before, after)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["train.ema=0.9", "train.swa_epochs=1"], "train.ema and train.swa_epochs are both set"),
        (["train.swa_epochs=3"], "valid is 0 to train.epochs, 2"),
    ],
)
def test_averages_that_do_not_go_together(given, said):
    with pytest.raises(UserError, match=said):
        require_one_average(recipe(*given))


def test_stages_that_are_frozen_keep_their_statistics_in_the_mean_of_epochs_too():
    training = Training("train.epochs=4", "train.swa_epochs=3", "train.frozen_stages=1")
    twin = training.followers["average"].model
    names = [[layer.name for layer in normalizations(model)] for model in (training.model, twin)]
    assert names[0] == names[1] and len(names[0]) < len(normalizations(Training().model))
