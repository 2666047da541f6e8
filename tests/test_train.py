"""Training end to end on a tiny competition: predictions, resume after kill -9, the same bytes twice."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from melanoma_tf.predictions import read_predictions

from .conftest import settings

tf = pytest.importorskip("tensorflow")


def train_arguments(competition, run, *more):
    return ["train", "--config=demo", f"--data_dir={competition}", f"--work_dir={run}", *settings(), *more]


@pytest.fixture(scope="module")
def finished_run(competition_original, tmp_path_factory):
    """One run of both folds, by the real program in a process of its own."""
    run = tmp_path_factory.mktemp("finished") / "run"
    done = subprocess.run(program(*train_arguments(competition_original, run)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "out-of-fold AUC 0." in done.stdout or "out-of-fold AUC 1." in done.stdout
    return run


def program(*arguments):
    return [sys.executable, "-m", "melanoma_tf", *map(str, arguments)]


def contents(run):
    """What a run says, without the paths and the seconds in it."""
    said = {path.relative_to(run): path.read_bytes() for path in sorted(run.glob("**/*.csv")) if path.stem != "history"}
    for path in sorted(run.glob("fold_*/history.csv")):
        history = pd.read_csv(path)
        said[path.relative_to(run)] = history.drop(columns=["seconds", "images_per_second"]).to_csv().encode()
    return said


def test_a_run_predicts_every_image_once(finished_run, competition_original):
    table = pd.read_csv(competition_original / "train.csv").set_index("image_name")
    oof = read_predictions(finished_run / "oof.csv")
    assert sorted(oof.image_name) == sorted(table.index)
    assert oof.target.tolist() == table["target"].loc[oof.image_name].tolist()
    folds = pd.read_csv(competition_original / "folds.csv").set_index("image_name")["fold"]
    assert oof.fold.tolist() == folds.loc[oof.image_name].tolist()
    names = pd.read_csv(competition_original / "test.csv")["image_name"].tolist()
    members = [read_predictions(finished_run / f"fold_{fold}" / "test.csv") for fold in (0, 1)]
    test = read_predictions(finished_run / "test.csv")
    assert test.image_name.tolist() == names
    np.testing.assert_allclose(test.probability, (members[0].probability + members[1].probability) / 2)


def test_a_run_folder_holds_what_the_report_needs(finished_run):
    for fold in ("fold_0", "fold_1"):
        history = pd.read_csv(finished_run / fold / "history.csv")
        assert history["epoch"].tolist() == [1, 2] and history["val_auc"].between(0, 1).all()
        assert history["images"].tolist() == [24, 24]
        for name in ("best.weights.h5", "last.weights.h5", "augmented.png", "finished.json"):
            assert (finished_run / fold / name).stat().st_size > 0
    run = json.loads((finished_run / "run.json").read_text())
    assert run["versions"]["tensorflow"] == tf.__version__ and run["fold_names"] == ["0", "1"]
    assert not list(finished_run.glob("**/*.part*"))


def test_the_model_learns(finished_run, competition_original, run_command, tmp_path):
    """Redness tells the label, and a few more epochs must find it."""
    run = tmp_path / "run"
    code, _, _ = run_command(
        *train_arguments(competition_original, run, "--fold=0", *settings("train.epochs=12", "train.warmup_epochs=1"))
    )
    assert code == 0 and pd.read_csv(run / "fold_0" / "history.csv")["val_auc"].iloc[-1] > 0.9


def test_a_finished_run_is_not_trained_again(finished_run, competition_original, run_command):
    before = {path: path.stat().st_mtime_ns for path in finished_run.glob("fold_*/*")}
    code, _, err = run_command(*train_arguments(competition_original, finished_run))
    assert code == 0 and err == []
    assert {path: path.stat().st_mtime_ns for path in finished_run.glob("fold_*/*")} == before


@pytest.mark.parametrize("moment", ["fold_0/checkpoint/000002", "fold_0/history.csv", "fold_1/checkpoint/000001"])
def test_kill_minus_nine_then_the_same_command_gives_the_undisturbed_run(
    finished_run, competition_original, tmp_path, moment
):
    run = tmp_path / "run"
    command = program(*train_arguments(competition_original, run, "--set=train.checkpoint_minutes=0"))
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        # Not by a walk over the folder, which fails where a part of a checkpoint goes while it is looked at.
        wait_for(lambda: any((run / f"{moment}{ending}").exists() for ending in ("", ".part")), process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert contents(run) == contents(finished_run)
    assert not list(run.glob("**/*.part*"))


def test_what_a_killed_run_was_writing_is_cleared_away(competition_original, finished_run, run_command, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    left = [run / "fold_0" / ".part-1.last.weights.h5", run / "fold_1" / ".oof.csv.1.part", run / ".config.json.1.part"]
    for path in left:
        path.write_bytes(b"half")
    other = run / ".report.html.1.part"
    other.write_bytes(b"somebody else's")
    code, _, err = run_command(*train_arguments(competition_original, run))
    assert code == 0, err
    assert not any(path.exists() for path in left) and other.exists()
    assert contents(run) == contents(finished_run)


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end, "the moment to kill never came"
        time.sleep(0.01)


def test_sigterm_saves_and_says_that_it_can_go_on(competition_original, finished_run, tmp_path):
    run = tmp_path / "run"
    command = program(*train_arguments(competition_original, run))
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    wait_for(lambda: (run / "fold_0" / "augmented.png").exists(), process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=400)
    assert process.returncode == 75
    assert "the same command continues" in err.splitlines()[-1]
    assert list((run / "fold_0" / "checkpoint").glob("*/manifest.json"))
    # how often to save and where images are held decide nothing about the result and may be others
    more = ["--set=train.checkpoint_minutes=1", "--cache=disk"]
    assert subprocess.run([*command, *more], capture_output=True).returncode == 0
    assert list((run / "cache").glob("decoded-32px-*.uint8"))
    assert contents(run) == contents(finished_run)


def test_all_images_without_a_fold(competition_original, run_command, tmp_path):
    run = tmp_path / "run"
    code, _, err = run_command(*train_arguments(competition_original, run, "--fold=all", "--set=train.epochs=1"))
    assert code == 0, err
    assert not (run / "oof.csv").exists() and len(read_predictions(run / "test.csv")) == 11
    history = pd.read_csv(run / "fold_all" / "history.csv")
    assert history["images"].tolist() == [48] and "val_auc" not in history


def test_predict_repeats_what_training_predicted(finished_run, competition_original, run_command, tmp_path):
    out_file = tmp_path / "predictions.csv"
    arguments = ["predict", f"--run={finished_run}", f"--data_dir={competition_original}", f"--out={out_file}"]
    code, _, err = run_command(*arguments)
    assert code == 0, err
    got, want = read_predictions(out_file), read_predictions(finished_run / "test.csv")
    np.testing.assert_allclose(got.probability, want.aligned(got.image_name).probability, atol=1e-6)
    code, _, err = run_command(*arguments)
    assert code == 2 and "--overwrite" in err[-1]


def test_keras_callbacks_are_called_and_the_best_epoch_can_be_selected(competition_original, tmp_path):
    from melanoma_tf import config
    from melanoma_tf.keras_compat import keras
    from melanoma_tf.train import train

    from .conftest import TINY

    seen = []

    class Watcher(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((epoch, sorted(logs)))

    recipe = config.override(config.load_recipe("demo"), [*TINY, "train.select=best"])
    train(recipe, data_dir=str(competition_original), work_dir=str(tmp_path / "run"), fold="0", callbacks=[Watcher()])
    assert [epoch for epoch, _ in seen] == [0, 1] and "val_auc" in seen[0][1]
    history = pd.read_csv(tmp_path / "run" / "fold_0" / "history.csv")
    from melanoma_tf.metrics import roc_auc

    oof = read_predictions(tmp_path / "run" / "fold_0" / "oof.csv")
    assert roc_auc(oof.target, oof.probability) == pytest.approx(history["val_auc"].max())


def test_the_learning_rate_warms_up_and_comes_down():
    from melanoma_tf.config import TrainConfig
    from melanoma_tf.schedules import learning_rate

    cosine = TrainConfig(epochs=10, learning_rate=1.0, warmup_epochs=2, final_learning_rate_ratio=0.1)
    assert [learning_rate(cosine, epoch) for epoch in (0, 1, 2, 6, 10)] == pytest.approx(
        [0.01, 0.01 + 0.99 / 2, 1.0, 0.1 + 0.9 / 2, 0.1]
    )
    exponential = TrainConfig(
        epochs=10, learning_rate=1.0, warmup_epochs=0, schedule="exponential", decay_per_epoch=0.5,
        final_learning_rate_ratio=0.0,
    )  # fmt: skip
    assert [learning_rate(exponential, epoch) for epoch in (0, 1, 3)] == pytest.approx([1, 1 / 2, 1 / 8])


def test_optimizers_that_do_not_fit_are_errors(run_command, competition_original, tmp_path):
    for setting, message in (
        ("train.optimizer=adma", "did you mean 'adam'"),
        ("train.weight_decay=0.1", "use adamw"),
        ("train.loss=focl", "did you mean 'focal'"),
    ):
        code, _, err = run_command(*train_arguments(competition_original, tmp_path / "run", f"--set={setting}"))
        assert code == 2 and message in err[-1] and len(err) == 1
        assert not (tmp_path / "run").exists()


def test_images_that_do_not_fill_the_devices_are_predicted_too(finished_run, competition_original):
    """Of 3 devices, a batch of 8 and 11 images: nothing is left over."""
    folder, table = str(competition_original), str(competition_original / "test.csv")
    code = ("from melanoma_tf import distribute; from melanoma_tf.predict import predict;"
            "from melanoma_tf.data.image_set import load_image_set; distribute.split_cpu(3);"
            f"images = load_image_set({folder!r}, {table!r}, 'test', target=False);"
            f"found = predict({str(finished_run)!r}, images, strategy=distribute.make_strategy('mirrored'));"
            "print(found.probability.tolist())")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(found, read_predictions(finished_run / "test.csv").probability, atol=1e-5)
