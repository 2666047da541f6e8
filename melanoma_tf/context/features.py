"""What is known of an image besides its own score: age, sex, site, and how the patient's other images score."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma_tf.context.alike import beside_others
from melanoma_tf.context.others import Others
from melanoma_tf.embeddings import directions_of
from melanoma_tf.errors import UserError
from melanoma_tf.schema import AGE, HEIGHT, PATIENT, SEX, SITE, WIDTH
from melanoma_tf.tables import SEXES, SITES

SCORE = "score"
EMBEDDING = "embedding"  # column of the table with float[D] of each image, of `embeddings.centred_directions`
CENTRAL, EXTREME = (0.25, 0.5, 0.75), (0.0, 0.9, 1.0)
LOGISTIC_DEVIATION = np.pi / 3**0.5  # of the logits of uniform ranks
Columns = dict[str, np.ndarray]


def add_embeddings(table: pd.DataFrame, path: str | os.PathLike) -> pd.DataFrame:
    """The table with every image's direction of `path`, see `embeddings.directions_of`, in its column EMBEDDING.

    Raises: UserError for an image that the file lacks.
    """
    return table.assign(**{EMBEDDING: list(directions_of(table["image_name"].to_numpy(object), path))})


@dataclass(frozen=True)
class Reference:
    """What features are measured against, taken from the training patients alone.

    Attributes: scores, float64[K,N] sorted: of the subject, then of each member. site_mean, the mean position by site.
    """

    scores: np.ndarray
    site_mean: dict[str, float]

    def position(self, scores: np.ndarray) -> np.ndarray:
        """Logit of the share of the reference's scores below, ties half; float64[K,N] -> float64[K,N], finite.

        A strictly monotone change of the scores, the same for the reference, changes nothing.
        """
        count = self.scores.shape[1]
        below = [np.searchsorted(known, row) for known, row in zip(self.scores, scores)]
        upto = [np.searchsorted(known, row, "right") for known, row in zip(self.scores, scores)]
        share = np.clip((np.array(below) + np.array(upto)) / (2 * count), 0.5 / count, 1 - 0.5 / count)
        return np.log(share / (1 - share))


def fit_reference(scores: np.ndarray, table: pd.DataFrame) -> Reference:
    """The reference of features: no label enters. scores float64[N] or [K,N], table of the same N images."""
    stacked = stacked_scores(scores, table)
    reference = Reference(np.sort(stacked, axis=1), {})
    position = pd.Series(reference.position(stacked)[0])
    mean = position.groupby(table[SITE].to_numpy(object)).mean()
    return Reference(reference.scores, {str(site): float(value) for site, value in mean.items()})


def stacked_scores(scores: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """float64[K,N]. Raises UserError for another number of images than the table has, or a score that is not finite."""
    stacked = np.atleast_2d(np.asarray(scores, np.float64))
    if stacked.ndim != 2 or stacked.shape[1] != len(table) or not len(table):
        raise UserError(f"scores of shape {stacked.shape} for a table of {len(table)} images; one score per image")
    wrong = np.asarray(~np.isfinite(stacked).all(axis=0))
    if wrong.any():
        raise UserError(f"{int(wrong.sum())} of {len(wrong)} images have a score that is no number, the first in row "
                        f"{int(np.argmax(wrong))}")  # fmt: skip
    return stacked


def context_features(
    scores: np.ndarray, table: pd.DataFrame, reference: Reference | None = None, *, single: bool = False,
    extremes: bool = False, shortcuts: bool = False, embeddings: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """One row an image, in the order of the table; float64, the score's own position first.

    Args:
      scores: float64[N] on any scale, or float64[K,N]: the subject, such as a blend, then each member's.
      table: patient_id, sex, age_approx, anatom_site_general_challenge of these N images, as `read_table` gives them.
        All images of a patient should be here: each one's features rest on the others. Labels are not looked at.
      reference: of the training patients; without, these images themselves.
      single: leave out what rests on the patient's other images.
      extremes: add the extremes of the other images and the rank among them, by which their number can be told.
      shortcuts: add the number of images of the patient and, where the table has them, width and height. They tell how
        this set was collected (AUC alone 0.72, 0.67 and 0.66 on the 2020 training set), not what the lesion is.
      embeddings: add how the image looks beside the patient's others, by the table's column EMBEDDING.

    The companions of a patient's only image are taken to be spread as all images are, so every value of the score and
    of companions is finite; what embeddings say of it is NaN. An unknown age or sex is NaN, an unknown site is 0 at
    every site. Strictly monotone changes of the scores, the reference with them, and the order of rows change nothing.
    Raises: UserError as `stacked_scores`.
    """
    stacked = stacked_scores(scores, table)
    reference = reference or fit_reference(stacked, table)
    position = reference.position(stacked)
    columns: Columns = {}
    for name in groups_of(single, extremes, shortcuts, embeddings):
        columns |= GROUPS[name](position, table, reference)
    return pd.DataFrame(columns, index=table.index, dtype=np.float64)


def own_score(position: np.ndarray, table: pd.DataFrame, reference: Reference) -> Columns:
    """The subject's position and, with members, each one's and how much they differ."""
    columns = {SCORE: position[0]}
    columns |= {f"member_{number}": row for number, row in enumerate(position[1:], start=1)}
    if len(position) > 2:
        columns["members_deviation"] = position[1:].std(axis=0)
    return columns


def metadata(position: np.ndarray, table: pd.DataFrame, reference: Reference) -> Columns:
    """Age in years, sex, site one-hot, and the score against what is usual at the site."""
    age = pd.to_numeric(table[AGE], errors="coerce").to_numpy(np.float64)
    male = np.where(table[SEX].isin(SEXES), table[SEX] == SEXES[0], np.nan).astype(np.float64)
    usual = table[SITE].map(reference.site_mean).fillna(0.0).to_numpy(np.float64)
    sites = {f"site_{site}": (table[SITE] == site).to_numpy(np.float64) for site in SITES}
    return {"age": age, "male": male, "age_if_male": age * male, "over_site": position[0] - usual, **sites}


def companions(position: np.ndarray, table: pd.DataFrame, reference: Reference) -> Columns:
    """Leave-one-out location and spread of the patient's other images, and the score against them.

    Of what can be told of companions these forms depend least on how many there are.
    """
    own, others = position[0], Others(table[PATIENT].to_numpy(str), position[0])
    columns = _against(own, {f"others_q{100 * share:g}": others.quantile(share) for share in CENTRAL}, CENTRAL)
    columns |= _against(own, {"others_mean": others.mean()}, (0.5,))
    deviation = _filled(others.deviation(), LOGISTIC_DEVIATION)
    columns["others_deviation"] = deviation
    columns["ugly_duckling"] = columns["over_others_mean"] / (deviation + 0.5)  # no spread of few is not to be believed
    same = Others(np.char.add(np.char.add(_text(table[PATIENT]), "|"), _text(table[SITE])), own)
    columns["over_same_site"] = own - _filled(same.quantile(0.5), 0.0)
    return columns


def visits(position: np.ndarray, table: pd.DataFrame, reference: Reference) -> Columns:
    """When the image was taken among the patient's: years since the first, until the last and from the mean, and the
    share of companions of the same age, which stands for the visit."""
    age = pd.to_numeric(table[AGE], errors="coerce").reset_index(drop=True)
    of_patient = age.groupby(table[PATIENT].to_numpy(object))
    patient = _text(table[PATIENT])
    visit = np.char.add(np.char.add(patient, "|"), age.to_numpy(str))
    others, same = Others(patient, position[0]).count, Others(visit, position[0]).count
    return {
        "age_since_mean": (age - of_patient.transform("mean")).to_numpy(np.float64),
        "since_first": (age - of_patient.transform("min")).to_numpy(np.float64),
        "until_last": (of_patient.transform("max") - age).to_numpy(np.float64),
        "others_at_same_visit": np.where(others > 0, same / np.maximum(others, 1), 1.0),
    }


def extremes(position: np.ndarray, table: pd.DataFrame, reference: Reference) -> Columns:
    """The patient's most and least alarming other images, the rank among them, and where they were taken.

    The highest of many is higher than the highest of few, and a share of 1/7 tells that there are seven: with these,
    the features tell the number of images (`evidence.count_told`).
    """
    own, others = position[0], Others(table[PATIENT].to_numpy(str), position[0])
    columns = _against(own, {f"others_q{100 * share:g}": others.quantile(share) for share in EXTREME}, EXTREME)
    columns |= _against(own, {"others_second": others.second_highest()}, (0.9,))
    columns["share_above"] = np.where(others.count > 0, others.share_above(), 1 / (1 + np.exp(own)))
    patient, site = _text(table[PATIENT]), _text(table[SITE])
    for name in SITES:
        columns[f"others_at_{name}"] = _filled(Others(patient, (site == name).astype(np.float64)).mean(), 0.0)
    same = Others(np.char.add(np.char.add(patient, "|"), site), own)
    columns["others_at_same_site"] = same.count / np.maximum(others.count, 1)
    return columns


def embeddings(position: np.ndarray, table: pd.DataFrame, reference: Reference) -> Columns:
    """How far off the image looks among the patient's, and the score against those of the images alike."""
    directions = np.stack(list(table[EMBEDDING]))
    columns = beside_others(table[PATIENT].to_numpy(str), directions, position[0])
    return columns | {"over_attended": position[0] - columns["attended"]}


