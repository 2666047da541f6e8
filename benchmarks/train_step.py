"""One training step of EfficientNet-B0, against Keras' `model.fit` and against PyTorch.

    python benchmarks/train_step.py [--size=128] [--batch=32] [--rounds=7] [--peers=torch,keras_fit]
    python benchmarks/train_step.py --profile

From the root of a checkout, on quiet cores. Each peer is a process of its own that is stopped while another one is
timed; PyTorch lives in an environment of its own, `.venv-bench-torch`, made here where it is missing, since it is no
dependency of the project. The same images and labels, binary cross entropy, Adam, float32 unless told otherwise:
forward, loss, backward, update. torchvision's network is timed in both memory layouts and the faster one counts;
Keras' without XLA, the faster way on a CPU. Alternating, medians of images/s; prints one JSON object last.
`share_of_matrix_peak`: floating point operations of convolutions and dense layers, forward and twice that backward,
over what a large float32 matrix product reaches in the same process. With --profile nothing is compared: seconds by
kernel of one step of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

TORCH_ENVIRONMENT = ROOT / ".venv-bench-torch"
TORCH_PACKAGES = ("torch", "torchvision", "numpy")
READY = "ready"


def draw(size: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8[batch,size,size,3] and float32[batch,1]: the same for every peer."""
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    return images, (random.random((batch, 1)) < 0.2).astype(np.float32)


def ours(size: int, batch: int, precision: str) -> Callable[[int], None]:
    """The package's own step, with augmentation of strength 0."""
    step, arguments = build_ours(size, batch, precision)

    def run(steps: int) -> None:
        for _ in range(steps):
            loss = step(*arguments)
        loss.numpy()

    return run


def build_ours(size: int, batch: int, precision: str) -> tuple[Callable, tuple]:
    import tensorflow as tf

    from melanoma_tf.augment import OPS
    from melanoma_tf.config import AugmentConfig, Config, DataConfig, TrainConfig, override
    from melanoma_tf.train.step import build_train_step
    from melanoma_tf.train.trainee import build_trainee

    config = Config(data=DataConfig(image_size=size), train=TrainConfig(batch_size=batch, label_smoothing=0.0),
                    augment=AugmentConfig(**dict.fromkeys(OPS, 0.0)))  # fmt: skip
    if precision != "float32":
        config = override(config, [f"train.precision={precision}"])
    model, optimizer, _ = build_trainee(config)
    step = build_train_step(tf.distribute.get_strategy(), model, optimizer, config)
    images, target = draw(size, batch)
    data = {"image": tf.constant(images), "target": tf.constant(target), "weight": tf.ones(batch),
            "meta": tf.zeros((batch, model.input["meta"].shape[1]))}  # fmt: skip
    return step, (data, tf.constant([1, 2]), tf.constant(1e-4))


def keras_fit(size: int, batch: int, precision: str) -> Callable[[int], None]:
    """`model.fit` of Keras' own EfficientNet-B0."""
    import tensorflow as tf

    keras = tf.keras
    keras.mixed_precision.set_global_policy(precision)
    backbone = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(size, size, 3))
    features = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(backbone.output))
    model = keras.Model(backbone.input, keras.layers.Dense(1, dtype="float32")(features))
    model.compile(keras.optimizers.Adam(1e-4), keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False)
    images, target = draw(size, batch)
    one = tf.data.Dataset.from_tensors((images.astype(np.float32), target)).cache()

    def run(steps: int) -> None:
        model.fit(one.repeat(steps), epochs=1, steps_per_epoch=steps, verbose=0)

    return run


def torch_step(size: int, batch: int, precision: str, channels_last: bool) -> Callable[[int], None]:
    """torchvision's EfficientNet-B0."""
    import torch
    import torchvision

    layout = torch.channels_last if channels_last else torch.contiguous_format
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = torchvision.models.efficientnet_b0(num_classes=1).to(device, memory_format=layout).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    images, target = draw(size, batch)
    inputs = torch.from_numpy(images.transpose(0, 3, 1, 2) / np.float32(255)).to(device, memory_format=layout)
    labels = torch.from_numpy(target).to(device)
    kind = {"mixed_bfloat16": torch.bfloat16, "mixed_float16": torch.float16}.get(precision)

    def run(steps: int) -> None:
        for _ in range(steps):
            with torch.autocast(device.type, kind, enabled=kind is not None):
                logits = model(inputs)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        loss.item()

    return run


BUILDERS: dict[str, Callable[[int, int, str], Callable[[int], None]]] = {
    "ours": ours,
    "keras_fit": keras_fit,
    "torch": lambda *shape: torch_step(*shape, False),
    "torch_channels_last": lambda *shape: torch_step(*shape, True),
}


