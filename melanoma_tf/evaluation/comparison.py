"""Is model B better than model A, by how much, with which certainty, on whom, and where do they part?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr

from melanoma_tf.evaluation.differences import DIFFERENCES, metric_differences
from melanoma_tf.evaluation.resampling import REPLICATES
from melanoma_tf.evaluation.subgroups import subgroups
from melanoma_tf.evaluation.table import METRICS, metrics_table
from melanoma_tf.metrics import Interval
from melanoma_tf.paired import Difference, auc_difference

FEWEST_MELANOMA = 10  # in a subgroup; below, an interval says nothing
LEVEL = 0.05
SPECIFICITY = 0.90  # at which the two models' decisions are set against each other


@dataclass(frozen=True)
class SubgroupDifference:
    """AUC of B minus that of A within a group; `difference` is None where there are too few images of a class.

    p_holm: its p-value after Holm's correction over all groups; marked: below `LEVEL`.
    """

    what: str
    name: str
    images: int
    melanoma: int
    difference: Difference | None
    p_holm: float | None
    marked: bool


@dataclass(frozen=True)
class Disagreement:
    """Decisions of both models, each at its own threshold for a specificity of 90 % on these images.

    Each count is (melanoma, benign). rank_correlation: Spearman's, over all images.
    """

    both: tuple[int, int]
    only_a: tuple[int, int]
    only_b: tuple[int, int]
    neither: tuple[int, int]
    rank_correlation: float


@dataclass(frozen=True)
class Comparison:
    """What `compare_models` found.

    Attributes: a, b: metrics of each model. auc: the difference by clustered DeLong. differences: of every metric of
      `DIFFERENCES`, by the paired bootstrap. apart: rows of the images whose ranks differ most, the furthest first, by
      (target, whether B ranks it higher). rank_a, rank_b float64[N]: share of the images ranked below each image.
    """

    a: dict[str, Interval]
    b: dict[str, Interval]
    auc: Difference
    differences: dict[str, Interval]
    subgroups: list[SubgroupDifference]
    disagreement: Disagreement
    apart: dict[tuple[int, bool], np.ndarray]
    rank_a: np.ndarray
    rank_b: np.ndarray


def compare_models(
    target: np.ndarray, probability_a: np.ndarray, probability_b: np.ndarray, rows: pd.DataFrame, images: int = 5,
    replicates: int = REPLICATES, seed: int = 0,
) -> Comparison:  # fmt: skip
    """Compares two models on the same images.

    Args: target int[N] of 0 and 1; probabilities float[N] in [0, 1]; rows: the table's rows of the images, with
      patient_id; images: how many to name where the models part.
    Raises: UserError as `Sample`.
    """
    target, patients = np.asarray(target).astype(int), rows["patient_id"].to_numpy(str)
    chosen = {name: METRICS[name] for name in DIFFERENCES}
    a, b = (metrics_table(target, one, patients, chosen, replicates, seed, what=what)
            for one, what in ((probability_a, "model A"), (probability_b, "model B")))  # fmt: skip
    ranks = [(rankdata(one) - 0.5) / len(target) for one in (probability_a, probability_b)]
    return Comparison(
        a, b,
        auc_difference(target, probability_a, probability_b, patients),
        metric_differences(target, probability_a, probability_b, patients, DIFFERENCES, replicates, seed),
        subgroup_differences(target, probability_a, probability_b, rows),
        disagreement(target, probability_a, probability_b),
        {(of, up): _furthest(target == of, ranks[1] - ranks[0] if up else ranks[0] - ranks[1], images)
         for of in (1, 0) for up in (True, False)},
        *ranks,
    )  # fmt: skip


def subgroup_differences(
    target: np.ndarray, probability_a: np.ndarray, probability_b: np.ndarray, rows: pd.DataFrame
) -> list[SubgroupDifference]:
    """The difference of AUC in each group of `subgroups`, marked where it holds after Holm's correction."""
    groups = subgroups(rows)
    found: list[Difference | None] = []
    for group in groups:
        inside = rows["patient_id"].to_numpy(str)[group.mask]
        enough = FEWEST_MELANOMA <= target[group.mask].sum() < len(inside) and len(set(inside)) > 1
        truth, a, b = (one[group.mask] for one in (target, probability_a, probability_b))
        found.append(auc_difference(truth, a, b, inside) if enough else None)
    corrected = iter(holm([one.p_value for one in found if one is not None]))
    result = []
    for group, one in zip(groups, found):
        p = None if one is None else float(next(corrected))
        size, melanoma = int(group.mask.sum()), int(target[group.mask].sum())
        result.append(SubgroupDifference(group.what, group.name, size, melanoma, one, p, p is not None and p < LEVEL))
    return result


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p-values, float64[K], corrected for K tests (Holm, Scandinavian Journal of Statistics 6 (1979) 65-70)."""
    order = np.argsort(p_values, kind="stable")
    factors = len(order) - np.arange(len(order))
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(np.asarray(p_values)[order] * factors), 1)
    return corrected


def disagreement(target: np.ndarray, probability_a: np.ndarray, probability_b: np.ndarray) -> Disagreement:
    """How often two models decide differently, each at its own threshold for a specificity of 90 %."""
    target = np.asarray(target).astype(bool)
    a, b = (probability > _threshold(target, probability) for probability in (probability_a, probability_b))
    count = lambda mask: (int((mask & target).sum()), int((mask & ~target).sum()))  # noqa: E731
    correlation = float(spearmanr(probability_a, probability_b).statistic)
    return Disagreement(count(a & b), count(a & ~b), count(b & ~a), count(~a & ~b), correlation)


def _threshold(target: np.ndarray, probability: np.ndarray) -> float:
    """The lowest benign probability that at most a share 1 - `SPECIFICITY` of the benign images exceeds."""
    benign = np.sort(probability[~target])
    return float(benign[int(np.ceil(SPECIFICITY * len(benign) - 1e-9)) - 1])


def _furthest(mask: np.ndarray, rise: np.ndarray, images: int) -> np.ndarray:
    """Rows in the mask that rose most, the furthest first; those that did not rise are left out."""
    rows = np.flatnonzero(mask & (rise > 0))
    return rows[np.argsort(-rise[rows], kind="stable")[:images]]
