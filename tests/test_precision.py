"""16-bit numbers, a step in parts, several steps in one call, and what memory it takes."""

import json

import numpy as np
import pandas as pd
import pytest

from .conftest import FLIPS, TINY
from .test_resume import arguments, assert_same_run, cut
from .test_train import contents

tf = pytest.importorskip("tensorflow")

from melanoma_tf import config as configuration  # noqa: E402 - needs TensorFlow
from melanoma_tf import precision  # noqa: E402
from melanoma_tf.keras_compat import keras  # noqa: E402
from melanoma_tf.models import build_model  # noqa: E402
from melanoma_tf.models.pretrained import flat_layers  # noqa: E402
from melanoma_tf.optimizers import build_optimizer  # noqa: E402
from melanoma_tf.train import memory  # noqa: E402
from melanoma_tf.train.step import build_train_step, step_seed  # noqa: E402


def recipe_of(*settings):
    return configuration.override(configuration.load_recipe("demo"), [*TINY, *FLIPS, "model.dropout=0", *settings])


def build(recipe, frozen=True):
    """Model, optimizer and step on one device; BatchNormalization, which depends on the parts, frozen."""
    keras.utils.set_random_seed(3)
    with precision.computing_in(recipe.train.precision):
        model = build_model(recipe.model, 32)
    for layer in flat_layers(model):
        if frozen and isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    optimizer = precision.with_loss_scale(build_optimizer(recipe.train), recipe.train.precision)
    optimizer.build(model.trainable_variables)
    return model, optimizer, build_train_step(tf.distribute.get_strategy(), model, optimizer, recipe)


def batch(scale=255):
    random = np.random.default_rng(0)
    target = (np.arange(8) % 2).astype(np.float32)
    images = random.uniform(0, scale, (8, 32, 32, 3)) * (0.5 + 0.5 * target[:, None, None, None])
    return {
        "image": tf.constant(images.astype(np.uint8)), "meta": tf.zeros([8, build_model_width()]),
        "target": tf.constant(target[:, None]), "weight": tf.ones([8]),
    }  # fmt: skip


def build_model_width():
    from melanoma_tf.tables import METADATA_WIDTH

    return METADATA_WIDTH


def losses(recipe, steps=5):
    model, _, step = build(recipe)
    found = [float(step(batch(), tf.constant(step_seed(0, "0", n)), tf.constant(0.01))) for n in range(steps)]
    return found, [weight.numpy() for weight in model.trainable_variables]


@pytest.mark.parametrize("rho", [0, 0.1], ids=["plain", "sharpness-aware"])
@pytest.mark.parametrize("parts", [2, 8])
def test_accumulation_gives_the_numbers_of_the_whole_batch(parts, rho):
    """Without BatchNormalization and dropout: sums in another order, 1e-5."""
    whole, whole_weights = losses(recipe_of(f"train.sam_rho={rho}"))
    in_parts, weights = losses(recipe_of(f"train.accumulation={parts}", f"train.sam_rho={rho}"))
    np.testing.assert_allclose(in_parts, whole, rtol=1e-5)
    for got, want in zip(weights, whole_weights):
        np.testing.assert_allclose(got, want, atol=2e-5)


def test_accumulation_must_divide_the_batch(competition_original, run_command, tmp_path):
    code, _, err = run_command(*arguments(competition_original, tmp_path / "run", "--set=train.accumulation=3"))
    assert code == 2 and "train.accumulation=3 it must be a multiple of 3" in err[-1] and len(err) == 1


