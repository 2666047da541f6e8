"""What makes a member doubtful: other folds, a fold that it saw, other behaviour on test images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from melanoma_tf import metrics
from melanoma_tf.errors import UserError

DRIFT = 0.15  # of rank correlation with the others, beyond that of the others among themselves
TELLS_APART = 0.10  # AUC of train against test by the score, beyond the typical member
JUMP = 0.03  # of AUC, above what the other folds and the other members let expect
SURE = 3.0  # standard errors that a difference must exceed its limit by
TOO_GOOD = 0.98  # above what any model of these images is known to reach (0.96, out-of-fold)
FEW_POSITIVES = 5  # in a fold, below which its AUC tells nothing


def refuse_other_folds(folds: Sequence[np.ndarray | None], sources: Sequence[str], any_folds: bool) -> str:
    """A note where members were trained on different folds and that is allowed, "" where not.

    Args: folds: int[N] per member, aligned, None where unknown. Numbers may differ; which images share a fold may not.
    Raises: UserError that names the two members.
    """
    known = [(fold, source) for fold, source in zip(folds, sources) if fold is not None]
    for fold, source in known[1:]:
        pairs = len(np.unique(np.stack([known[0][0], fold]), axis=1).T)
        counts = len(np.unique(known[0][0])), len(np.unique(fold))
        if pairs != counts[0] or pairs != counts[1]:
            text = f"{source} ({counts[1]} folds) was trained on other folds than {known[0][1]} ({counts[0]} folds)"
            if any_folds:
                return f"{text}: a member may have learned from images that another one is judged on"
            raise UserError(f"{text}, so that scores of one know of images held out from the other; "
                            f"--any_folds blends them all the same")  # fmt: skip
    return ""


def correlations(scores: np.ndarray) -> np.ndarray:
    """Spearman's rank correlations, float64[K,K] of float64[K,N]."""
    return np.corrcoef(rankdata(scores, axis=1))


def drifting(oof: np.ndarray, test: np.ndarray) -> list[tuple[int, float]]:
    """Members, worst first, whose correlation with the others differs between out-of-fold and test, and by how much.

    Test scores are mostly means over fold models, so all correlations are higher there: what counts is the change
    beyond that of the pairs of the others. Two members cannot be told apart. Args: oof float64[K,N], test float64[K,M].
    """
    change = correlations(test) - correlations(oof)
    limit = DRIFT + SURE * (1 / oof.shape[1] + 1 / test.shape[1]) ** 0.5  # the error of a correlation that is 0
    left, found = list(range(len(oof))), []
    while len(left) > 2:
        part = change[np.ix_(left, left)]  # 0 on the diagonal
        own, total = part.sum(1), part.sum() / 2
        pairs = len(left) - 1
        beyond = np.abs(own / pairs - (total - own) / (pairs * (pairs - 1) / 2))
        worst = int(np.argmax(beyond))
        if beyond[worst] <= limit:
            break
        found.append((left.pop(worst), float(beyond[worst])))
    return found


def telling_apart(oof: np.ndarray, test: np.ndarray) -> list[tuple[int, float]]:
    """Members whose score tells training images from test images, with the AUC of doing so.

    Test images may be harder or rarer for all: what counts is the distance to the median member (to 0.5 where there are
    only two). Args: oof float64[K,N], test float64[K,M].
    """
    is_test = np.repeat([0, 1], [oof.shape[1], test.shape[1]])
    aucs = np.array([metrics.roc_auc(is_test, np.concatenate(both)) for both in zip(oof, test)])
    centre = np.median(aucs) if len(aucs) > 2 else 0.5
    limit = TELLS_APART + SURE * ((1 / oof.shape[1] + 1 / test.shape[1]) / 12) ** 0.5  # the error of an AUC of 0.5
    return [(int(member), float(aucs[member])) for member in np.flatnonzero(np.abs(aucs - centre) > limit)]


def seen_folds(
    scores: np.ndarray, target: np.ndarray, folds: Sequence[np.ndarray | None], patients: np.ndarray | None
) -> list[str]:
    """What each member seems to have been trained on although it is judged there: "fold 3 (AUC 0.99, ... )", "" else.

    A fold is suspect where the AUC is `JUMP` and `SURE` standard errors above that of the member's other folds, beyond
    how much easier that fold is for the other members. scores float64[K,N], folds int[N] or None per member.
    """
    judged: dict[bytes, list[str]] = {}
    for fold in folds:
        if fold is not None and fold.tobytes() not in judged:
            judged[fold.tobytes()] = _jumps(scores, target, fold, patients)
    return ["" if fold is None else judged[fold.tobytes()][member] for member, fold in enumerate(folds)]


def _jumps(scores: np.ndarray, target: np.ndarray, fold: np.ndarray, patients: np.ndarray | None) -> list[str]:
    numbers = [number for number in np.unique(fold) if _has_positives(target[fold == number])]
    if len(numbers) < 2:
        return [""] * len(scores)
    parts = [[_auc(score, target, fold == number, patients) for number in numbers] for score in scores]
    value, error = (np.array([[part[which] for part in row] for row in parts]) for which in (0, 1))
    ease = value - np.array([[np.median(np.delete(row, at)) for at in range(len(row))] for row in value])
    found = []
    for member in range(len(scores)):
        others = np.delete(ease, member, axis=0)
        excess = ease[member] - (np.median(others, axis=0) if len(others) else 0.0)
        doubt = np.hypot(error[member], np.median(error[member]))  # of this fold, and of those it is compared with
        suspect = np.flatnonzero((excess > JUMP) & (excess > SURE * doubt))
        found.append(", ".join(f"fold {numbers[at]} (AUC {value[member, at]:.4f}, {excess[at]:.4f} above its others)"
                               for at in suspect))  # fmt: skip
    return found


def _has_positives(target: np.ndarray) -> bool:
    return bool(FEW_POSITIVES <= target.sum() <= len(target) - FEW_POSITIVES)


def _auc(score: np.ndarray, target: np.ndarray, rows: np.ndarray, patients: np.ndarray | None) -> tuple[float, float]:
    found = metrics.auc_interval(target[rows], score[rows], None if patients is None else patients[rows], 0.6827)
    return found.value, (found.high - found.low) / 2


def far_better(intervals: Sequence[metrics.Interval]) -> list[int]:
    """Members whose AUC is above all others' by more than both intervals and `JUMP`: too good for the same images."""
    if len(intervals) < 2:
        return []
    best = int(np.argmax([one.value for one in intervals]))
    second = max((one for at, one in enumerate(intervals) if at != best), key=lambda one: one.value)
    apart = intervals[best].low > second.high and intervals[best].value > second.value + JUMP
    return [best] if apart and intervals[best].value > TOO_GOOD else []
