"""What each ingredient of a recipe brings, cross-validated, with paired intervals; the test set is never looked at.

    python benchmarks/ablation.py --data_dir=SHARDS --out=FOLDER [--config=ham10000_b0_128] [--folds=2]
        [--only=recipe,ema] [--set train.epochs=4 ...]

Trains the recipe on each fold once for every way of `WAYS`, one ingredient changed, through the program itself; a run
that is there is not trained again, so the same command goes on where it was cut. Differences are of out-of-fold AUC,
paired by image, with intervals over patients (HAM10000: lesions). No correction for the number of ways: of twenty that
bring nothing one will seem to. Prints one JSON object last.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

WAYS: dict[str, list[str]] = {
    "recipe": [],
    "ema": ["train.ema=0.99"],
    "swa": ["train.swa_epochs=2"],
    "nine_classes": ["model.target=diagnosis9", "train.loss=categorical_cross_entropy"],
    "focal": ["train.loss=focal", "train.label_smoothing=0"],
    "no_smoothing": ["train.label_smoothing=0"],
    "gem": ["model.pooling=gem"],
    "layer_decay": ["train.layer_decay=0.8"],
    "frozen_stages": ["train.frozen_stages=2"],
    "frozen_statistics": ["model.batch_norm=frozen"],
    "exponential": ["train.schedule=exponential", "train.decay_per_epoch=0.5"],
    "one_cycle": ["train.schedule=one_cycle"],
    "sharpness_aware": ["train.sam_rho=0.05"],
    "metadata": ["model.metadata=true"],
    "melanoma_twice": ["data.melanoma_repeat=2"],
    "progressive": ["data.progressive_sizes=64"],
    "pseudo_labels": ["data.pseudo_labels={out}/recipe"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", default="ham10000_b0_128")
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--only", default=",".join(WAYS))
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    folds = options.out / "folds.csv"
    if not folds.exists():
        program("folds", f"--train_csv={options.data_dir}/train.csv", f"--out={folds}", f"--folds={options.folds}")
    found = {}
    for way in dict.fromkeys(["recipe", *options.only.split(",")]):
        train(options, way, folds)
        found[way] = judged(options, way)
        print(f"{way:<20}{found[way]}", flush=True)
    print(json.dumps({"config": options.config, "set": options.set, "folds": options.folds, "ways": found}))


def program(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "melanoma_tf", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)


def train(options: argparse.Namespace, way: str, folds: Path) -> None:
    if (options.out / way / "oof.csv").exists():
        return
    settings = [f"--set={one}" for one in ("predict.views=1", *options.set, *WAYS[way])]
    settings = [one.format(out=options.out) for one in settings]
    program("train", f"--config={options.config}", f"--data_dir={options.data_dir}", f"--work_dir={options.out / way}",
            f"--folds={folds}", *settings)  # fmt: skip


def judged(options: argparse.Namespace, way: str) -> dict:
    """AUC, its difference from the recipe's, both with intervals, and the seconds of training."""
    from melanoma_tf import metrics, paired, predictions

    one, recipe = (predictions.read_predictions(options.out / name / "oof.csv") for name in (way, "recipe"))
    one = one.aligned(recipe.image_name)
    table = pd.read_csv(Path(options.data_dir) / "train.csv").set_index("image_name").loc[recipe.image_name]
    target, patients = table["target"].to_numpy(), table["patient_id"].to_numpy()
    histories = map(pd.read_csv, sorted((options.out / way).glob("fold_*/history.csv")))
    found = {"auc": metrics.auc_interval(target, one.probability, patients),
             "difference": paired.auc_difference(target, recipe.probability, one.probability, patients)}  # fmt: skip
    rounded = {key: np.round([value.value, value.low, value.high], 4).tolist() for key, value in found.items()}
    return rounded | {"seconds": round(sum(history["seconds"].sum() for history in histories))}


if __name__ == "__main__":
    main()