def counted_and_measured(position: np.ndarray, table: pd.DataFrame, reference: Reference) -> Columns:
    """The shortcuts: images of the patient, and width and height in pixels where they are known."""
    columns = {"images_of_patient": 1.0 + Others(table[PATIENT].to_numpy(str), position[0]).count}
    for name in (WIDTH, HEIGHT):
        if name in table:
            columns[name] = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
    return columns


GROUPS: dict[str, Callable[[np.ndarray, pd.DataFrame, Reference], Columns]] = {
    "own_score": own_score,
    "metadata": metadata,
    "companions": companions,
    "visits": visits,
    "extremes": extremes,
    "embeddings": embeddings,
    "shortcuts": counted_and_measured,
}


def groups_of(single: bool, extremes: bool, shortcuts: bool, embeddings: bool) -> list[str]:
    """Names in `GROUPS` that such features are made of."""
    of_others = {"companions": True, "visits": True, "extremes": extremes, "embeddings": embeddings}
    wanted = {name: use and not single for name, use in of_others.items()} | {"shortcuts": shortcuts}
    return [name for name in GROUPS if wanted.get(name, True)]


def _against(own: np.ndarray, columns: Columns, shares: tuple[float, ...]) -> Columns:
    """Each column, filled with the quantile of all images at its share where there are no companions, and the score
    above it."""
    filled = {name: _filled(column, _usual(share)) for (name, column), share in zip(columns.items(), shares)}
    return filled | {f"over_{name}": own - column for name, column in filled.items()}


def _text(column: pd.Series) -> np.ndarray:
    return column.fillna("").to_numpy(str)


def _filled(values: np.ndarray, neutral: float) -> np.ndarray:
    return np.where(np.isnan(values), neutral, values)


def _usual(share: float) -> float:
    """The quantile of all images, as a position, kept off infinity."""
    share = min(max(share, 0.01), 0.99)
    return float(np.log(share / (1 - share)))
