"""A whole blend: which members, which method, the scores that may be reported, and those of the test images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from melanoma_tf import metrics
from melanoma_tf.cross_fit import patient_folds
from melanoma_tf.ensemble import choice
from melanoma_tf.ensemble.combine import blend, checked_weights
from melanoma_tf.ensemble.formulas import BLENDS
from melanoma_tf.ensemble.learned import LEARNED
from melanoma_tf.ensemble.members import Member
from melanoma_tf.errors import UserError, nearest
from melanoma_tf.predictions import Predictions

AUTO = "auto"
FOLDS = 5
FEWEST_PATIENTS = 20  # with a melanoma: four a fold; with fewer the choice would follow single patients
OTHER_SCALE = 3.0  # ratio of mean probabilities from which a mean would be led by one member


@dataclass(frozen=True)
class Blended:
    """What came out of a blend.

    Attributes:
      method: what was applied. weights: float64[K], or None where members have no single weight.
      predictions: per kind (`oof`, `test`); out-of-fold scores are cross-fitted where anything was learned.
      apparent: AUC of a learned blend on the images it was fitted on, None where nothing was learned.
      aucs: cross-fitted AUC of every method that was tried. chosen: folds in which a method was chosen without them.
      notes: what was decided for the user, and why.
    """

    method: str
    weights: np.ndarray | None
    predictions: dict[str, Predictions]
    apparent: float | None = None
    aucs: dict[str, float] = field(default_factory=dict)
    chosen: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def check_method(method: str, weights: Sequence[float] | None, members: int) -> None:
    """Raises UserError for an unknown method and for weights that are bad or that the method would learn."""
    if method != AUTO and method not in choice.METHODS:
        raise UserError(f"no blend {method!r}; {nearest(method, (AUTO, *choice.METHODS))}")
    if weights is not None:
        checked_weights(weights, members)
        if method in LEARNED:
            raise UserError(f"--method={method} learns its weights; without --weights, or one of {', '.join(BLENDS)}")


def blend_members(
    members: Sequence[Member],
    kinds: Sequence[str],
    method: str = AUTO,
    weights: Sequence[float] | None = None,
    patients: np.ndarray | None = None,
    progress: Callable[[str], None] = lambda method: None,
) -> Blended:
    """Blends aligned members; `auto` is the best of all methods, by nested cross-fitting by patient.

    Args: members: with the same images in the same order per kind. kinds: of `oof` and `test`. patients: [N] of the
      out-of-fold rows. progress: called with each method before it is tried.
    Raises: UserError where what was asked for needs a truth, patients or more of them.
    """
    check_method(method, weights, len(members))
    target = next((one for one in (_target(member) for member in members) if one is not None), None)
    fixed, note = _without_learning(method, members, weights, "oof" in kinds, target, patients)
    if fixed:
        return _by_formula(fixed, members, kinds, weights, note)
    assert target is not None and patients is not None
    from threadpoolctl import threadpool_limits

    scores = stacked(members, "oof")
    fold = patient_folds(target, patients, FOLDS)
    # one thread: how many there are would decide in which order sums are rounded
    with threadpool_limits(1):
        if method == AUTO:
            found = choice.choose(scores, target, fold, progress=progress)
        else:
            found = choice.learn(method, scores, target, fold)
        predictions = {"oof": _predictions(members, "oof", found.scores)}
        if "test" in kinds:
            predictions["test"] = _predictions(members, "test", found.fitted.score(stacked(members, "test")))
    apparent = metrics.roc_auc(target, found.apparent)
    return Blended(found.method, found.fitted.weights, predictions, apparent, found.aucs, found.chosen)


def stacked(members: Sequence[Member], kind: str) -> np.ndarray:
    """Scores float64[K,N] of aligned members."""
    return np.stack([member.predictions[kind].probability for member in members])


def _target(member: Member) -> np.ndarray | None:
    return member.predictions["oof"].target if "oof" in member.predictions else None


def _without_learning(method, members, weights, with_oof, target, patients) -> tuple[str | None, str]:
    """The formula to apply and why, or None where a blend is to be learned."""
    if method in BLENDS:
        return method, ""
    simple = "rank" if _on_other_scales(members) else "mean"
    if len(members) == 1:
        return "mean", "one member: the blend is that member"
    if weights is not None:
        return "mean", ""
    if not with_oof or target is None:
        reason = "no truth is known of these images (out-of-fold files, or --table, would tell it)"
    elif min(positive := _patients_with(target, patients)) < FEWEST_PATIENTS:
        reason = f"{positive[0]} patients with a melanoma and {positive[1]} without are too few to learn from " \
                 f"({FEWEST_PATIENTS} are needed)"  # fmt: skip
    elif patients is None:
        raise UserError("no patients are known, and what is learned must be cross-fitted by patient; give "
                        f"--table=train.csv with patient_id, or --method={simple}")  # fmt: skip
    else:
        return None, ""
    if method in LEARNED:
        raise UserError(f"--method={method}: {reason}; valid without: {', '.join(BLENDS)}")
    return simple, f"{simple}, nothing was learned: {reason}"


def _patients_with(target: np.ndarray, patients: np.ndarray | None) -> tuple[int, int]:
    labels = np.arange(len(target)) if patients is None else patients.astype(str)
    return len(np.unique(labels[target == 1])), len(np.unique(labels[target == 0]))


def _on_other_scales(members: Sequence[Member]) -> bool:
    kind = "test" if all("test" in member.predictions for member in members) else "oof"
    if not all(kind in member.predictions for member in members):
        return False
    levels = [max(float(np.mean(member.predictions[kind].probability)), 1e-12) for member in members]
    return max(levels) > OTHER_SCALE * min(levels)


def _by_formula(method, members, kinds, weights, note: str) -> Blended:
    sources = [member.source for member in members]
    predictions = {
        kind: blend([member.predictions[kind] for member in members], method, weights, sources) for kind in kinds
    }
    return Blended(method, checked_weights(weights, len(members)), predictions, notes=(note,) if note else ())


def _predictions(members: Sequence[Member], kind: str, scores: np.ndarray) -> Predictions:
    """The scores under the names, the truth and, where all members have the same, the folds of the members."""
    first = blend([member.predictions[kind] for member in members], "mean", sources=[one.source for one in members])
    return Predictions(first.image_name, np.clip(scores, 0.0, 1.0), first.target, first.fold)
