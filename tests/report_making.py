"""Run folders, tables and pictures of which reports are made in tests."""

import io
import json

import numpy as np
import pandas as pd
from PIL import Image

from melanoma_tf import config, metrics, paired
from melanoma_tf.predictions import Predictions

IMAGES, PATIENTS = 240, 60


def make_table():
    generator = np.random.default_rng(0)
    patient = np.arange(IMAGES) % PATIENTS
    return pd.DataFrame({
        "image_name": [f"ISIC_{number:04d}" for number in range(IMAGES)], "patient_id": [f"IP_{n}" for n in patient],
        "sex": np.where(patient % 2, "male", "female"), "age_approx": 30.0 + patient % 50,
        "anatom_site_general_challenge": np.where(patient % 3, "torso", None),
        "target": (generator.random(IMAGES) < 0.15).astype(int),
    })  # fmt: skip


def make_picture(color, size=(96, 64), kind="JPEG"):
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, kind)
    return buffer.getvalue()


def write_history(path, held_out, generator):
    epoch = np.arange(1, 4)
    columns = {"epoch": epoch, "learning_rate": 1e-3, "loss": 1 / epoch + generator.random(3) / 10, "images": 160}
    columns |= {"seconds": 4.0, "images_per_second": 40.0}
    if held_out:  # as `train` writes it: without images that are held out there are no such columns
        columns |= dict.fromkeys(("val_auc", "val_low", "val_high"), 0.7 + 0.05 * epoch)
    path.parent.mkdir(parents=True)
    pd.DataFrame(columns).to_csv(path, index=False)


def write_run(folder, table, fold_names=("0", "1", "2"), name="tiny", seed=1):
    generator = np.random.default_rng(seed)
    for fold in fold_names:
        write_history(folder / f"fold_{fold}" / "history.csv", fold != "all", generator)
        (folder / f"fold_{fold}" / "augmented.png").write_bytes(make_picture("pink", (64, 32), "PNG"))
    (folder / "config.json").write_text(json.dumps(config.to_json(config.Config(name=name))))
    record = {
        "command": "melanoma-tf train --config=tiny --data_dir=<here>", "versions": {"python": "3.11", "keras": "3.1"},
        "data_dir": "shards", "train_csv": "train.csv", "test_csv": None,
        "folds": {"path": "folds.csv", "sha256": "0123456789abcdef" * 4}, "fold_names": list(fold_names),
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    if fold_names != ("all",):
        probability = 1 / (1 + np.exp(3 - 2 * table["target"] - generator.normal(size=IMAGES)))
        fold = np.arange(IMAGES) % PATIENTS % 3
        Predictions(table["image_name"], probability, table["target"], fold).write(folder / "oof.csv")
    return folder


def context_record(table, seed=3):
    """What `melanoma-tf context --shortcuts` writes, of scores that are drawn."""
    generator = np.random.default_rng(seed)
    target, patients = table["target"].to_numpy(), table["patient_id"].to_numpy(str)
    before, after = (generator.normal(size=len(table)) + worth * target for worth in (1.0, 1.4))
    auc = lambda score: vars(metrics.auc_interval(target, score, patients))  # noqa: E731
    difference = vars(paired.auc_difference(target, before, after, patients))
    return {
        "auc": {"input": auc(before), "single": auc(before), "context": auc(after)}, "apparent": auc(after),
        "difference": difference, "difference_of_companions": difference,
        "matched": {"input": 0.7, "single": 0.71, "context": float("nan")},
        "count_told": {"input": 0.1, "context": 0.61},
        "shortcuts": {"alone": {"images_of_patient": 0.72}, "auc": auc(after), "difference": difference},
    }  # fmt: skip
