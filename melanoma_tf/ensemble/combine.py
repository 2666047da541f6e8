"""One prediction out of many by a formula, aligned by image name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from melanoma_tf.ensemble.formulas import BLENDS
from melanoma_tf.errors import UserError, nearest
from melanoma_tf.predictions import Predictions


def blend(
    members: Sequence[Predictions],
    method: str,
    weights: Sequence[float] | None = None,
    sources: Sequence[str] | None = None,
) -> Predictions:
    """Blends members by image name, in the order of the first.

    Args:
      members: one or more predictions of the same images. method: a name in `BLENDS`.
      weights: one per member, not negative, not all zero; equal when None. Only their ratios matter.
      sources: names of the members for messages.

    Returns: predictions with the targets of the members, and their folds where all members have the same.
    Raises: UserError for an unknown method, bad weights, different images or different targets, naming the source.
    """
    if method not in BLENDS:
        raise UserError(f"no blend {method!r}; {nearest(method, BLENDS)}")
    if not members:
        raise UserError("nothing to blend; give at least one member")
    sources = list(sources or [f"member {number}" for number in range(1, len(members) + 1)])
    first = members[0]
    aligned = [member.aligned(first.image_name, source) for member, source in zip(members, sources)]
    scores = np.stack([member.probability for member in aligned])
    blended = BLENDS[method](scores, checked_weights(weights, len(members))) if len(first) else scores[0]
    target = _common_target(aligned, sources)
    return Predictions(first.image_name, np.clip(blended, 0.0, 1.0), target, _common_fold(aligned))


def checked_weights(weights: Sequence[float] | None, members: int) -> np.ndarray:
    """float64[members] that sum to 1. Raises UserError for a wrong number, a negative or NaN weight, or only zeros."""
    values = np.ones(members) if weights is None else np.asarray(weights, np.float64)
    if values.shape != (members,):
        raise UserError(f"{values.size} weights for {members} members; give one weight per member")
    if not (np.isfinite(values).all() and (values >= 0).all() and values.sum() > 0):
        raise UserError(f"weights {', '.join(f'{value:g}' for value in values)}: must be 0 or more, and not all 0")
    return values / values.sum()


def _common_target(members: Sequence[Predictions], sources: Sequence[str]) -> np.ndarray | None:
    known = [(member.target, source) for member, source in zip(members, sources) if member.target is not None]
    for target, source in known[1:]:
        differs = target != known[0][0]
        if differs.any():
            name = members[0].image_name[differs][0]
            raise UserError(f"target of {name} differs between {known[0][1]} and {source}; they must be the same data")
    return known[0][0] if known else None


def _common_fold(members: Sequence[Predictions]) -> np.ndarray | None:
    fold = members[0].fold
    same = fold is not None and all(
        member.fold is not None and np.array_equal(member.fold, fold) for member in members[1:]
    )
    return fold if same else None
