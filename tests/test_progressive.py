"""Small images in the first epochs: one network for all sizes, exact resume, the same bits from a cache."""

import dataclasses

import numpy as np
import pytest

from .test_resume import arguments, assert_same_run, cut

tf = pytest.importorskip("tensorflow")

from melanoma_tf import config as configuration  # noqa: E402 - needs TensorFlow
from melanoma_tf.config import Config, ModelConfig  # noqa: E402
from melanoma_tf.errors import UserError  # noqa: E402
from melanoma_tf.models import build_model  # noqa: E402
from melanoma_tf.tables import METADATA_WIDTH  # noqa: E402
from melanoma_tf.train import fold, memory  # noqa: E402
from melanoma_tf.train.sizes import size_of_epoch, sizes_of  # noqa: E402
from melanoma_tf.train.trainee import build_trainee  # noqa: E402

SMALL = "--set=data.progressive_sizes=16"  # of 32, for the first of two epochs


def recipe(*settings):
    return configuration.override(Config(), settings)


@pytest.mark.parametrize(
    ("epochs", "given", "sizes"),
    [
        (2, "", [256, 256]),
        (2, "128", [128, 256]),
        (6, "96,128", [96, 96, 128, 128, 256, 256]),
        (5, "128", [128, 128, 128, 256, 256]),
        (4, "96,128", [96, 96, 128, 256]),
        (3, "96,128", [96, 128, 256]),
    ],
)
def test_sizes_share_the_epochs(epochs, given, sizes):
    config = recipe(f"train.epochs={epochs}", f"data.progressive_sizes={given}")
    assert [size_of_epoch(config, epoch) for epoch in range(epochs)] == sizes


@pytest.mark.parametrize("given", ["256", "128,96", "96,96", "6", "97", "a", "96,,128", "-8", "96.5", "300"])
def test_sizes_that_do_not_rise_or_are_odd(given):
    with pytest.raises(UserError, match="expected even sides that rise from 8 or more to below data"):
        sizes_of(recipe(f"data.progressive_sizes={given}"))


def test_more_sizes_than_epochs_are_one_line_and_no_folder(competition_original, run_command, tmp_path):
    code, _, err = run_command(*arguments(competition_original, tmp_path / "run", "--set=data.progressive_sizes=8,16"))
    assert code == 2 and len(err) == 1 and "make 3 sizes; train.epochs is 2" in err[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"backbone": "efficientnet_b0", "pooling": "attention", "color_constancy": True},
        {"backbone": "efficientnet_b0", "topology": "torchvision", "pooling": "gem"},
        {"backbone": "efficientnet_v2_b0"},
        {"backbone": "efficientnet_package_b0"},
        {"backbone": "tiny", "metadata": True, "pooling": "attention"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_a_network_for_any_size_is_the_one_for_each(options):
    """At 48 px maps of 3 and 2 pixels come, at 64 none is odd; in training too, where normalisation sees the batch."""
    if "package" in options["backbone"]:
        pytest.importorskip("efficientnet")
    config = ModelConfig(**options, dropout=0.0, drop_connect=0.0)
    every = build_model(config, None)
    images = np.random.default_rng(0).uniform(size=(2, 64, 64, 3)).astype(np.float32)
    for size in (48, 64):
        one = build_model(config, size)
        one.set_weights(every.get_weights())
        inputs = {"image": tf.constant(images[:, :size, :size]), "meta": tf.ones([2, METADATA_WIDTH])}
        for training in (False, True):
            got, want = every(inputs, training=training), one(inputs, training=training)
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_memory_is_that_of_the_largest_size():
    found = []
    for more in ((), ("data.progressive_sizes=16",)):
        config = configuration.override(configuration.load_recipe("demo"), ["data.image_size=32", *more])
        model, optimizer, _ = build_trainee(config)
        found.append(dataclasses.asdict(memory.estimate(model, optimizer, config)))
    assert found[0] == found[1]


@pytest.fixture(scope="module")
def whole(competition_original, tmp_path_factory):
    """The run, and the sides of what it was trained on, step by step."""
    from melanoma_tf import __main__, command_line

    run, seen = tmp_path_factory.mktemp("progressive") / "run", []
    build = fold.build_train_step

    def watched(*given):
        step = build(*given)

        def noting(batch, *more):
            seen.append(batch["image"].shape[1])
            return step(batch, *more)

        return noting

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fold, "build_train_step", watched)
        assert command_line.run("melanoma-tf", "", __main__.COMMANDS, arguments(competition_original, run, SMALL)) == 0
    return run, seen


def test_the_first_epochs_are_small(whole):
    assert whole[1] == [16] * 3 + [32] * 3


@pytest.mark.parametrize("turns", [2, 5, 8], ids=["small", "validation", "large"])
def test_a_cut_run_goes_on_at_its_size(competition_original, run_command, tmp_path, whole, turns):
    """An epoch has 3 steps and validates 3 batches."""
    run = cut(competition_original, tmp_path / "run", turns, SMALL)
    code, _, err = run_command(*arguments(competition_original, run, SMALL))
    assert code == 0, err
    assert_same_run(run, whole[0])


def test_images_held_decoded_in_both_sizes_give_the_same_run(competition_original, run_command, tmp_path, whole):
    code, _, err = run_command(*arguments(competition_original, tmp_path / "run", SMALL, "--cache=memory"))
    assert code == 0, err
    assert_same_run(tmp_path / "run", whole[0])


def test_statistics_of_an_average_come_from_images_of_the_last_size(competition_original, run_command, tmp_path):
    """The mean of both epochs' weights, each of another size, in calls of two steps."""
    more = (SMALL, "--set=train.swa_epochs=2", "--set=train.steps_per_call=2")
    sides = []
    estimate = fold.estimate_statistics

    def noted(model, step, batches):
        def noting(batch, seed):
            sides.append(batch["image"].shape[1])
            return step(batch, seed)

        estimate(model, noting, batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fold, "estimate_statistics", noted)
        code, _, err = run_command(*arguments(competition_original, tmp_path / "run", *more))
    assert code == 0, err
    assert sides == [32] * 3


def test_a_dry_run_takes_the_mean_over_the_sizes(competition_original, run_command, tmp_path, monkeypatch):
    from melanoma_tf.train import dry_run

    monkeypatch.setattr(dry_run, "_seconds_at", lambda run, size: {16: 1.0, 32: 3.0}[size])
    code, out, err = run_command(*arguments(competition_original, tmp_path / "run", SMALL, "--dry_run"))
    assert code == 0, err
    told = dict(line.split(maxsplit=1) for line in out.splitlines() if line[:1].islower())
    assert told["time"].startswith("2 s a step") and "12 s for all steps" in told["time"]
