"""The section of the most certain hits and misses, with pictures, and what the model looked at, where given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from melanoma_tf.report import markup
from melanoma_tf.report.contents import Evaluation
from melanoma_tf.report.examples import HeatMap, choose_examples, overlay, thumbnail

HEAT_MAPS = (
    "Second picture: the image as the network was given it, in grey, coloured where its last feature map raised the "
    "score (Grad-CAM, Selvaraju et al. 2017), by the model of the fold that held the image out. Each map has its own "
    "scale. It tells where, not why, and not how sure."
)


def hits_and_misses(
    evaluation: Evaluation, pictures: Mapping[str, bytes], heat_maps: Mapping[str, HeatMap] | None = None
) -> str:
    """The most certain hits and misses, with pictures where there are any."""
    blocks = []
    for examples in choose_examples(evaluation):
        cells = "".join(_example(evaluation, int(row), pictures, heat_maps or {}) for row in examples.rows)
        heading = f"<h3>{markup.text(examples.title)}</h3>{markup.note(examples.explanation)}"
        blocks.append(f'<div class="examples">{heading}<div class="pictures">{cells}</div></div>')
    hint = "" if pictures else markup.note("No pictures: the report was made without --data_dir.")
    hint += markup.note(HEAT_MAPS) if heat_maps else ""
    lead = "The score, and what the table records of the patient. One image per patient in each row."
    return markup.section("Most certain hits and misses", lead, hint, *blocks)


def _example(evaluation: Evaluation, row: int, pictures: Mapping[str, bytes], heat_maps: Mapping[str, HeatMap]) -> str:
    record = evaluation.rows.iloc[row]
    name = str(record["image_name"])
    shown = ""
    if pictures:
        source = thumbnail(pictures[name]) if name in pictures else None
        absent = f'<div class="absent">{"not readable" if name in pictures else "no picture"}</div>'
        shown = f'<img src="{source}" alt="{markup.text(name)}">' if source else absent
    if name in heat_maps:
        shown += f'<img class="heat" src="{overlay(heat_maps[name])}" alt="Grad-CAM of {markup.text(name)}">'
    caption = f"<b>{_score(evaluation.score[row])}</b><br>{markup.text(name)}<br>{markup.text(_person(record))}"
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def _score(score: float) -> str:
    return f"{score:.3f}" if score >= 0.001 else f"{score:.1e}"


def _person(record: pd.Series) -> str:
    age = pd.to_numeric(record["age_approx"], errors="coerce")
    known = [record["sex"], f"{age:.0f}" if np.isfinite(age) else None, record["anatom_site_general_challenge"]]
    return ", ".join(str(value) for value in known if isinstance(value, str)) or "nothing recorded"
