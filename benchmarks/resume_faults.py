"""kill -9 at random moments and file events of a training run, then the same command: is the result the same?

    python benchmarks/resume_faults.py [--kills=20]

From the root of a checkout with TensorFlow. The tiny model learns the miniature
competition in three folds and saves after every step. Every other kill comes at a random moment of the run; the others
at, right after or some milliseconds after a random change of the file system (folder made, file written through,
linked, renamed, removed), so in the middle of a save, between rename and clean-up, and while TensorFlow writes. Then
the same command is run to its end. A run is `equal` when weights, history but for its seconds, out-of-fold and test
predictions are those of the undisturbed run bit for bit. Prints one JSON object last.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

EVENTS = ("mkdir", "fsync", "link", "rename", "replace", "unlink", "rmdir")
WHEN = {"before": None, "after": 0.0, "later": 0.02}  # seconds from the event to the kill
TIMINGS = ["seconds", "images_per_second"]
FOLDS = 3
SLOW_TO_COMPILE = ("rotate", "shear", "zoom", "shift", "brightness", "contrast", "saturation")  # flips stay


def make_competition(folder: Path) -> Path:
    shards, download = folder / "shards", folder / "download"
    steps = [["melanoma_tf", "demo", f"--out={download}"]]
    for name in ("train", "test"):
        steps.append(["tfrecord_tools", "convert", f"--images={download / name}", f"--csv={download / name}.csv",
                      f"--out={shards}", "--size=64", "--shards=2"])  # fmt: skip
    steps.append(["melanoma_tf", "folds", f"--train_csv={shards}/train.csv", f"--folds={FOLDS}",
                  f"--duplicates={download}/duplicates.csv", f"--out={shards}/folds.csv"])  # fmt: skip
    for step in steps:
        subprocess.run([sys.executable, "-m", *step], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return shards


def train_arguments(shards: Path, run: Path) -> list[str]:
    settings = ["data.image_size=32", "train.epochs=2", "train.batch_size=32", "train.checkpoint_minutes=0",
                "predict.views=1", "train.select=best", *(f"augment.{op}=0" for op in SLOW_TO_COMPILE)]  # fmt: skip
    return ["train", "--config=demo", f"--data_dir={shards}", f"--work_dir={run}", "--cache=none",
            *(f"--set={setting}" for setting in settings)]  # fmt: skip


def child(event: int, when: str, arguments: list[str]) -> int:
    """Runs `melanoma-tf ARGUMENTS` and kills itself at the given event; prints the number of events where none is."""
    seen = [0]

    def counted(function):
        def call(*args, **kwargs):
            seen[0] += 1
            here = seen[0] == event
            if here and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **kwargs)
            if here:
                threading.Timer(WHEN[when], os.kill, (os.getpid(), signal.SIGKILL)).start()
            return result

        return call

    for name in EVENTS:
        setattr(os, name, counted(getattr(os, name)))
    from melanoma_tf import __main__

    sys.argv = ["melanoma-tf", *arguments]
    code = __main__.main()
    print(seen[0])
    return code


def start(event: int, when: str, arguments: list[str]) -> subprocess.Popen:
    command = [sys.executable, __file__, f"--event={event}", f"--when={when}", "--child", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> str:
    out, err = process.communicate()
    if process.returncode:
        sys.exit(f"a run that nobody disturbed ended with {process.returncode}: {err}")
    return out


def result(run: Path) -> dict[str, bytes]:
    """Everything that a run says, by file and, of weights, by tensor; without the seconds in it."""
    import h5py
    import pandas as pd

    found: dict[str, bytes] = {}
    for path in sorted(run.glob("**/*.csv")):
        name = str(path.relative_to(run))
        data = path.read_bytes()
        found[name] = data if path.stem != "history" else pd.read_csv(path).drop(columns=TIMINGS).to_csv().encode()
    for path in sorted(run.glob("fold_*/*.weights.h5")):
        with h5py.File(path) as file:
            keys: list[str] = []
            file.visit(keys.append)
            tensors = {key: file[key][()] for key in keys if isinstance(file[key], h5py.Dataset)}
        found |= {f"{path.relative_to(run)}:{key}": tensor.tobytes() for key, tensor in tensors.items()}
    return found


def where(run: Path) -> str:
    """What the kill left, for the log."""
    if not list(run.glob("fold_*")):
        return "before the first fold"
    parts = list(run.glob("fold_*/checkpoint/*.part")) + list(run.glob("**/.*.part"))
    folds = sum(1 for _ in run.glob("fold_*/finished.json"))
    return f"{'half a file' if parts else 'whole files'}, {folds} folds finished"


def kill_and_rerun(folder: Path, kills: int) -> dict[str, object]:
    shards = make_competition(folder)
    began = time.monotonic()
    events = int(finish(start(0, "before", train_arguments(shards, folder / "undisturbed"))).splitlines()[-1])
    seconds = time.monotonic() - began
    wanted, random = result(folder / "undisturbed"), np.random.default_rng(0)
    report = {"kills": kills, "equal": 0, "killed": 0, "left_half_a_file": 0, "events": events, "folds": FOLDS}
    for number in range(kills):
        run, when = folder / f"killed{number}", str(random.choice(list(WHEN)))
        event = int(random.integers(1, events + 1)) if number % 2 else 0
        process = start(event, when, train_arguments(shards, run))
        if not event:
            time.sleep(float(random.uniform(0.3, 1.0)) * seconds)
            process.kill()
        process.communicate()
        left = where(run)
        report["killed"] += process.returncode == -signal.SIGKILL
        report["left_half_a_file"] += left.startswith("half")
        finish(start(0, "before", train_arguments(shards, run)))
        equal = result(run) == wanted
        report["equal"] += equal
        print(f"kill {number + 1}/{kills} {f'{when} event {event}' if event else 'at a moment'}: {left}; "
              f"{'equal' if equal else 'DIFFERENT'}", file=sys.stderr, flush=True)  # fmt: skip
        shutil.rmtree(run)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--event", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--when", default="before", choices=WHEN, help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        return child(arguments.event, arguments.when, arguments.child)
    os.environ |= {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    with tempfile.TemporaryDirectory() as name:
        report = kill_and_rerun(Path(name), arguments.kills)
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
