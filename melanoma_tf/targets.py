"""What a model is asked for: melanoma or not, or the diagnosis among several, from the tables' column `diagnosis`.

Melanoma is the first class of every target, so that its probability is the same column everywhere.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from melanoma_tf.errors import UserError, nearest

MELANOMA, NEVUS, UNKNOWN, OTHER = "melanoma", "nevus", "unknown", "other"
CODES = ("AK", "BCC", "BKL", "DF", "SCC", "VASC")  # of ISIC 2019
# The classes of each target. Four and nine are those of the competition's winners (Ha, Liu & Liu 2020, arXiv
# 2010.05351), who count what four classes have no place for as unknown; of three, the third is all the rest.
TARGETS: dict[str, tuple[str, ...]] = {
    "binary": (MELANOMA,),
    "diagnosis3": (MELANOMA, NEVUS, OTHER),
    "diagnosis4": (MELANOMA, NEVUS, "BKL", UNKNOWN),
    "diagnosis9": (MELANOMA, NEVUS, UNKNOWN, *CODES),
}
# How the nine classes are written in the tables of 2017 to 2020 and of HAM10000, besides their names; case aside.
SPELLINGS: dict[str, tuple[str, ...]] = {
    MELANOMA: ("mel",),
    NEVUS: ("nv", "melanocytic nevus"),
    UNKNOWN: ("unk", "cafe-au-lait macule", "atypical melanocytic proliferation"),
    "BKL": ("benign keratosis", "seborrheic keratosis", "lichenoid keratosis", "solar lentigo", "lentigo nos",
            "lentigo simplex"),
    "AK": ("akiec", "actinic keratosis"),
    "BCC": ("basal cell carcinoma",),
    "SCC": ("squamous cell carcinoma",),
    "VASC": ("vascular lesion",),
    "DF": ("dermatofibroma",),
}  # fmt: skip
CLASS_OF_SPELLING = {text.lower(): name for name, texts in SPELLINGS.items() for text in (name, *texts)}


def classes(target: str) -> tuple[str, ...]:
    """The classes of `model.target`, melanoma first; one for `binary`. Raises UserError that names the nearest."""
    if target not in TARGETS:
        raise UserError(f"model.target: no target {target!r}; {nearest(target, TARGETS)}")
    return TARGETS[target]


def class_labels(table: pd.DataFrame, target: str, source: str = "the table") -> np.ndarray | None:
    """Which class every image is of, float32[N,C] one-hot; None for `binary`, where the column `target` tells.

    An empty or unknown diagnosis of a melanoma, by its `target`, is melanoma.
    Args: table: with `image_name`, `target` and `diagnosis`. source: its name in errors.
    Raises: UserError for a missing column, naming a diagnosis that is not known, or an image whose diagnosis and target
      contradict.
    """
    names = classes(target)
    if len(names) == 1:
        return None
    if "diagnosis" not in table:
        raise UserError(f"model.target={target}: {source} has no column 'diagnosis'; with binary it needs none")
    nine = _nine_classes(table["diagnosis"], source)
    is_melanoma = (table["target"] == 1).to_numpy()
    nine[is_melanoma & (nine == UNKNOWN)] = MELANOMA
    contradiction = is_melanoma != (nine == MELANOMA)
    if contradiction.any():
        row = table.loc[contradiction].iloc[0]
        raise UserError(f"{source}: {row['image_name']} has target {row['target']} and diagnosis {row['diagnosis']}")
    rest = OTHER if OTHER in names else UNKNOWN
    column = [names.index(name if name in names else rest) for name in nine]
    return np.eye(len(names), dtype=np.float32)[column]


def _nine_classes(diagnosis: pd.Series, source: str) -> np.ndarray:
    """The class of each written diagnosis among the nine, object[N]; an empty one is unknown."""
    written = diagnosis.where(diagnosis.notna(), UNKNOWN).map(lambda text: str(text).strip().lower() or UNKNOWN)
    found = written.map(CLASS_OF_SPELLING)
    if found.isna().any():
        first = written[found.isna()].iloc[0]
        raise UserError(f"{source}: unknown diagnosis {first!r}; known: {', '.join(sorted(CLASS_OF_SPELLING))}")
    return found.to_numpy(object).copy()
