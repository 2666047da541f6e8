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
    """Loss 1 at first, 0.5 at its lowest, up again behind."""
    away = np.log10(RATES / lowest)
    losses = np.where(away < 0, 0.5 + 0.5 * np.minimum(-away / 3, 1), 0.5 + away**2)
    return RateTest(RATES, losses + np.random.default_rng(0).normal(0, noise, len(RATES)))


@pytest.mark.parametrize("lowest", [1e-4, 1e-2])
def test_the_suggestion_is_a_tenth_of_the_rate_with_the_lowest_loss(lowest):
    assert valley(lowest).suggestion == pytest.approx(lowest / 10, rel=0.5)
    assert valley(lowest, noise=0.05).suggestion == pytest.approx(lowest / 10, rel=1.5)


def test_smoothing_looks_at_both_sides():
    step = RateTest(RATES, np.where(np.arange(121) < 60, 1.0, 0.0))
    assert step.smoothed[59] == pytest.approx(1 - step.smoothed[60]) and 0.5 < step.smoothed[59] < 0.6


@pytest.mark.parametrize(("sign", "said"), [(1, "rose from the first rate on"), (-1, "still falling at the last rate")])
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
    assert out.read_bytes().startswith(b"\x89PNG") and "lowest at" in said
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
