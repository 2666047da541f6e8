"""A run that is cut, damaged or short of room goes on to the very result of the undisturbed one, or says why not."""

import json
import resource
import shutil
import time

import numpy as np
import pandas as pd
import pytest

from .conftest import PLAIN, settings
from .test_train import contents, train_arguments

tf = pytest.importorskip("tensorflow")

from melanoma_tf.train import stop as stopping  # noqa: E402 - needs TensorFlow


def arguments(competition, run, *more):
    """A state after every step; images are decoded as they come, as decoding asks for a stop too."""
    plain = [f"--set={setting}" for setting in ["train.checkpoint_minutes=0", *PLAIN]]
    return train_arguments(competition, run, "--fold=0", "--cache=none", *plain, *more)


@pytest.fixture(scope="module")
def undisturbed(competition_original, tmp_path_factory):
    from melanoma_tf import __main__, command_line

    run = tmp_path_factory.mktemp("undisturbed") / "run"
    assert command_line.run("melanoma-tf", "", __main__.COMMANDS, arguments(competition_original, run)) == 0
    return run


def cut(competition, run, turns, *more):
    """Stops a run at the given number of steps and batches of prediction."""
    from melanoma_tf import __main__, command_line

    asked = iter([False] * (turns - 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stopping.Stop, "__call__", lambda self: next(asked, True))
        code = command_line.run("melanoma-tf", "", __main__.COMMANDS, arguments(competition, run, *more))
    assert code == 75
    return run


@pytest.fixture(scope="module")
def once_cut(competition_original, tmp_path_factory):
    return cut(competition_original, tmp_path_factory.mktemp("cut") / "run", 8)


@pytest.fixture
def cut_run(once_cut, tmp_path):
    """A run that was stopped in its second epoch, to be damaged."""
    return shutil.copytree(once_cut, tmp_path / "run")


def weights(path):
    import h5py

    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def assert_same_run(run, undisturbed):
    assert contents(run) == contents(undisturbed)
    for name in ("last.weights.h5", "best.weights.h5"):
        got, want = weights(run / "fold_0" / name), weights(undisturbed / "fold_0" / name)
        assert got.keys() == want.keys() and len(got) > 10
        for key in want:
            np.testing.assert_array_equal(got[key], want[key])


def states(run):
    return sorted((run / "fold_0" / "checkpoint").glob("[0-9]*"))


@pytest.mark.parametrize("turns", [1, 4, 14], ids=["first step", "validation", "prediction"])
def test_a_stop_in_training_validation_or_prediction_is_continued_exactly(
    competition_original, run_command, tmp_path, undisturbed, turns
):
    """An epoch has 3 steps and validates 3 batches."""
    run = cut(competition_original, tmp_path / "run", turns)
    assert not (run / "fold_0" / "finished.json").exists() and len(states(run)) <= 2
    code, _, err = run_command(*arguments(competition_original, run))
    assert code == 0 and "continuing at epoch" in err[0], err
    assert_same_run(run, undisturbed)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "flipped": lambda state: flip(next(state.glob("state.data*"))),
    "cut": lambda state: next(state.glob("state.data*")).write_bytes(b"short"),
    "absent": lambda state: next(state.glob("state.index")).unlink(),
    "no manifest": lambda state: (state / "manifest.json").unlink(),
    "cut manifest": lambda state: (state / "manifest.json").write_text("{"),
    "history": lambda state: (state / "history.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_seen(cut_run, damage):
    from melanoma_tf.train.checkpoint import fault_of

    before, last = states(cut_run)
    assert fault_of(last) is None
    DAMAGES[damage](last)
    assert fault_of(last) and fault_of(before) is None


def test_a_damaged_state_is_passed_over_for_the_one_before(competition_original, run_command, cut_run, undisturbed):
    last = states(cut_run)[-1]
    DAMAGES["flipped"](last)
    code, _, err = run_command(*arguments(competition_original, cut_run))
    assert code == 0 and str(last) in err[0] and "is not used" in err[0]
    assert_same_run(cut_run, undisturbed)


def test_weights_and_history_ahead_of_the_state_are_taken_back(
    competition_original, run_command, once_cut, cut_run, undisturbed
):
    newest = states(once_cut)[-1]
    assert (newest / "best.weights.h5").samefile(once_cut / "fold_0" / "best.weights.h5")  # no room taken
    run = cut_run
    for name in ("best.weights.h5", "history.csv", "history.json"):
        (run / "fold_0" / name).unlink()
        (run / "fold_0" / name).write_bytes(b"of a later epoch")
    code, _, _ = run_command(*arguments(competition_original, run))
    assert code == 0
    assert_same_run(run, undisturbed)


def test_no_whole_state_is_one_line(competition_original, run_command, cut_run):
    run = cut_run
    for state in states(run):
        flip(next(state.glob("state.data*")))
    code, _, err = run_command(*arguments(competition_original, run))
    assert code == 2 and "no checkpoint of" in err[-1] and "--overwrite" in err[-1]


@pytest.mark.parametrize(
    "key, other, message", [
        ("TensorFlow", "2.0.0", "of another TensorFlow: 2.0.0, not "),
        ("model", "7 weights, abc", "of another model: 7 weights"),
        ("recipe", "abc", "of another recipe"),
        ("fold", "3", "of another fold: 3, not 0"),
    ]
)  # fmt: skip
def test_a_state_of_something_else_is_refused(competition_original, run_command, cut_run, key, other, message):
    run = cut_run
    for state in states(run):
        manifest = json.loads((state / "manifest.json").read_text())
        manifest["identity"][key] = other
        (state / "manifest.json").write_text(json.dumps(manifest))
    code, _, err = run_command(*arguments(competition_original, run))
    assert code == 2 and message in err[-1] and len(err) == 1


def test_a_run_that_another_process_writes_is_left_alone(competition_original, run_command, cut_run):
    import fcntl

    run = cut_run
    before = contents(run)
    with open(run / ".lock", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, _, err = run_command(*arguments(competition_original, run))
    assert code == 2 and "is being written by another process" in err[-1] and len(err) == 1
    assert contents(run) == before


def test_a_full_disk_costs_one_line_and_nothing_else(competition_original, run_command, cut_run, undisturbed):
    run = cut_run
    kept = [state.name for state in states(run)]
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, former[1]))  # a state is larger
    try:
        code, _, err = run_command(*arguments(competition_original, run))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert code == 2 and "cannot save a checkpoint" in err[-1] and "large" in err[-1].lower()
    assert [state.name for state in states(run)] == kept
    assert not list((run / "fold_0" / "checkpoint").glob("*.part"))
    assert run_command(*arguments(competition_original, run))[0] == 0
    assert_same_run(run, undisturbed)


def test_max_hours_saves_and_exits_75(competition_original, run_command, tmp_path, undisturbed):
    """An hour that is over before the first step: it is done and saved none the less, so that every command gets on."""
    run = tmp_path / "run"
    code, _, err = run_command(*arguments(competition_original, run, "--max_hours=1e-9"))
    assert code == 75 and "saved at epoch 1, step 1; the same command continues" in err[-1]
    assert run_command(*arguments(competition_original, run))[0] == 0
    assert_same_run(run, undisturbed)


def test_the_reserve_grows_with_steps_and_saves():
    stop = stopping.Stop(max_hours=1)
    assert not stop()
    stop.note("step", 1000.0)
    stop.note("step", 1.0)
    assert not stop()
    stop.note("save", 900.0)
    assert stop()  # 2 * (1000 + 900) seconds do not fit into an hour
    assert stop.end - time.monotonic() < 3600


def test_history_is_there_as_csv_and_json(undisturbed):
    table = pd.read_csv(undisturbed / "fold_0" / "history.csv")
    rows = json.loads((undisturbed / "fold_0" / "history.json").read_text())
    pd.testing.assert_frame_equal(pd.DataFrame(rows), table)
    assert [row["epoch"] for row in rows] == [1, 2]


def test_a_callback_that_raises_is_named_once_and_dropped(competition_original, tmp_path, capfd):
    from melanoma_tf import config
    from melanoma_tf.keras_compat import keras
    from melanoma_tf.train import train

    calls = []

    class Broken(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise RuntimeError("no\nroom for logs")

    class Sound(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            calls.append(batch)

    recipe = config.override(config.load_recipe("demo"), [text.removeprefix("--set=") for text in settings()])
    train(recipe, data_dir=str(competition_original), work_dir=str(tmp_path / "run"), fold="0",
          callbacks=[Broken(), Sound()])  # fmt: skip
    said = [line for line in capfd.readouterr().err.splitlines() if "callback" in line]
    assert len(said) == 1 and "Broken.on_train_batch_end failed and is called no more" in said[0]
    assert "RuntimeError: no room for logs" in said[0]
    assert calls == [0, 1, 2] * 2


def test_a_loss_that_is_no_number_names_the_images_and_keeps_the_state(
    competition_original, run_command, tmp_path, monkeypatch
):
    """The second step of the first epoch is poisoned; its images are those that the order of the epoch tells."""
    from melanoma_tf.train import fold as folds

    build = folds.build_train_step

    def poisoned(*arguments):
        step, number, rows = build(*arguments), iter(range(9)), seen

        def call(batch, seed, rate):
            loss = step(batch, seed, rate)
            rows.append(batch["row"].numpy())
            return loss * float("nan") if next(number) == 1 else loss

        return call

    seen: list = []
    monkeypatch.setattr(folds, "build_train_step", poisoned)
    run = tmp_path / "run"
    code, _, err = run_command(*arguments(competition_original, run))
    assert code == 2 and "the loss became nan at epoch 1, step 2, of images ISIC_" in err[-1]
    names = pd.read_csv(competition_original / "train.csv")["image_name"].to_numpy()
    assert ", ".join(names[seen[1]]) in err[-1]
    [state] = states(run)
    assert json.loads((state / "manifest.json").read_text())["step"] == 1


def test_weights_that_are_no_numbers_are_not_saved(competition_original, run_command, cut_run):
    from melanoma_tf.train.checkpoint import Checkpoint

    def spoilt(self):
        self._model.trainable_variables[0].assign(self._model.trainable_variables[0] * float("nan"))
        whole(self)

    run, whole = cut_run, Checkpoint.save
    kept = [state.name for state in states(run)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "save", spoilt)
        code, _, err = run_command(*arguments(competition_original, run))
    assert code == 2 and "weights became NaN" in err[-1]
    assert [state.name for state in states(run)] == kept
    shutil.rmtree(run)
