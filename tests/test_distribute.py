"""One device, several, and several processes: the same losses and predictions; and clusters that are not there."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from melanoma_tf import cluster
from melanoma_tf.errors import UserError

from .conftest import FLIPS, TINY
from .test_train import contents, program, train_arguments, wait_for

tf = pytest.importorskip("tensorflow")

TOLERANCE = 2e-5  # relative, of the losses of six steps at learning rate 0.01


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def tf_config(ports, index):
    hosts = [f"localhost:{port}" for port in ports]
    return json.dumps({"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}})


def start(command, text=None):
    environment = {**os.environ, **({"TF_CONFIG": text} if text else {})}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def both(command):
    """[(exit code, standard output, standard error)] of two processes of one cluster."""
    ports = free_ports(2)
    processes = [start(command, tf_config(ports, index)) for index in (0, 1)]
    return [(*process.communicate(timeout=900), process.returncode) for process in processes]


def spread(strategy, variables) -> float:
    """How far the replicas' copies of a variable are from each other, at most."""
    copies = [[copy.numpy() for copy in strategy.experimental_local_results(one)] for one in variables]
    return max(float(np.ptp(values, axis=0).max()) for values in copies)


def record(competition: Path, strategy_name: str, devices: int, frozen: bool = True, *settings: str) -> dict:
    """Six steps and then the predictions of all images. BatchNormalization, which sees its replica's part of a batch
    alone, is frozen unless asked otherwise."""
    from melanoma_tf import config, distribute
    from melanoma_tf.data.cache import hold_decoded
    from melanoma_tf.data.image_set import load_image_set
    from melanoma_tf.data.pipeline import distributed, eval_dataset, train_dataset
    from melanoma_tf.inference import build_predict_step, predict_rows
    from melanoma_tf.keras_compat import as_tensorflow, keras
    from melanoma_tf.models import build_model
    from melanoma_tf.models.pretrained import flat_layers
    from melanoma_tf.optimizers import build_optimizer
    from melanoma_tf.precision import computing_in, with_loss_scale
    from melanoma_tf.train.step import build_train_step, step_seed

    distribute.make_deterministic()
    if devices > 1:
        distribute.split_cpu(devices)
    # Gradients are clipped: of the sum over the devices, or the devices would be told apart.
    recipe = config.override(config.load_recipe("demo"), [*TINY, "model.dropout=0", "train.clip_norm=0.1", *settings])
    strategy = distribute.make_strategy(strategy_name)
    keras.utils.set_random_seed(1)
    with strategy.scope(), computing_in(recipe.train.precision):
        model = build_model(recipe.model, 32)
        for layer in flat_layers(model):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = not frozen
        optimizer = with_loss_scale(build_optimizer(recipe.train), recipe.train.precision)
        optimizer.build(model.trainable_variables)
    step = build_train_step(strategy, model, optimizer, recipe)
    images = load_image_set(str(competition), str(competition / "train.csv"), "train", target=True)
    if strategy_name == "mirrored":
        hold_decoded(images, 32, config.DataConfig(cache="memory"), competition)
    options = {"image_size": 32, "batch_size": 8}
    batches = distributed(
        strategy, lambda share: train_dataset(images, np.arange(48), **options, seed=1, epoch=0, share=share)
    )
    losses = [
        float(step(batch, tf.constant(step_seed(1, "0", number)), tf.constant(0.01)))
        for number, batch in enumerate(batches)
    ]
    batches = distributed(strategy, lambda share: eval_dataset(images, np.arange(48), **options, share=share))
    probability = predict_rows(build_predict_step(strategy, model, None), batches, 48)
    apart = spread(strategy, [as_tensorflow(variable) for variable in model.variables])
    return {"losses": losses, "probability": probability.tolist(), "spread": apart,
            "replicas": strategy.num_replicas_in_sync}  # fmt: skip


def recording(competition, strategy, devices=1, frozen=True, *settings):
    code = (f"import json; from pathlib import Path; from tests.test_distribute import record;"
            f"print(json.dumps(record(Path({str(competition)!r}), {strategy!r}, {devices}, {frozen}, *{settings})))"
            )  # fmt: skip
    return [sys.executable, "-c", code]


