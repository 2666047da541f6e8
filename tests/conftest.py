"""A competition small enough for a test: coloured noise whose redness tells the label, in the official layout."""

import dataclasses
import io
import os
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from melanoma_tf.config import AugmentConfig

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

SIZE = 32
TINY = [
    "data.image_size=32", "model.backbone=tiny", "train.epochs=2", "train.batch_size=8", "predict.batch_size=8",
    "predict.views=1", "train.learning_rate=0.01",
]  # fmt: skip

# For tests of other things: half of a short run is the compilation of the augmentation.
PLAIN = [f"augment.{one.name}=0" for one in dataclasses.fields(AugmentConfig) if isinstance(one.default, float)]
FLIPS = [*PLAIN, "augment.flip=1"]


def jpeg(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def lesion(name, target, size=SIZE):
    """uint8[size,size,3] noise, redder for melanoma."""
    random = np.random.default_rng([int(name[-7:]), int(target)])
    pixels = random.normal(120, 25, (size, size, 3)) + np.array([35 * target, 0, -20 * target])
    return pixels.clip(0, 255).astype(np.uint8)


def make_table(count, patients, first=0):
    random = np.random.default_rng(first)
    return pd.DataFrame({
        "image_name": [f"ISIC_{first + number:07d}" for number in range(count)],
        "patient_id": [f"IP_{first + number % patients:07d}" for number in range(count)],
        "sex": random.choice(["male", "female"], count),
        "age_approx": random.choice([30.0, 45.0, 60.0], count),
        "anatom_site_general_challenge": random.choice(["torso", "head/neck"], count),
    })  # fmt: skip


def write_shards(folder, prefix, table, targets, shards=2):
    from melanoma_tf import schema
    from melanoma_tf.data.shards import write_shard

    for number, part in enumerate(np.array_split(np.arange(len(table)), shards)):
        records = []
        for row in part:
            name = table["image_name"][row]
            target = None if targets is None else int(targets[row])
            records.append(schema.encode_record(jpeg(lesion(name, target or 0)), name, target))
        write_shard(folder / f"{prefix}{number:02d}-{len(part)}.tfrec", records)


@pytest.fixture(scope="session")
def competition_original(tmp_path_factory):
    from melanoma_tf import folds, tables

    folder = tmp_path_factory.mktemp("competition")
    table = make_table(48, 16)
    table["diagnosis"], table["benign_malignant"] = "unknown", "benign"
    table["target"] = (np.arange(48) % 16 < 6).astype(int)
    table.to_csv(folder / "train.csv", index=False)
    write_shards(folder, "train", table, table["target"])
    test = make_table(11, 4, first=500)
    test.to_csv(folder / "test.csv", index=False)
    write_shards(folder, "test", test, None)
    pd.DataFrame({"image_name": test["image_name"], "target": 0}).to_csv(folder / "sample_submission.csv", index=False)
    read = tables.read_table(folder / "train.csv", target=True)
    folds.write_folds(folder / "folds.csv", read, folds.make_folds(read, 2, seed=0))
    return folder


@pytest.fixture
def competition(competition_original, tmp_path):
    """A copy that the test may damage."""
    return shutil.copytree(competition_original, tmp_path / "competition")


@pytest.fixture
def run_command(monkeypatch, capfd):
    """Runs `melanoma-tf ARGUMENTS` in this process; gives (exit code, standard output, lines on standard error)."""
    from melanoma_tf import __main__

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["melanoma-tf", *map(str, arguments)])
        capfd.readouterr()
        code = __main__.main()
        out, err = capfd.readouterr()
        return code, out, [line for line in err.splitlines() if line.strip()]

    return run


def settings(*more):
    return [f"--set={setting}" for setting in [*TINY, *more]]
