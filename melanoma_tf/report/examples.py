"""The most certain hits and misses, and small pictures of them."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np

from melanoma_tf.report.contents import Evaluation

PER_KIND = 6
THUMBNAIL_SIDE = 240  # pixels; 18 of them stay under 300 kB
CONTACT_SHEET_WIDTH = 1200
HEAT_SIDE = 160  # pixels; a map of 7x7 holds no more
HEAT_COLORS = ((0.0, (190, 40, 70)), (0.6, (240, 120, 50)), (1.0, (255, 225, 100)))  # brighter is more, also in grey
HEAT_OPACITY = 0.75  # where it is greatest; where there is none the image is left as it is


@dataclass(frozen=True)
class Examples:
    """One kind of example: title, explanation, and row numbers of the evaluation, most certain first."""

    title: str
    explanation: str
    rows: np.ndarray


@dataclass(frozen=True)
class HeatMap:
    """What a network was given, uint8[S,S,3], and where it looked, float32[h,w] in [0, 1]."""

    seen: np.ndarray
    heat: np.ndarray


def choose_examples(evaluation: Evaluation, count: int = PER_KIND) -> list[Examples]:
    """Melanoma scored highest, melanoma scored lowest and benign lesions scored highest; no patient twice in a kind."""
    melanoma, benign = evaluation.target == 1, evaluation.target == 0
    kinds = (
        ("Melanoma, scored highest", "The clearest hits.", melanoma, -evaluation.score),
        ("Melanoma, scored lowest", "The gravest misses: a threshold that catches these flags nearly everything.",
         melanoma, evaluation.score),
        ("Benign, scored highest", "The loudest false alarms.", benign, -evaluation.score),
    )  # fmt: skip
    return [Examples(title, text, _pick(evaluation, which, key, count)) for title, text, which, key in kinds]


def _pick(evaluation: Evaluation, which: np.ndarray, key: np.ndarray, count: int) -> np.ndarray:
    """First `count` rows of distinct patients by `key`; many images of one patient would be one example."""
    rows = np.flatnonzero(which)
    rows = rows[np.argsort(key[rows], kind="stable")]
    _, first = np.unique(evaluation.patients[rows], return_index=True)
    return rows[np.sort(first)][:count]


def thumbnail(image: bytes, side: int = THUMBNAIL_SIDE) -> str | None:
    """A square picture as a data URI, cut from the middle; None where the bytes are no readable image."""
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(image)) as picture:
            picture.draft("RGB", (2 * side, 2 * side))
            return _data_uri(ImageOps.fit(picture.convert("RGB"), (side, side), Image.Resampling.LANCZOS))
    except (OSError, ValueError):
        return None


def overlay(heat_map: HeatMap, side: int = HEAT_SIDE) -> str:
    """The heat laid over what the network was given, in grey, as a data URI."""
    from PIL import Image

    seen = Image.fromarray(heat_map.seen).convert("L").convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    heat = Image.fromarray(np.asarray(heat_map.heat, np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    level = np.clip(np.asarray(heat), 0, 1)
    stops, colors = [at for at, _ in HEAT_COLORS], np.array([color for _, color in HEAT_COLORS], float)
    painted = np.stack([np.interp(level, stops, colors[:, channel]) for channel in range(3)], axis=-1)
    opacity = HEAT_OPACITY * level[..., None]
    blended = (1 - opacity) * np.asarray(seen, np.float64) + opacity * painted
    return _data_uri(Image.fromarray(np.rint(blended).astype(np.uint8)))


def contact_sheet(image: bytes, width: int = CONTACT_SHEET_WIDTH) -> str | None:
    """A wide picture as a data URI, JPEG because a PNG of photographs is ten times as large; None if unreadable."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image)) as opened:
            picture = opened.convert("RGB")
            if picture.width > width:
                height = max(1, round(picture.height * width / picture.width))
                picture = picture.resize((width, height), Image.Resampling.LANCZOS)
            return _data_uri(picture)
    except (OSError, ValueError):
        return None


def _data_uri(picture) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
