"""Every recipe, shrunk to seconds, takes a step of training and predicts."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from melanoma_tf import config as configuration  # noqa: E402
from melanoma_tf.inference import build_predict_step  # noqa: E402
from melanoma_tf.models import BACKBONES  # noqa: E402
from melanoma_tf.schedules import learning_rate  # noqa: E402
from melanoma_tf.tables import METADATA_WIDTH  # noqa: E402
from melanoma_tf.targets import classes  # noqa: E402
from melanoma_tf.train.step import build_train_step, step_seed  # noqa: E402
from melanoma_tf.train.trainee import build_trainee  # noqa: E402

SIZE, BATCH = 32, 4


def shrunk(name):
    """The recipe with its own loss, target, optimizer and augmentation, but the smallest network and batch."""
    recipe = configuration.load_recipe(name)
    assert recipe.model.backbone in BACKBONES
    given = [f"data.image_size={SIZE}", f"train.batch_size={BATCH}", f"predict.batch_size={BATCH}",
             "model.backbone=tiny", "model.topology=keras"]  # fmt: skip
    return configuration.override(recipe, given)


def batch_of(recipe):
    random, width = np.random.default_rng(0), len(classes(recipe.model.target))
    return {
        "image": tf.constant(random.integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)),
        "meta": tf.constant(random.random((BATCH, METADATA_WIDTH)), tf.float32),
        "target": tf.constant(np.eye(max(width, 2), dtype=np.float32)[[0, 1, 1, 1]][:, :width]),
        "weight": tf.ones(BATCH), "row": tf.range(BATCH),
    }  # fmt: skip


@pytest.mark.parametrize("name", configuration.recipes())
def test_a_step_of_every_recipe(name):
    recipe, strategy = shrunk(name), tf.distribute.get_strategy()
    model, optimizer, followers = trainee = build_trainee(recipe)
    before = [tf.identity(tf.convert_to_tensor(weight)) for weight in model.trainable_variables]
    step, batch = build_train_step(strategy, model, optimizer, recipe, followers.values()), batch_of(recipe)
    loss = step(batch, tf.constant(step_seed(1, name, 0)), tf.constant(1e-3))
    assert np.isfinite(loss.numpy())
    assert any(np.any(old != new) for old, new in zip(before, model.trainable_variables))
    rows, probability = build_predict_step(strategy, trainee.judged, recipe)(batch)
    assert rows.numpy().tolist() == list(range(BATCH)) and np.all((probability > 0) & (probability < 1))


@pytest.mark.parametrize("name", configuration.recipes())
def test_the_rate_of_every_recipe_reaches_its_peak_and_falls(name):
    train = configuration.load_recipe(name).train
    rates = [learning_rate(train, train.epochs * share) for share in np.linspace(0, 1, 1001)]
    assert max(rates) == pytest.approx(train.learning_rate, rel=0.01)
    assert rates[0] < 0.02 * train.learning_rate and rates[-1] < 0.3 * train.learning_rate


def test_published_rates_of_the_notebook():
    """5e-6 to 1.25e-6 * 8 * 32 in 5 epochs, then 1e-6 + (peak - 1e-6) * 0.8 ** epochs."""
    train = configuration.load_recipe("triple_stratified").train
    peak = 1.25e-6 * 8 * 32
    assert learning_rate(train, 0) == pytest.approx(5e-6, rel=0.4)  # ours begins at 1/100 of the peak
    for epoch in range(5, 12):
        want = (peak - 1e-6) * 0.8 ** (epoch - 5) + 1e-6
        assert learning_rate(train, epoch) == pytest.approx(want, rel=1e-3)


def test_every_recipe_tells_its_command():
    for name in configuration.recipes():
        module = __import__(f"melanoma_tf.configs.{name}", fromlist=["get_config"])
        assert f"--config={name}" in module.__doc__ or "make demo" in module.__doc__
