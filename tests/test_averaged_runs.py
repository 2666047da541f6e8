"""Whole runs with averages: what predicts is the average, and a run that was interrupted ends in the same bits."""

import os
import signal

import numpy as np
import pandas as pd
import pytest

from melanoma_tf import config as configuration
from melanoma_tf.errors import Interrupted, UserError
from melanoma_tf.predictions import read_predictions

from .conftest import FLIPS, TINY

tf = pytest.importorskip("tensorflow")

from melanoma_tf.keras_compat import keras  # noqa: E402
from melanoma_tf.train import train  # noqa: E402

KINDS = {
    "moving average": ["train.ema=0.8", "train.lookahead_steps=2", "train.optimizer=radam", "train.sam_rho=0.05"],
    "epoch mean": ["train.swa_epochs=2", "train.optimizer=lamb", "train.layer_decay=0.8", "train.frozen_stages=1"],
    "snapshots": ["train.snapshots=2", "train.schedule=restarts", "train.restarts=3", "train.warmup_epochs=0"],
}


class Stopper(keras.callbacks.Callback):
    """Sends SIGTERM at the end of the step of that number, counted from 1."""

    def __init__(self, step):
        super().__init__()
        self.left = step

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGTERM)


def run(competition, folder, more, *callbacks):
    recipe = configuration.override(configuration.load_recipe("demo"), [*TINY, *FLIPS, "train.epochs=3", *more])
    train(recipe, data_dir=str(competition), work_dir=str(folder), fold="0", callbacks=callbacks)
    return folder / "fold_0"


def said(fold):
    history = pd.read_csv(fold / "history.csv").drop(columns=["seconds", "images_per_second"])
    return [history.to_csv(), *((fold / name).read_bytes() for name in ("oof.csv", "test.csv"))]


def weights_of(path):
    import h5py

    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, node: found.update({name: node[()]}) if isinstance(node, h5py.Dataset) else None)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_run_ends_in_the_same_bits(competition_original, tmp_path, run_command, kind):
    whole = run(competition_original, tmp_path / "whole", KINDS[kind])
    with pytest.raises(Interrupted):
        run(competition_original, tmp_path / "cut", KINDS[kind], Stopper(5))  # of 9 steps: in the second epoch
    cut = run(competition_original, tmp_path / "cut", KINDS[kind])
    assert said(cut) == said(whole)
    names = [path.name for path in sorted(whole.glob("*.h5"))]
    assert names == [path.name for path in sorted(cut.glob("*.h5"))]
    for name in names:
        one, other = weights_of(whole / name), weights_of(cut / name)
        assert one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one), name
    _predicts_again(run_command, competition_original, whole, tmp_path)
    if kind == "snapshots":
        assert [name for name in names if "snapshot" in name] == ["snapshot_2.weights.h5", "snapshot_3.weights.h5"]


def _predicts_again(run_command, competition, fold, tmp_path):
    out = tmp_path / "again.csv"
    code, _, err = run_command("predict", f"--run={fold.parent}", f"--data_dir={competition}", f"--out={out}")
    assert code == 0, err
    got, want = read_predictions(out), read_predictions(fold / "test.csv")
    np.testing.assert_allclose(got.probability, want.aligned(got.image_name).probability, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["train.snapshots=2"], "it needs --set train.schedule=restarts"),
        (["train.schedule=restarts", "train.restarts=3"], "train.restarts is 3; valid is 1 to train.epochs, 2"),
        (["train.ema=0.9", "train.snapshots=1"], "one kind of average at a time"),
        (["train.frozen_stages=3"], "valid is 0 to 2 for this backbone"),
        (["train.frozen_stages=-1"], "valid is 0 to 2 for this backbone"),
        (["train.layer_decay=1.5"], "train.layer_decay is 1.5; valid is 0 to 1"),
    ],
)
def test_settings_that_do_not_fit_are_told_before_anything_is_written(competition_original, tmp_path, given, said):
    with pytest.raises(UserError, match=said):
        recipe = configuration.override(configuration.load_recipe("demo"), [*TINY, *given])
        train(recipe, data_dir=str(competition_original), work_dir=str(tmp_path / "run"), fold="0")
    assert not (tmp_path / "run").exists()
