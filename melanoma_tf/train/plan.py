"""What a run is made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True)
class Fold:
    """What one fold works on.

    Attributes: name: `0`, `1`, ... or `all`; folder: where it writes; train_rows, valid_rows: int[n] rows of the train
    table; valid_rows is empty for `all`.
    """

    name: str
    folder: Path
    train_rows: np.ndarray
    valid_rows: np.ndarray