@pytest.mark.parametrize("kind, tolerance", [("mixed_bfloat16", 0.03), ("mixed_float16", 0.005)])
def test_16_bits_learn_like_32_with_head_and_weights_in_32(kind, tolerance):
    recipe = recipe_of(f"train.precision={kind}")
    model, _, _ = build(recipe)
    computes = {layer.name: layer.compute_dtype for layer in flat_layers(model)}
    assert computes["logits"] == "float32" and computes["tiny_conv0"] == kind.removeprefix("mixed_")
    assert {tf.as_dtype(weight.dtype) for weight in model.trainable_variables} == {tf.float32}
    assert keras.mixed_precision.global_policy().name == "float32"
    np.testing.assert_allclose(losses(recipe)[0], losses(recipe_of())[0], rtol=tolerance)


def test_a_loss_scale_does_not_lengthen_the_way_uphill():
    """A sharpness-aware step takes its direction from scaled gradients; the distance must be rho all the same."""
    half, single = (losses(recipe_of(f"train.precision={kind}", "train.sam_rho=0.1"))[0]
                    for kind in ("mixed_float16", "float32"))  # fmt: skip
    np.testing.assert_allclose(half, single, rtol=0.005)


@pytest.mark.parametrize("more", [(), ("train.sam_rho=0.1",), ("train.sam_rho=0.1", "train.accumulation=2")], ids=len)
def test_an_overflow_halves_the_loss_scale_and_changes_no_weight(more):
    recipe = recipe_of("train.precision=mixed_float16", *more)
    model, optimizer, step = build(recipe)
    scale = optimizer.dynamic_scale if hasattr(optimizer, "dynamic_scale") else optimizer._loss_scale.current_loss_scale
    scale.assign(2.0**127)  # every gradient becomes infinite
    before = [weight.numpy() for weight in model.trainable_variables]
    loss = step(batch(), tf.constant(step_seed(0, "0", 0)), tf.constant(0.01))
    assert np.isfinite(float(loss)) and float(scale.numpy()) == 2.0**126
    for weight, old in zip(model.trainable_variables, before):
        np.testing.assert_array_equal(weight.numpy(), old)
    scale.assign(2.0**10)
    step(batch(), tf.constant(step_seed(0, "0", 1)), tf.constant(0.01))
    assert any((weight.numpy() != old).any() for weight, old in zip(model.trainable_variables, before))


@pytest.fixture(scope="module")
def half_run(competition_original, tmp_path_factory):
    return whole_run(competition_original, tmp_path_factory, "half", "--set=train.precision=mixed_float16")


def whole_run(competition, tmp_path_factory, name, *more):
    from melanoma_tf import __main__, command_line

    run = tmp_path_factory.mktemp(name) / "run"
    assert command_line.run("melanoma-tf", "", __main__.COMMANDS, arguments(competition, run, *more)) == 0
    return run


def test_a_run_in_float16_goes_on_exactly_loss_scale_included(competition_original, half_run, run_command, tmp_path):
    more = ("--set=train.precision=mixed_float16",)
    run = cut(competition_original, tmp_path / "run", 8, *more)
    code, _, err = run_command(*arguments(competition_original, run, *more))
    assert code == 0, err
    assert_same_run(run, half_run)


def test_steps_per_call_changes_no_bit(competition_original, tmp_path_factory):
    """Three steps an epoch in calls of two and one, with dropout and BatchNormalization at work."""
    one, two = (
        whole_run(competition_original, tmp_path_factory, f"calls{count}", f"--set=train.steps_per_call={count}")
        for count in (1, 2)
    )
    assert (two / "fold_0" / "augmented.png").read_bytes() == (one / "fold_0" / "augmented.png").read_bytes()
    assert contents(two) == contents(one)
    assert_same_run(two, one)


def test_steps_per_call_may_change_when_a_run_goes_on(competition_original, tmp_path, tmp_path_factory, run_command):
    run = cut(competition_original, tmp_path / "run", 2)
    assert run_command(*arguments(competition_original, run, "--set=train.steps_per_call=3"))[0] == 0
    assert_same_run(run, whole_run(competition_original, tmp_path_factory, "plain"))