def serve(options: argparse.Namespace) -> None:
    """A peer's process: a number of steps on standard input, seconds on standard output."""
    run = BUILDERS[options.serve](options.size, options.batch, options.precision)
    run(3)  # traces, compiles, chooses kernels
    print(READY, flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        run(int(line))
        print(time.perf_counter() - start, flush=True)


class Peer:
    """A process that is timed in turns."""

    def __init__(self, name: str, python: Path | str, options: argparse.Namespace):
        command = [str(python), __file__, f"--serve={name}", f"--size={options.size}", f"--batch={options.batch}",
                   f"--precision={options.precision}"]  # fmt: skip
        quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet)
        assert self.process.stdin and self.process.stdout
        self.ask, self.answers = self.process.stdin, self.process.stdout
        while (line := self.answers.readline()).strip() != READY:
            if not line:
                raise SystemExit(f"the process of {name} ended before it was ready")

        self.process.send_signal(signal.SIGSTOP)  # idle threads of some libraries spin

    def seconds(self, steps: int) -> float:
        self.process.send_signal(signal.SIGCONT)
        print(steps, file=self.ask, flush=True)
        taken = float(self.answers.readline())
        self.process.send_signal(signal.SIGSTOP)
        return taken


def torch_python() -> Path:
    """Python of the environment with PyTorch, made where it is missing."""
    python = TORCH_ENVIRONMENT / "bin" / "python"
    done = TORCH_ENVIRONMENT / ".installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", str(TORCH_ENVIRONMENT)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *TORCH_PACKAGES], check=True)
        done.touch()
    return python


def matrix_gflops(side: int = 2048, repeats: int = 5) -> float:
    """Best of a few float32 products of TensorFlow, 1e9 operations per second."""
    import tensorflow as tf

    matrix = tf.random.stateless_uniform((side, side), [1, 2])
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        tf.reduce_sum(matrix @ matrix).numpy()
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds[1:]) / 1e9


def step_gflop(size: int) -> float:
    """1e9 floating point operations of one image's step: convolutions and dense layers, forward and twice backward."""
    from melanoma_tf.config import ModelConfig
    from melanoma_tf.models import build_model
    from melanoma_tf.models.pretrained import flat_layers

    total = 0
    for layer in flat_layers(build_model(ModelConfig(), size)):
        kernel = next((weight for weight in layer.weights if "kernel" in weight.name), None)
        if kernel is not None:
            places = int(np.prod(layer.output.shape[1:-1]))
            total += 2 * int(np.prod(kernel.shape)) * places
    return 3 * total / 1e9


def profile(options: argparse.Namespace, steps: int = 3, shown: int = 25) -> dict[str, float]:
    """Milliseconds of one step by kind of kernel, slowest first; kernels overlap and add up to more."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    step, arguments = build_ours(options.size, options.batch, options.precision)
    for _ in range(3):
        step(*arguments)
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(steps):
                step(*arguments).numpy()
        space = xplane_pb2.XSpace.FromString(next(Path(folder).rglob("*.xplane.pb")).read_bytes())
    spent: Counter[str] = Counter()
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            name, colon, kind = plane.event_metadata[event.metadata_id].name.rpartition(":")
            if colon and not name.endswith(":"):  # `name of the node:kind of kernel`; the runtime's own have `::`
                spent[kind.partition("#")[0]] += event.duration_ps / 1e9 / steps
    for kind, milliseconds in spent.most_common(shown):
        print(f"{milliseconds:8.1f} ms  {kind}")
    return {kind: round(milliseconds, 2) for kind, milliseconds in spent.most_common(shown)}


def compare(options: argparse.Namespace) -> dict[str, object]:
    names = ["ours", *(name for name in options.peers.split(",") if name)]
    if "torch" in names:
        names.append("torch_channels_last")
    peers = {name: Peer(name, torch_python() if name.startswith("torch") else sys.executable, options)
             for name in names}  # fmt: skip
    rates: dict[str, list[float]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name, peer in peers.items():
            rates[name].append(options.steps * options.batch / peer.seconds(options.steps))
        print(f"round {number + 1}: " + ", ".join(f"{name} {rates[name][-1]:.1f}" for name in names), flush=True)
    for peer in peers.values():
        peer.process.kill()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    result: dict[str, object] = {"images_per_second": {name: round(rate, 1) for name, rate in medians.items()}}
    if "torch" in names:
        result[f"ratio_torch_{options.size}"] = round(
            medians["ours"] / max(medians["torch"], medians["torch_channels_last"]), 2)  # fmt: skip
    if "keras_fit" in names:
        result[f"ratio_keras_fit_{options.size}"] = round(medians["ours"] / medians["keras_fit"], 2)
    peak = matrix_gflops()
    return result | {"matrix_gflops": round(peak, 1),
                     "share_of_matrix_peak": round(medians["ours"] * step_gflop(options.size) / peak, 3)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=6, help="steps of one turn")
    parser.add_argument("--peers", default="keras_fit,torch")
    parser.add_argument("--precision", default="float32", help="float32, mixed_bfloat16 or mixed_float16")
    parser.add_argument("--profile", action="store_true", help="seconds by kernel instead")
    parser.add_argument("--serve", choices=sorted(BUILDERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    found = {"profile_ms": profile(options)} if options.profile else compare(options)
    import tensorflow as tf

    print(json.dumps({"tensorflow": tf.__version__, "size": options.size, "batch": options.batch,
                      "precision": options.precision, **found}))  # fmt: skip


if __name__ == "__main__":
    main()
