"""Patients and rows of the miniature: the competition's columns, blanks and habits, in small."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma_tf.tables import SEXES, SITES

TEST_COLUMNS = ["image_name", "patient_id", "sex", "age_approx", "anatom_site_general_challenge"]
TRAIN_COLUMNS = [*TEST_COLUMNS, "diagnosis", "benign_malignant", "target"]
SITE_PROBABILITY = (0.06, 0.15, 0.25, 0.51, 0.02, 0.01)  # in the order of SITES, about as in the 2020 data
BENIGN_DIAGNOSES = ("unknown", "nevus", "seborrheic keratosis", "lentigo NOS")
BENIGN_PROBABILITY = (0.80, 0.16, 0.03, 0.01)
MELANOMA_SHARE = 0.12  # 1.76 % in the competition; six melanomas of 300 would give no AUC to speak of
MELANOMA_PATIENTS = 0.4  # of the patients, so that every fold of patients has some
SIZES = ((640, 480), (600, 450), (480, 360), (512, 512))  # width, height
SMALL_SIZE = (100, 75)  # one photograph has to be enlarged
BLANK_SITE = 0.02


@dataclass(frozen=True)
class Split:
    """Train or test.

    Attributes:
      table: one row an image, sorted by image_name, with TRAIN_COLUMNS.
      looks: int[N], number of the patient whose skin is drawn.
      drawings: int[N], number of the drawing; two rows share one where they are duplicates.
      sizes: N times (width, height).
      duplicates: pairs of image names.
    """

    table: pd.DataFrame
    looks: np.ndarray
    drawings: np.ndarray
    sizes: list[tuple[int, int]]
    duplicates: list[tuple[str, str]]


def make_split(
    random: np.random.Generator,
    *,
    patient_ids: list[str],
    image_names: list[str],
    first_look: int,
    duplicate: bool,
) -> Split:
    """Draws the rows of one split.

    Args:
      patient_ids: every one gets at least one image. image_names: sorted.
      first_look: number of the first patient's look, the others follow.
      duplicate: whether one benign photograph comes twice, under two patients.
    """
    count = len(image_names)
    patients = _patients(random, patient_ids)
    owner = _owners(random, len(patient_ids), count)
    target = _targets(random, owner, len(patient_ids))
    table = patients.iloc[owner].reset_index(drop=True)
    table.insert(0, "image_name", image_names)
    table["anatom_site_general_challenge"] = _sites(random, count)
    benign = random.choice(BENIGN_DIAGNOSES, size=count, p=BENIGN_PROBABILITY)
    table["diagnosis"] = np.where(target == 1, "melanoma", benign)
    table["benign_malignant"] = np.where(target == 1, "malignant", "benign")
    table["target"] = target
    sizes = _sizes(random, count)
    looks, drawings = first_look + owner, np.arange(count)
    duplicates = []
    if duplicate:
        first, second = _pair(random, owner, target, sizes)
        looks[second], drawings[second] = looks[first], drawings[first]
        duplicates = [(image_names[first], image_names[second])]
    return Split(table[TRAIN_COLUMNS], looks, drawings, sizes, duplicates)


def _patients(random: np.random.Generator, patient_ids: list[str]) -> pd.DataFrame:
    """One row a patient; the last one of a random order lacks sex and age, as two do in the competition."""
    count = len(patient_ids)
    table = pd.DataFrame({"patient_id": patient_ids})
    table["sex"] = random.choice(SEXES, size=count).astype(object)
    table["age_approx"] = np.clip(5 * np.round(random.normal(49, 15, count) / 5), 15, 85)
    blank = random.integers(count)
    table.loc[blank, "sex"] = None
    table.loc[blank, "age_approx"] = np.nan
    return table


def _owners(random: np.random.Generator, patients: int, images: int) -> np.ndarray:
    """int[images]: whose image it is; one for everybody, the rest spread unevenly, as in the competition."""
    weight = random.gamma(1.5, size=patients)
    rest = random.choice(patients, size=images - patients, p=weight / weight.sum())
    return random.permutation(np.concatenate([np.arange(patients), rest]))


def _targets(random: np.random.Generator, owner: np.ndarray, patients: int) -> np.ndarray:
    """int[images]: melanomas dealt out in turn to the images of some of the patients."""
    wanted = max(3, round(MELANOMA_SHARE * len(owner)))
    chosen = random.permutation(patients)[: max(3, round(MELANOMA_PATIENTS * patients))]
    order = random.permutation(len(owner))
    turn = pd.Series(owner[order]).groupby(owner[order]).cumcount().to_numpy()
    eligible = np.isin(owner[order], chosen)
    target = np.zeros(len(owner), np.int64)
    target[order[np.lexsort((turn, ~eligible))][:wanted]] = 1
    return target


def _sites(random: np.random.Generator, count: int) -> np.ndarray:
    sites = random.choice(SITES, size=count, p=SITE_PROBABILITY).astype(object)
    blank = random.permutation(count)[: max(1, round(BLANK_SITE * count))]
    sites[blank] = None
    return sites


def _sizes(random: np.random.Generator, count: int) -> list[tuple[int, int]]:
    """Sizes by chance alone: in the competition they give the label away (AUC 0.776), here they must not."""
    sizes = [SIZES[choice] for choice in random.integers(len(SIZES), size=count)]
    sizes[random.integers(count)] = SMALL_SIZE
    return sizes


def _pair(
    random: np.random.Generator, owner: np.ndarray, target: np.ndarray, sizes: list[tuple[int, int]]
) -> tuple[int, int]:
    """Two benign images of different patients, neither the small one; they get the same size."""
    usable = [row for row in random.permutation(len(owner)) if target[row] == 0 and sizes[row] != SMALL_SIZE]
    first = int(usable[0])
    second = next(int(row) for row in usable if owner[row] != owner[first])
    sizes[second] = sizes[first]
    return min(first, second), max(first, second)
