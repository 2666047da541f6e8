"""The range test finds the lowest loss of a curve that it knows, and the command writes what it says."""

import numpy as np
import pandas as pd
import pytest

from melanoma_tf.errors import UserError

from .conftest import TINY

pytest.importorskip("tensorflow")
pytest.importorskip("matplotlib")

from melanoma_tf.commands.find_rate import draw, to_csv
from melanoma_tf.train.rate import RateTest, _Watch

RATES = np.geomspace(1e-6, 1.0, 121)  # 20 steps a decade


def valley(lowest, noise=0.0):
    """Loss 1 at first, down to 0.5 over three decades, up again behind."""
    away = np.log10(RATES / lowest)
    losses = np.where(away < 0, 0.5 + 0.5 * np.minimum(-away / 3, 1), 0.5 + away**2)
    return RateTest(RATES, losses + np.random.default_rng(0).normal(0, noise, len(RATES)))


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_suggestion_is_two_thirds_down_the_valley(noise):
    assert valley(1e-2, noise).suggestion == pytest.approx(1e-5 * 1000 ** (2 / 3), rel=0.6)
    assert valley(1e-4, noise).suggestion == pytest.approx(
        1e-6 * 100 ** (2 / 3), rel=0.6
    )  # only its lower part is seen


def test_a_lower_loss_among_jumps_behind_is_not_the_valley():
    """As B0 did on 800 real images: a fall to 1e-3, then up and down by as much and, once, a little lower."""
    away = np.log10(RATES)
    losses = np.interp(away, [-6, -4, -3, -2.4, -1.7, -1, 0], [0.61, 0.61, 0.47, 0.6, 0.41, 0.8, 5.0])
    found = RateTest(RATES, losses)
    assert RATES[np.argmin(found.smoothed)] > 1e-2
    assert found.suggestion == pytest.approx(10 ** (-4 + 2 / 3), rel=0.5)


def test_smoothing_looks_at_both_sides():
    step = RateTest(RATES, np.where(np.arange(121) < 60, 1.0, 0.0))
    assert step.smoothed[59] == pytest.approx(1 - step.smoothed[60]) and 0.5 < step.smoothed[59] < 0.6


@pytest.mark.parametrize(("sign", "said"), [(1, "never fell by a tenth"), (-1, "still falling at the last rate")])
def test_a_loss_without_a_valley_suggests_nothing(sign, said):
    with pytest.raises(UserError, match=said):
        _ = RateTest(RATES, 1 + 0.1 * sign * np.log10(RATES)).suggestion


def test_a_loss_that_bursts_is_noticed_and_a_jump_is_not():
    watch = _Watch()
    assert not any(watch.burst(loss) for loss in (1.0, 0.5, 0.5, 3.0, 0.5, 0.5))
    assert [watch.burst(50.0), watch.burst(50.0)][-1]


def test_picture_and_table():
    found = valley(1e-3, noise=0.05)
    assert draw(found, "a title").startswith(b"\x89PNG")
    lines = to_csv(found).splitlines()
    assert lines[0] == "learning_rate,loss,smoothed_loss" and len(lines) == 122


def find(run_command, competition, out, *more):
    settings = [f"--set={setting}" for setting in TINY]
    arguments = [f"--data_dir={competition}", f"--out={out}", "--config=demo", *settings, *more]
    return run_command("find_rate", *arguments)


def test_the_command_trains_and_writes_both_files(run_command, competition_original, tmp_path):
    out = tmp_path / "new" / "rate.png"
    code, said, err = find(run_command, competition_original, out, "--steps=30", "--low=1e-5", "--high=100")
    table = pd.read_csv(out.with_suffix(".csv"))
    assert out.read_bytes().startswith(b"\x89PNG") and "the loss falls from" in said
    assert table["learning_rate"].iloc[0] == pytest.approx(1e-5) and table["learning_rate"].is_monotonic_increasing
    assert 10 <= len(table) <= 30 and np.isfinite(table["loss"]).all()
    assert (code == 0 and "--set train.learning_rate=" in said) or (code == 2 and "rate" in err[-1])
    code, _, err = find(run_command, competition_original, out)
    assert code == 2 and "--overwrite" in err[-1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--low=0"], "valid is 0 < low < high"),
        (["--low=1e-3", "--high=1e-4"], "valid is 0 < low < high"),
        (["--steps=5"], "--steps=5: valid is 10 to 100000"),
        (["--set=train.batch_size=64", "--set=train.optimizer=sgd"], "train.batch_size must be at most 48"),
    ],
)
def test_bad_input_is_one_line(run_command, competition_original, tmp_path, more, said):
    code, _, err = find(run_command, competition_original, tmp_path / "rate.png", *more)
    assert code == 2 and said in err[-1] and len(err) == 1
    assert not list(tmp_path.iterdir())


def test_the_picture_must_be_a_png(run_command, competition_original, tmp_path):
    code, _, err = find(run_command, competition_original, tmp_path / "rate.jpg")
    assert code == 2 and "expected the name of a .png file" in err[-1]


def test_several_classes_are_asked_for_what_they_are(run_command, competition_original, tmp_path):
    settings = ["--set=model.target=diagnosis9", "--set=train.loss=categorical_cross_entropy"]
    find(run_command, competition_original, tmp_path / "rate.png", "--steps=10", "--low=1e-6", "--high=2e-6", *settings)
    losses = pd.read_csv(tmp_path / "rate.csv")["loss"]
    assert losses.iloc[0] == pytest.approx(np.log(9), rel=0.35)


def test_batches_that_do_not_go_up_are_one_line(run_command, competition_original, tmp_path):
    code, _, err = find(run_command, competition_original, tmp_path / "rate.png", "--set=train.accumulation=3")
    assert code == 2 and "train.batch_size is 8; with 1 replicas and train.accumulation=3" in err[-1] and len(err) == 1


def test_a_loss_that_is_no_number_from_the_first_is_one_line(run_command, competition_original, tmp_path, monkeypatch):
    from melanoma_tf.train import rate

    monkeypatch.setattr(rate, "build_train_step", lambda *_, **__: lambda *_: np.float32("nan"))
    code, _, err = find(run_command, competition_original, tmp_path / "rate.png")
    assert code == 2 and "the loss is no number in the first step" in err[-1] and not list(tmp_path.iterdir())
