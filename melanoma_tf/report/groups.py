"""For whom it works: ranking within sex, age band, site and source, and the gaps between groups."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from melanoma_tf import metrics
from melanoma_tf.evaluation.subgroups import MISSING, subgroups
from melanoma_tf.report.contents import Evaluation

FEWEST_MELANOMA = 10  # in a group; below, an interval says nothing


@dataclass(frozen=True)
class Group:
    """Images that have something in common: of what kind, its name, bool[N], and the AUC where there are enough."""

    kind: str
    name: str
    mask: np.ndarray
    auc: metrics.Interval | None


@dataclass(frozen=True)
class Gap:
    """Difference of the AUC of two groups, better minus worse, with limits that allow for `pairs` comparisons."""

    better: Group
    worse: Group
    value: float
    low: float
    high: float
    pairs: int

    @property
    def certain(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0


def find_groups(evaluation: Evaluation) -> list[Group]:
    """All groups that have images, kind by kind, each kind's images without a record last."""
    return [_group(evaluation, *found) for found in subgroups(evaluation.rows)]


def _group(evaluation: Evaluation, kind: str, name: str, mask: np.ndarray) -> Group:
    target, patients = evaluation.target[mask], evaluation.patients[mask]
    of_each = [len(np.unique(patients[target == value])) for value in (0, 1)]
    enough = target.sum() >= FEWEST_MELANOMA and min(of_each) > 1
    auc = metrics.auc_interval(target, evaluation.score[mask], patients) if enough else None
    return Group(kind, name, mask, auc)


def find_gaps(evaluation: Evaluation, groups: Sequence[Group]) -> list[Gap]:
    """The largest gap of each kind of group, and every other gap whose interval excludes 0.

    The limits of each pair are at 1 - 0.05 / pairs (Bonferroni), since the largest of many differences is large by
    chance alone. A patient may have images in both groups: the variance is that of the difference of each patient's
    share in both AUCs (structural components as in Obuchowski 1997). A group whose AUC is 0 or 1 has no variance to
    compare by and is left out.
    """
    found = []
    for kind in dict.fromkeys(group.kind for group in groups):
        compared = [g for g in groups if g.kind == kind and g.name != MISSING and g.auc and 0 < g.auc.value < 1]
        gaps = _gaps_between(evaluation, compared)
        gaps.sort(key=lambda gap: -gap.value)
        found += gaps[:1] + [gap for gap in gaps[1:] if gap.certain]
    return found


def _gaps_between(evaluation: Evaluation, groups: Sequence[Group]) -> list[Gap]:
    pairs = list(itertools.combinations(range(len(groups)), 2))
    if not pairs:
        return []
    shares = [_shares_of_patients(evaluation, group) for group in groups]
    z = float(norm.ppf(1 - 0.025 / len(pairs)))
    gaps = []
    for one, other in pairs:
        difference = _value(groups[one]) - _value(groups[other])
        half = z * float(np.sqrt(((shares[one] - shares[other]) ** 2).sum()))
        better, worse = (one, other) if difference >= 0 else (other, one)
        size = abs(difference)
        gaps.append(Gap(groups[better], groups[worse], size, size - half, size + half, len(pairs)))
    return gaps


def _value(group: Group) -> float:
    assert group.auc is not None
    return group.auc.value


def _shares_of_patients(evaluation: Evaluation, group: Group) -> np.ndarray:
    """float64[P]: by how much each patient of all moves the AUC of the group; their squares sum to its variance."""
    patient = np.unique(evaluation.patients, return_inverse=True)[1]
    target = evaluation.target[group.mask].astype(bool)
    moved = metrics.placements(target, evaluation.score[group.mask]) - _value(group)
    moved /= np.where(target, target.sum(), (~target).sum())
    count = len(np.unique(patient[group.mask]))
    return np.bincount(patient[group.mask], moved, int(patient.max()) + 1) * np.sqrt(count / max(count - 1, 1))