@pytest.fixture(scope="module")
def one_device(competition_original):
    done = subprocess.run(recording(competition_original, "one"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("devices", [2, 4])
def test_several_devices_train_and_predict_like_one(competition_original, one_device, devices):
    """There from images that are held decoded."""
    command = recording(competition_original, "mirrored", devices)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_alike(json.loads(done.stdout.splitlines()[-1]), one_device, devices)


def test_replicas_hold_the_same_statistics_after_every_step(competition_original):
    """Else a prediction depends on the replica that makes it, and a checkpoint, of one copy, is not the run."""
    command = recording(competition_original, "mirrored", 2, False, *FLIPS)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["spread"] == 0.0


def test_two_processes_train_and_predict_like_one(competition_original, one_device):
    for out, err, code in both(recording(competition_original, "multi_worker")):
        assert code == 0, err
        assert_alike(json.loads(out.splitlines()[-1]), one_device, 2)


def test_several_devices_in_float16_train_like_one_with_one_loss_scale(competition_original):
    """With accumulation and a sharpness-aware step besides; numbers of 11 bits, so 1 %."""
    settings = ("train.precision=mixed_float16", "train.accumulation=2", "train.sam_rho=0.05", *FLIPS)
    commands = [recording(competition_original, name, devices, True, *settings)
                for name, devices in (("one", 1), ("mirrored", 2))]  # fmt: skip
    done = [subprocess.run(command, capture_output=True, text=True) for command in commands]
    assert [one.returncode for one in done] == [0, 0], done
    one, two = (json.loads(one.stdout.splitlines()[-1]) for one in done)
    assert two["spread"] == 0.0
    assert_alike(two, one, 2, 0.01)


def overflow_in_the_second_of_two() -> dict:
    """How far weights go, and the scale of the loss, in two steps in 16 bits; in the first one device overflows."""
    from melanoma_tf import config, distribute
    from melanoma_tf.keras_compat import as_tensorflow, keras
    from melanoma_tf.train.step import build_train_step, step_seed
    from melanoma_tf.train.trainee import build_trainee

    distribute.make_deterministic()
    distribute.split_cpu(2)
    recipe = config.override(config.load_recipe("demo"), [*TINY, *FLIPS, "train.precision=mixed_float16"])
    strategy = distribute.make_strategy("mirrored")
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model, optimizer, _ = build_trainee(recipe)
    step = build_train_step(strategy, model, optimizer, recipe)
    random, found = np.random.default_rng(0), {"moved": [], "scale": []}
    images = [tf.constant(random.integers(0, 256, (4, 32, 32, 3)), tf.uint8) for _ in range(2)]

    def share(weight):
        return {"image": images[weight > 1], "meta": tf.zeros([4, 10]), "target": tf.constant([[0.0], [1], [0], [1]]),
                "weight": tf.fill([4], float(weight))}  # fmt: skip

    variables = [as_tensorflow(one) for one in model.trainable_variables]
    for number, second in enumerate((1e30, 1.0)):
        batch = strategy.experimental_distribute_values_from_function(
            lambda context, second=second: share(second if context.replica_id_in_sync_group else 1.0)
        )
        before = [one.numpy() for one in variables]
        step(batch, tf.constant(step_seed(1, "0", number)), tf.constant(0.01))
        moved = [float(np.abs(one.numpy() - old).max()) for one, old in zip(variables, before)]
        found["moved"].append(max(moved))
        scale = getattr(optimizer, "dynamic_scale", None)
        scale = optimizer.loss_scale if scale is None else as_tensorflow(scale)
        found["scale"].append(float(tf.convert_to_tensor(scale)))
    return {**found, "spread": spread(strategy, variables)}


def test_an_overflow_of_any_device_leaves_the_step_out_on_all():
    code = "import json; from tests.test_distribute import overflow_in_the_second_of_two as of; print(json.dumps(of()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["moved"][0] == 0 < found["moved"][1] < 0.1, found
    assert found["scale"][0] == found["scale"][1] == 2.0**14 and found["spread"] == 0, found


def assert_alike(got, want, replicas, tolerance=TOLERANCE):
    assert got["replicas"] == replicas and len(got["losses"]) == 6
    print("\n", got["losses"], "\n", want["losses"])
    np.testing.assert_allclose(got["losses"], want["losses"], rtol=tolerance)
    np.testing.assert_allclose(got["probability"], want["probability"], atol=tolerance)
    assert np.isfinite(got["probability"]).all()


@pytest.fixture(scope="module")
def two_devices(competition_original, tmp_path_factory):
    run = tmp_path_factory.mktemp("two") / "run"
    arguments = train_arguments(competition_original, run, "--strategy=mirrored", "--cpu_devices=2")
    done = subprocess.run(program(*arguments), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return run


def numbers(run):
    """History, out-of-fold and test predictions, as text without numbers and as numbers."""
    text = "\n".join(data.decode() for _, data in sorted(contents(run).items()))
    pattern = r"(?<=,)-?\d+\.\d+(?:e-?\d+)?"
    return re.sub(pattern, "#", text), np.array(re.findall(pattern, text), float)


def test_two_processes_make_the_run_of_two_devices_and_the_chief_alone_writes_it(
    competition_original, two_devices, tmp_path
):
    """With BatchNormalization at work. The second process is given the same folder and writes nothing there."""
    run = tmp_path / "run"
    command = program(*train_arguments(competition_original, run, "--strategy=multi_worker"))
    for _, err, code in both(command):
        assert code == 0, err
    assert not list(run.glob("**/*.part*"))
    (text, got), (expected, want) = numbers(run), numbers(two_devices)
    assert text == expected
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_two_devices_go_on_within_an_epoch_to_the_same_bits(competition_original, two_devices, tmp_path):
    run = tmp_path / "run"
    more = ("--strategy=mirrored", "--cpu_devices=2", "--set=train.checkpoint_minutes=0", "--fold=0")
    command = program(*train_arguments(competition_original, run, *more))
    process = start(command)
    wait_for(lambda: (run / "fold_0" / "checkpoint" / "000002").exists(), process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=400)
    assert process.returncode == 75
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "continuing at epoch" in done.stderr, done.stderr
    assert contents(run / "fold_0") == contents(two_devices / "fold_0")


def test_a_stop_of_one_process_stops_both_and_they_go_on_together(competition_original, two_devices, tmp_path):
    """SIGTERM to the second one alone; the chief's checkpoint is what both continue from."""
    run, ports = tmp_path / "run", free_ports(2)
    more = ("--fold=0", "--set=train.checkpoint_minutes=0")
    command = program(*train_arguments(competition_original, run, "--strategy=multi_worker", *more))
    processes = [start(command, tf_config(ports, index)) for index in (0, 1)]
    wait_for(lambda: (run / "fold_0" / "checkpoint" / "000001").exists(), processes[0])
    processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        _, err = process.communicate(timeout=400)
        assert process.returncode == 75 and "the same command continues" in err, err
    for _, err, code in both(command):
        assert code == 0 and "continuing at epoch" in err, err
    for name in ("history.csv", "oof.csv", "test.csv"):
        got, want = (pd.read_csv(folder / "fold_0" / name) for folder in (run, two_devices))
        columns = [column for column in got if not column.endswith(("seconds", "_per_second"))]
        pd.testing.assert_frame_equal(got[columns], want[columns], rtol=1e-4, atol=1e-5)


HOSTS = ["a:1", "b:2"]


@pytest.mark.parametrize(
    "text, message", [
        ("{", "is not JSON"),
        ("[]", "has another form"),
        ("{}", "lacks 'cluster'"),
        (json.dumps({"cluster": {"worker": HOSTS}}), "lacks 'task'"),
        (json.dumps({"cluster": {"worker": HOSTS}, "task": {"type": "worker"}}), "lacks 'index'"),
        (json.dumps({"cluster": {"worker": HOSTS}, "task": {"type": "worker", "index": 2}}), "the task is worker 2"),
        (json.dumps({"cluster": {"ps": HOSTS}, "task": {"type": "ps", "index": 0}}), "names the job 'ps'"),
        (json.dumps({"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}), "'a' is no address"),
        (json.dumps({"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}), "a:1 twice"),
    ]
)  # fmt: skip
def test_a_tf_config_that_is_none(text, message):
    with pytest.raises(UserError, match=re.escape(message)):
        cluster.read_cluster(text)


def test_a_chief_of_its_own_comes_first():
    hosts = {"worker": HOSTS, "chief": ["c:3"]}
    read = cluster.read_cluster(json.dumps({"cluster": hosts, "task": {"type": "worker", "index": 1}}))
    assert read == cluster.Cluster(("c:3", "a:1", "b:2"), 2)


def meet(ports, indices, seconds):
    """What each of `indices` got: None or the error's text."""
    answers = {}

    def wait(index):
        try:
            answers[index] = cluster.wait_for_cluster(cluster.read_cluster(tf_config(ports, index)), seconds)
        except UserError as error:
            answers[index] = str(error)

    threads = [threading.Thread(target=wait, args=(index,)) for index in indices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


def test_a_cluster_meets():
    assert meet(free_ports(3), [2, 1, 0], 30) == {0: None, 1: None, 2: None}


def test_who_is_missing_is_told_to_all():
    ports = free_ports(3)
    answers = meet(ports, [0, 1], 1)
    assert f"no answer from localhost:{ports[2]} within 1 s" in answers[0] and answers[1] == answers[0]
    assert "(the chief)" in meet(ports, [1], 0.5)[1]


def test_a_stranger_at_the_port_is_no_worker():
    ports = free_ports(2)
    stop = threading.Event()

    def knock():
        while not stop.is_set():
            try:
                with socket.create_connection(("localhost", ports[0]), 1) as connection:
                    connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            except OSError:
                time.sleep(0.05)

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        assert "no answer" in meet(ports, [0], 1)[0]
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    "text, flags, message", [
        ("{", ["--strategy=multi_worker"], "is not JSON"),
        (None, ["--strategy=multi_worker"], "needs TF_CONFIG"),
        ("dead", ["--connect_seconds=1"], "no answer from localhost:"),
        (None, ["--strategy=tpu"], "no TPU"),
        (None, ["--strategy=miror"], "did you mean 'mirrored'"),
    ]
)  # fmt: skip
def test_devices_that_are_not_there_are_one_line(competition_original, tmp_path, text, flags, message):
    text = tf_config(free_ports(2), 0) if text == "dead" else text
    process = start(program(*train_arguments(competition_original, tmp_path / "run", *flags)), text)
    _, err = process.communicate(timeout=400)
    assert process.returncode == 2 and message in err and len(err.splitlines()) == 1, err
    assert not (tmp_path / "run").exists()


def test_one_mirrored_device_is_fine(competition_original, tmp_path, run_command):
    arguments = train_arguments(competition_original, tmp_path / "run", "--strategy=mirrored", "--fold=0")
    code, _, err = run_command(*arguments, "--set=train.epochs=1")
    assert code == 0, err
