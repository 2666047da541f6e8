"""Activations that are computed again: the same numbers as without, from less memory."""

import json
import subprocess

import numpy as np
import pytest

from .test_distribute import assert_alike, one_device, recording  # noqa: F401 - a fixture
from .test_precision import batch, recipe_of
from .test_resume import arguments, assert_same_run, cut

tf = pytest.importorskip("tensorflow")

from melanoma_tf import config as configuration  # noqa: E402 - needs TensorFlow
from melanoma_tf.config import ModelConfig  # noqa: E402
from melanoma_tf.keras_compat import keras  # noqa: E402
from melanoma_tf.models import build_model, load_model_weights, save_model_weights  # noqa: E402
from melanoma_tf.models.rematerialize import PARTS, Rematerialized, parts_of  # noqa: E402
from melanoma_tf.train import memory  # noqa: E402
from melanoma_tf.train.step import build_train_step, step_seed  # noqa: E402
from melanoma_tf.train.trainee import build_trainee  # noqa: E402

ON = "--set=model.rematerialize=true"


def backbone_of(name, size=64):
    if "package" in name:
        pytest.importorskip("efficientnet")
    model = build_model(ModelConfig(backbone=name, rematerialize=True), size)
    return next(layer for layer in model.layers if isinstance(layer, Rematerialized))


@pytest.mark.parametrize("name", ["tiny", "efficientnet_b0", "efficientnet_package_b0", "efficientnet_v2_b0"])
def test_every_layer_is_in_one_part_and_one_tensor_goes_from_part_to_part(name):
    parts = parts_of(backbone_of(name))
    layers = [call.layer.name for part in parts for call in part]
    assert len(layers) == len(set(layers))
    for part, before in zip(parts[1:], parts):
        own = {call.output for call in part}
        assert {key for call in part for key in call.inputs} - own == {before[-1].output}
    sizes = [sum(call.size for call in part) for part in parts]
    if name != "tiny":
        assert PARTS / 2 <= len(parts) <= PARTS and max(sizes) < 0.3 * sum(sizes)
        assert sum(part[-1].size for part in parts) < 0.1 * sum(sizes)


def test_parts_of_a_network_for_any_size_are_those_of_one():
    sized, any_size = ([[call.size for call in part] for part in parts_of(backbone_of("efficientnet_b0", size))]
                       for size in (256, None))  # fmt: skip
    assert sized == any_size


SETTINGS = {
    "plain": [],
    "float16": ["train.precision=mixed_float16"],
    "parts": ["train.accumulation=2"],
    "uphill": ["train.sam_rho=0.1"],
    "sizes": ["data.image_size=64", "data.progressive_sizes=32"],
}


def trained(settings, steps=3, side=32):
    """Losses, and all weights with the statistics of BatchNormalization; dropout and stochastic depth at work."""
    recipe = recipe_of("model.dropout=0.3", "model.drop_connect=0.5", *settings)
    keras.utils.set_random_seed(3)
    model, optimizer, _ = build_trainee(recipe)
    step = build_train_step(tf.distribute.get_strategy(), model, optimizer, recipe)
    given = batch()
    given["image"] = tf.repeat(tf.repeat(given["image"], side // 32, 1), side // 32, 2)
    losses = [float(step(given, tf.constant(step_seed(0, "0", n)), tf.constant(0.01))) for n in range(steps)]
    return losses, model.get_weights()


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_steps_give_the_numbers_of_those_that_keep_everything(settings):
    """The first loss and the statistics after it would differ by masks, and by statistics that moved twice."""
    half = any("float16" in one for one in settings)
    tolerance = {"rtol": 2e-2, "atol": 2e-3} if half else {"rtol": 1e-4, "atol": 1e-5}
    plain, again = trained(settings), trained([*settings, "model.rematerialize=true"])
    np.testing.assert_allclose(again[0], plain[0], rtol=tolerance["rtol"])
    assert len(again[1]) == len(plain[1]) > 10
    for got, want in zip(again[1], plain[1]):
        np.testing.assert_allclose(got, want, **tolerance)


def test_an_efficientnet_takes_the_step_of_one_that_keeps_everything():
    """Squeeze-and-excitation and residuals, on one step: later ones multiply the rounding."""
    settings = ["model.backbone=efficientnet_b0", "data.image_size=64", "train.optimizer=sgd"]
    plain, again = trained(settings, 1, 64), trained([*settings, "model.rematerialize=true"], 1, 64)
    np.testing.assert_allclose(again[0], plain[0], rtol=1e-5)
    for got, want in zip(again[1], plain[1]):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)


def test_two_devices_take_the_steps_of_one_that_keeps_everything(competition_original, one_device):  # noqa: F811
    command = recording(competition_original, "mirrored", 2, True, "model.rematerialize=true")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_alike(json.loads(done.stdout.splitlines()[-1]), one_device, 2)


def test_weights_fit_a_network_without_it(tmp_path):
    for first, second in ((True, False), (False, True)):
        one, other = (build_model(ModelConfig(backbone="tiny", rematerialize=on), 32) for on in (first, second))
        save_model_weights(one, tmp_path / "a.weights.h5")
        load_model_weights(other, tmp_path / "a.weights.h5")
        for got, want in zip(other.get_weights(), one.get_weights(), strict=True):
            np.testing.assert_array_equal(got, want)


def test_memory_counts_what_is_kept_and_the_largest_part():
    recipe = recipe_of("model.backbone=efficientnet_b0", "data.image_size=64")
    found = []
    for more in ([], ["model.rematerialize=true"], ["model.rematerialize=true", "data.progressive_sizes=32"]):
        config = configuration.override(recipe, more)
        model, optimizer, _ = build_trainee(config)
        found.append(memory.estimate(model, optimizer, config).image)
    sizes = [[call.size for call in part] for part in parts_of(backbone_of("efficientnet_b0"))]
    gone = sum(map(sum, sizes)) - max(map(sum, sizes)) - sum(part[-1] for part in sizes)
    assert found[0] - found[1] == 4 * gone and found[1] < found[0] / 3 and found[2] == found[1]


def test_a_cut_run_goes_on_exactly(competition_original, run_command, tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert run_command(*arguments(competition_original, whole, ON))[0] == 0
    code, _, err = run_command(*arguments(competition_original, cut(competition_original, run, 4, ON), ON))
    assert code == 0, err
    assert_same_run(run, whole)
