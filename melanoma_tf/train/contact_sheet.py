"""A picture of what the model sees."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from melanoma_tf import files
from melanoma_tf.augment import augment
from melanoma_tf.config import AugmentConfig

COLUMNS, ROWS, CELL = 8, 3, 112


def write_contact_sheet(path: Path, images: tf.Tensor, seed: np.ndarray, config: AugmentConfig) -> None:
    """PNG of the first of uint8[B,S,S,3]: as they are (first row) and after augmentation (the others)."""
    images = images[:COLUMNS]
    rows = [images.numpy()]
    for number in range(ROWS - 1):
        augmented = augment(images, tf.constant(seed + np.array([0, number], np.int32)), config)
        rows.append(np.rint(augmented.numpy() * 255).astype(np.uint8))
    buffer = io.BytesIO()
    sheet(rows).save(buffer, "PNG", optimize=True)
    files.write_whole(path, buffer.getvalue())


def sheet(rows: list[np.ndarray], cell: int = CELL, gap: int = 4) -> Image.Image:
    """Images uint8[columns,S,S,3] of each row on a white ground."""
    page = Image.new("RGB", (len(rows[0]) * (cell + gap) + gap, len(rows) * (cell + gap) + gap), "white")
    for y, row in enumerate(rows):
        for x, pixels in enumerate(row):
            image = Image.fromarray(pixels).resize((cell, cell), Image.Resampling.LANCZOS)
            page.paste(image, (gap + x * (cell + gap), gap + y * (cell + gap)))
    return page
