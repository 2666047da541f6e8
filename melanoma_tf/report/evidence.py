"""Sections that rest on held-out images: discrimination, scores, subgroups, shortcuts, hits and misses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from melanoma_tf import metrics
from melanoma_tf.report import figures, markup, statistics
from melanoma_tf.report.contents import Evaluation
from melanoma_tf.report.examples import choose_examples, thumbnail

FEWEST_MELANOMA = 10  # in a subgroup; below, an interval says nothing


def discrimination(evaluations: Sequence[tuple[str, Evaluation]]) -> str:
    """ROC and precision-recall curves of all runs and the operating points of the first."""
    first = evaluations[0][1]
    resampled = statistics.bootstrap(first)
    series = [
        figures.Series(
            f"{_short(name)}  {evaluation.auc.value:.3f}" if evaluation.auc else _short(name),
            statistics.curves(evaluation.target, evaluation.score),
            None if number else resampled.band,
        )
        for number, (name, evaluation) in enumerate(evaluations)
    ]
    low, high = resampled.average_precision
    one = series[0].curves
    roc = markup.figure(
        figures.roc(series), f"ROC curve, area {markup.interval(first.auc)}",
        "Receiver operating characteristic, with its area. The band is pointwise, from "
        f"{statistics.REPEATS} resamplings of patients.",
    )  # fmt: skip
    precision = markup.figure(
        figures.precision_recall([figures.Series(_short(name), s.curves) for (name, _), s in zip(evaluations, series)],
                                 float(first.target.mean())),
        f"precision-recall curve, average precision {one.average_precision:.3f}",
        f"Precision and recall. Average precision {one.average_precision:.3f} [{low:.3f}, {high:.3f}], "
        f"{one.average_precision / first.target.mean():.1f} times a blind guess.",
    )  # fmt: skip
    lead = "How well the score ranks melanoma above benign lesions, and what a threshold would cost."
    return markup.section("Discrimination", lead, markup.pair(roc, precision), _operating_points(one, resampled))


def _short(name: str, length: int = 26) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def _operating_points(curves: statistics.Curves, resampled: statistics.Bootstrap) -> str:
    rows = []
    for number, sensitivity in enumerate(statistics.SENSITIVITIES):
        at = curves.first_at(sensitivity)
        specificity, precision = 1 - curves.false_positive_rate[at], curves.precision[at]
        flagged = curves.true_positives[at] + curves.false_positives[at]
        share = flagged / (curves.true_positives[-1] + curves.false_positives[-1])
        rows.append((
            f"{sensitivity:.0%}",
            markup.limits(specificity, *resampled.specificity[:, number]),
            markup.limits(precision, *resampled.precision[:, number]),
            f"{share:.1%}", f"{flagged / curves.true_positives[at]:.1f}",
        ))  # fmt: skip
    header = ("Sensitivity of at least", "Specificity", "Precision", "Images flagged", "Per melanoma found")
    caption = (
        "Each threshold is chosen on the very images it is judged on, so these rows flatter a little. "
        "Brackets: 95 % limits over patients."
    )
    return markup.table(header, rows) + markup.note(caption)


def score_distribution(evaluation: Evaluation) -> str:
    """Histogram of both classes, and the mean score beside the share of melanoma."""
    mean, share = float(evaluation.score.mean()), float(evaluation.target.mean())
    caption = (
        f"The mean score is {mean:.2%}, the share of melanoma {share:.2%}. Scores are probabilities only where the two "
        "agree and the share in use is that of the training data."
    )
    picture = markup.figure(
        figures.scores(evaluation.target, evaluation.score), "distribution of scores by class", caption, "sheet"
    )
    return markup.section("Scores by class", "Each class on its own scale, because melanoma are rare.", picture)


def subgroups(evaluation: Evaluation) -> str:
    """AUC within sex, age and site."""
    rows: list[tuple[str, ...]] = []
    for what, group, mask in statistics.subgroups(evaluation):
        melanoma = int(evaluation.target[mask].sum())
        enough = FEWEST_MELANOMA <= melanoma < int(mask.sum())
        auc = (metrics.auc_interval(evaluation.target[mask], evaluation.score[mask], evaluation.patients[mask])
               if enough else None)  # fmt: skip
        heading = "" if any(row[0] == what for row in rows) else what
        rows.append(
            (heading, group, f"{int(mask.sum()):,}", f"{melanoma:,}", markup.interval(auc) if auc else "too few")
        )
    if not rows:
        return ""
    lead = f"Ranking within each group. Under {FEWEST_MELANOMA} melanoma no figure is given. Skin type is not recorded."
    header = ("", "Group", "Images", "Melanoma", "AUC [95 %]")
    return markup.section("Who it works for", lead, markup.table(header, rows, words=2))


def shortcuts(evaluation: Evaluation) -> str:
    """What is reached without looking at a lesion, beside the model."""
    found = statistics.shortcuts(evaluation)
    if not found:
        return ""
    rows = [(name, markup.interval(auc)) for name, auc in found]
    rows.append(("This model, looking at the image", markup.interval(evaluation.auc)))
    lead = (
        "The selection of images tells something of the label by itself. A model is worth what it adds to these, and "
        "may have learnt some of them."
    )
    table = markup.table(("What is known", "AUC [95 %]"), rows, total=True)
    return markup.section("Shortcuts in the data", lead, table)


def hits_and_misses(evaluation: Evaluation, pictures: Mapping[str, bytes]) -> str:
    """The most certain hits and misses, with pictures where there are any."""
    blocks = []
    for examples in choose_examples(evaluation):
        cells = "".join(_example(evaluation, int(row), pictures) for row in examples.rows)
        heading = f"<h3>{markup.text(examples.title)}</h3>{markup.note(examples.explanation)}"
        blocks.append(f'<div class="examples">{heading}<div class="pictures">{cells}</div></div>')
    hint = "" if pictures else markup.note("No pictures: the report was made without --data_dir.")
    lead = "The score, and what the table records of the patient. One image per patient in each row."
    return markup.section("Most certain hits and misses", lead, hint, *blocks)


def _example(evaluation: Evaluation, row: int, pictures: Mapping[str, bytes]) -> str:
    record = evaluation.rows.iloc[row]
    name = str(record["image_name"])
    picture = ""
    if pictures:
        source = thumbnail(pictures[name]) if name in pictures else None
        absent = f'<div class="absent">{"not readable" if name in pictures else "no picture"}</div>'
        picture = f'<img src="{source}" alt="{markup.text(name)}">' if source else absent
    caption = f"<b>{_score(evaluation.score[row])}</b><br>{markup.text(name)}<br>{markup.text(_person(record))}"
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _score(score: float) -> str:
    return f"{score:.3f}" if score >= 0.001 else f"{score:.1e}"


def _person(record: pd.Series) -> str:
    age = pd.to_numeric(record["age_approx"], errors="coerce")
    known = [record["sex"], f"{age:.0f}" if np.isfinite(age) else None, record["anatom_site_general_challenge"]]
    return ", ".join(str(value) for value in known if isinstance(value, str)) or "nothing recorded"
