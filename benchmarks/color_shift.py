"""How much of a run's AUC survives when only the colours of its validation images become those of another source.

    python benchmarks/color_shift.py --data_dir=SHARDS --fold=0 --runs RUN [RUN ...]

Needs no truth of the other source: its images (`test*.tfrec`) give colours, the validation images keep their labels.
Each validation image takes the mean colour of a random image of the other source (mean-shifted), or its mean and its
deviation per channel (matched; Reinhard et al. 2001, in RGB), measured without a border of an eighth, where vignettes
are.
Prints one JSON object last.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from melanoma_tf import command_line, folds, metrics

BATCH = 64
MAX_STRETCH = 2.5  # of a channel's deviation, so that a flat image does not become noise


def read_pixels(images, rows: np.ndarray, size: int) -> np.ndarray:
    """float32[n,S,S,3] in [0, 1] of the rows, in their order."""
    from melanoma_tf.data.pipeline import eval_dataset

    pixels = np.zeros((len(images), size, size, 3), np.uint8)
    for batch in eval_dataset(images, rows, image_size=size, batch_size=64).as_numpy_iterator():
        real = batch["row"] >= 0
        pixels[batch["row"][real]] = batch["image"][real]
    return pixels[rows].astype(np.float32) / 255


def mean_color(pixels: np.ndarray) -> list[float]:
    """Red, green and blue; image by image first, as one float32 sum of so many pixels stops growing at 2 ** 24."""
    return pixels.mean((1, 2)).mean(0, dtype=np.float64).round(3).tolist()


def recolored(pixels: np.ndarray, other: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """The images as they are, mean-shifted and matched to a random image of `other` each."""
    chosen = other[np.random.default_rng(seed).integers(0, len(other), len(pixels))]
    border = pixels.shape[1] // 8
    inner = np.s_[:, border:-border, border:-border]
    mean, wanted_mean = (x[inner].mean((1, 2), keepdims=True) for x in (pixels, chosen))
    deviation, wanted = (x[inner].std((1, 2), keepdims=True) for x in (pixels, chosen))
    stretch = np.clip(wanted / deviation, 1 / MAX_STRETCH, MAX_STRETCH)
    return {
        "clean": pixels,
        "mean_shifted": np.clip(pixels - mean + wanted_mean, 0, 1),
        "matched": np.clip((pixels - mean) * stretch + wanted_mean, 0, 1),
    }


def score(run: str, fold: int, variants: dict[str, np.ndarray], target: np.ndarray) -> dict[str, float]:
    """Exact AUC of the run's model of that fold on every variant, one view an image."""
    import tensorflow as tf

    from melanoma_tf import predict
    from melanoma_tf.tables import METADATA_WIDTH

    model = predict.load_fold_model(Path(run) / f"fold_{fold}", predict.load_config(run))
    specification = tf.TensorSpec([None, *variants["clean"].shape[1:]], tf.float32)

    @tf.function(input_signature=[specification])
    def logits(images):
        meta = tf.zeros([tf.shape(images)[0], METADATA_WIDTH])
        return model({"image": images, "meta": meta}, training=False)[:, 0]

    found = {}
    for name, pixels in variants.items():
        batches = [logits(pixels[start : start + BATCH]).numpy() for start in range(0, len(pixels), BATCH)]
        found[name] = round(metrics.roc_auc(target, np.concatenate(batches)), 4)
    print(f"{run}: {found}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--runs", nargs="+", required=True)
    arguments = parser.parse_args()
    command_line.import_tensorflow_quietly()
    from melanoma_tf import predict
    from melanoma_tf.data.image_set import load_image_set

    size = predict.load_config(arguments.runs[0]).data.image_size
    train, other = (
        load_image_set(arguments.data_dir, f"{arguments.data_dir}/{name}.csv", name, target=name == "train")
        for name in ("train", "test")
    )
    rows = np.flatnonzero(folds.read_folds(f"{arguments.data_dir}/folds.csv", train.table) == arguments.fold)
    pixels, colours = read_pixels(train, rows, size), read_pixels(other, np.arange(len(other)), size)
    variants = recolored(pixels, colours)
    report: dict = {"images": len(rows), "mean_color": mean_color(pixels), "mean_color_other": mean_color(colours)}
    report["auc"] = {run: score(run, arguments.fold, variants, train.target[rows]) for run in arguments.runs}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
