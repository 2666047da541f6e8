"""Lays the miniature out as the competition's download is laid out."""

from __future__ import annotations

import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from melanoma_tf import dicom, schema
from melanoma_tf.data.shards import write_shard
from melanoma_tf.errors import UserError
from melanoma_tf.files import make_folder, write_whole
from melanoma_tf.miniature.overlays import draw_photograph
from melanoma_tf.miniature.skin import draw_patient_look
from melanoma_tf.miniature.tables import TEST_COLUMNS, Split, make_split

SHARDS = {"train": 4, "test": 2}
SHARD_SIDE = 256
JPEG_QUALITY = 85
WORKERS = 2
SMALLEST = 8  # patients and images of a split: below, three folds with melanomas cannot be made


def make_miniature(
    out: Path,
    *,
    seed: int = 2020,
    patients: int = 60,
    images: int = 300,
    test_patients: int = 20,
    test_images: int = 80,
) -> None:
    """Draws a competition and writes CSV, DICOM, JPEG and TFRecord files under `out`.

    The same arguments give the same bytes in every file, with the same versions of numpy, Pillow and pydicom.

    Args:
      out: a folder that is absent or empty.
      patients, images: of the training set, images >= patients; test_patients, test_images: of the test set.

    Raises: UserError when `out` holds something, when the counts make no competition, or without pydicom.
    """
    out = Path(out)
    _check(out, patients, images, test_patients, test_images)
    names, ids = _names(seed, images + test_images, patients + test_patients)
    train = make_split(
        np.random.default_rng([seed, 1]),
        patient_ids=ids[:patients],
        image_names=sorted(names[:images]),
        first_look=0,
        duplicate=True,
    )
    test = make_split(
        np.random.default_rng([seed, 2]),
        patient_ids=ids[patients:],
        image_names=sorted(names[images:]),
        first_look=patients,
        duplicate=False,
    )
    for split_name, split in (("train", train), ("test", test)):
        _write_photographs(out, split_name, split, seed)
    _write_tables(out, train, test)


def _check(out: Path, patients: int, images: int, test_patients: int, test_images: int) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there and not empty; name a new folder for the miniature")
    for split, of_patients, of_images in (("train", patients, images), ("test", test_patients, test_images)):
        if of_patients < SMALLEST or of_images < of_patients:
            raise UserError(
                f"{of_patients} {split} patients, {of_images} images: valid are {SMALLEST} patients or more "
                "and at least as many images as patients"
            )


def _names(seed: int, images: int, patients: int) -> tuple[list[str], list[str]]:
    """Image names and patient ids, unique over train and test, in random order."""
    random = np.random.default_rng([seed, 0])
    image_numbers = random.choice(9_999_999, size=images, replace=False) + 1
    patient_numbers = random.choice(9_999_999, size=patients, replace=False) + 1
    return [f"ISIC_{number:07d}" for number in image_numbers], [f"IP_{number:07d}" for number in patient_numbers]


def _write_photographs(out: Path, split_name: str, split: Split, seed: int) -> None:
    for folder in (out / split_name, out / "jpeg" / split_name, out / "tfrecords"):
        make_folder(folder)
    with ThreadPoolExecutor(WORKERS) as pool:  # numpy and Pillow release the interpreter's lock
        work = [pool.submit(_write_photograph, out, split_name, split, seed, row) for row in range(len(split.table))]
        small = [photograph.result() for photograph in work]
    _write_shards(out / "tfrecords", split_name, split.table, small)


def _write_photograph(out: Path, split_name: str, split: Split, seed: int, row: int) -> bytes:
    """Writes the DICOM and the JPEG file of one row; returns the small JPEG that goes into a shard."""
    facts = split.table.iloc[row]
    look_number = int(split.looks[row])
    look = draw_patient_look(np.random.default_rng([seed, 3, look_number]))
    random = np.random.default_rng([seed, 4, look_number, int(split.drawings[row])])
    image = Image.fromarray(draw_photograph(random, split.sizes[row], look, int(facts["target"])))
    jpeg = _encode(image)
    name = facts["image_name"]
    write_whole(out / "jpeg" / split_name / f"{name}.jpg", jpeg)
    dicom.write_photograph(
        out / split_name / f"{name}.dcm",
        jpeg,
        rows=image.height,
        columns=image.width,
        image_name=name,
        patient_id=facts["patient_id"],
        sex=_or_none(facts["sex"]),
        age=_or_none(facts["age_approx"]),
        site=_or_none(facts["anatom_site_general_challenge"]),
    )
    return _encode(image.resize((SHARD_SIDE, SHARD_SIDE), Image.Resampling.LANCZOS))


def _or_none(value: Any) -> Any:
    return None if pd.isna(value) else value


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:2")  # what DICOM calls YBR_FULL_422
    return buffer.getvalue()


def _write_shards(folder: Path, split_name: str, table: pd.DataFrame, small: list[bytes]) -> None:
    """Shards in the official dialect, named with their count; test records carry no target."""
    for shard in range(SHARDS[split_name]):
        rows = range(shard, len(table), SHARDS[split_name])
        path = folder / f"{split_name}{shard:02d}-{len(rows)}.tfrec"
        write_shard(path, _records(split_name, table, small, rows))


def _records(split_name: str, table: pd.DataFrame, small: list[bytes], rows: Iterable[int]) -> Iterable[bytes]:
    for row in rows:
        target = int(table["target"].iloc[row]) if split_name == "train" else None
        yield schema.encode_record(small[row], table["image_name"].iloc[row], target)


def _write_tables(out: Path, train: Split, test: Split) -> None:
    submission = test.table[["image_name"]].assign(target=0)
    tables = {
        "train.csv": train.table,
        "test.csv": test.table[TEST_COLUMNS],
        "test_solution.csv": test.table[["image_name", "target"]],
        "sample_submission.csv": submission,
        "duplicates.csv": pd.DataFrame(train.duplicates, columns=["image_name_1", "image_name_2"]),
    }
    for name, table in tables.items():
        write_whole(out / name, table.to_csv(index=False, lineterminator="\n"))
