"""What a training step takes of memory and time: whole, in parts, and with activations computed again.

    python benchmarks/memory.py [--backbone=efficientnet_b0] [--size=256] [--batch=32] [--precision=float32]

From the root of a checkout, on quiet cores. Each way is a process of its own with a few of the package's training
steps, without augmentation. `step_mb` is the highest resident memory of the process less the highest before its first
step, so the working space of convolutions and the compiler's own is in it; `estimated_mb` is what `--dry_run` says of
activations. Prints one JSON object last.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

WAYS = {
    "whole": [],
    "accumulation_4": ["train.accumulation=4"],
    "rematerialize": ["model.rematerialize=true"],
    "both": ["train.accumulation=4", "model.rematerialize=true"],
}
STEPS = 4  # the first compiles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="efficientnet_b0")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options)))
        return
    found = {}
    for way in WAYS:
        done = subprocess.run([sys.executable, __file__, *sys.argv[1:], f"--way={way}"], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{way}: {done.stderr.splitlines()[-1]}")
        found[way] = json.loads(done.stdout.splitlines()[-1])
        print(f"{way:<16}{found[way]}", flush=True)
    whole = found["whole"]
    ratios = {f"{name}_of_whole": round(found["rematerialize"][name] / whole[name], 3) for name in whole}
    print(json.dumps({"backbone": options.backbone, "size": options.size, "batch": options.batch, **found, **ratios}))


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Of one way, in this process."""
    import tensorflow as tf

    from melanoma_tf.augment import OPS
    from melanoma_tf.config import Config, override
    from melanoma_tf.tables import METADATA_WIDTH
    from melanoma_tf.train import memory
    from melanoma_tf.train.step import build_train_step, step_seed
    from melanoma_tf.train.trainee import build_trainee

    off = [f"augment.{name}=0" for name in OPS]
    config = override(Config(), [
        f"model.backbone={options.backbone}", f"data.image_size={options.size}", f"train.batch_size={options.batch}",
        f"train.precision={options.precision}", *off, *WAYS[options.way],
    ])  # fmt: skip
    model, optimizer, _ = build_trainee(config)
    step = build_train_step(tf.distribute.get_strategy(), model, optimizer, config)
    shape = [options.batch, options.size, options.size, 3]
    images = tf.cast(tf.random.stateless_uniform(shape, [0, 1], 0, 256), tf.uint8)
    batch = {"image": images, "meta": tf.zeros([options.batch, METADATA_WIDTH]),
             "target": tf.zeros([options.batch, 1]), "weight": tf.ones([options.batch])}  # fmt: skip
    before, times = _peak_mb(), []
    for number in range(STEPS):
        began = time.monotonic()
        float(step(batch, tf.constant(step_seed(0, "0", number)), tf.constant(1e-4)))
        times.append(time.monotonic() - began)
    own = options.batch // config.train.accumulation
    estimated = own * memory.estimate(model, optimizer, config).image / 1e6
    return {"step_mb": round(_peak_mb() - before), "estimated_mb": round(estimated),
            "seconds": round(statistics.median(times[1:]), 3)}  # fmt: skip


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