def test_memory_is_the_sum_of_what_the_layers_put_out():
    """The tiny model at 32 px: three stages of convolution, normalisation and activation, then the head."""
    model, optimizer, _ = build(recipe_of(), frozen=False)
    stages = 3 * (16 * 16 * 16 + 8 * 8 * 24 + 4 * 4 * 32)
    numbers = 32 * 32 * 3 + stages + 32 + 32 + 1  # normalisation, stages, pool, dropout, logits
    found = memory.estimate(model, optimizer, recipe_of())
    assert found.image == 4 * numbers + 32 * 32 * 3 * 5
    trainable = 3 * 9 * 16 + 16 * 9 * 24 + 24 * 9 * 32 + 2 * (16 + 24 + 32) + 33
    moving = 2 * (16 + 24 + 32)
    constants = sum(int(np.prod(weight.shape)) for weight in model.variables) - trainable - moving
    assert 0 <= constants <= 7  # mean, variance and count of the normalisation, where Keras keeps them as weights
    assert found.weights == 4 * (2 * trainable + moving + constants)
    assert 0 <= found.slots - 4 * 2 * trainable < 64  # Adam's two, its counter and rate
    assert found.batch(8) == found.weights + found.slots + 8 * found.image


def test_a_device_without_memory_says_which_batch_would_fit(competition_original, run_command, tmp_path, monkeypatch):
    from melanoma_tf.train import fold

    def exhausted(*arguments):
        def step(*arguments):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nwith shape")

        return step

    monkeypatch.setattr(fold, "build_train_step", exhausted)
    code, _, err = run_command(*arguments(competition_original, tmp_path / "run"))
    assert code == 2 and len(err) == 1
    assert "out of memory with train.batch_size=8" in err[0] and "train.batch_size=4 would need about" in err[0]
    assert "train.accumulation=2, or model.rematerialize=true" in err[0]


def test_a_dry_run_tells_what_it_would_take_and_writes_nothing(competition_original, run_command, tmp_path):
    code, out, err = run_command(*arguments(competition_original, tmp_path / "run", "--dry_run"))
    assert code == 0 and err == [] and not (tmp_path / "run").exists()
    told = dict(line.split(maxsplit=1) for line in out.splitlines() if line[:1].islower())
    assert told["parameters"].split()[0].replace(",", "").isdigit()
    assert told["steps"] == "3 an epoch of 24 images, epochs: 2, folds: 1, in all: 6"
    assert "MB" in told["memory"] and "an image" in told["memory"]


def test_history_columns_are_those_of_before(half_run):
    rows = json.loads((half_run / "fold_0" / "history.json").read_text())
    assert list(rows[0]) == list(pd.read_csv(half_run / "fold_0" / "history.csv").columns)


def test_frozen_normalisation_takes_no_gradient_of_the_fused_kernel():
    """Which is not there on a GPU where ops must be deterministic."""
    model, _, step = build(recipe_of())
    concrete = step.get_concrete_function(batch(), tf.constant(step_seed(0, "0", 0)), tf.constant(0.01))
    graph = concrete.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    kinds = {node.op for node in nodes}
    assert "Conv2D" in kinds and not [kind for kind in kinds if kind.startswith("FusedBatchNormGrad")]
    images = batch()["image"]
    inputs = {"image": tf.cast(images, tf.float32) / 255.0, "meta": batch()["meta"]}
    np.testing.assert_allclose(model(inputs, training=True), model(inputs, training=False), rtol=1e-5, atol=1e-6)


def test_a_dry_run_on_a_device_that_is_too_small_is_one_line(competition_original, run_command, tmp_path, monkeypatch):
    from melanoma_tf.train import fold

    def full(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "out of memory")

    monkeypatch.setattr(fold, "build_train_step", lambda *_, **__: full)
    code, _, err = run_command(*arguments(competition_original, tmp_path / "run", "--dry_run"))
    assert code == 2 and "ran out of memory with train.batch_size=8" in err[-1] and "Traceback" not in "".join(err)
