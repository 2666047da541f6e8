"""What each member adds to a blend: the blend with it against the blend without it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from melanoma_tf.ensemble.blending import blend_members
from melanoma_tf.ensemble.members import Member
from melanoma_tf.paired import Difference, auc_difference


def added_by_each(
    members: Sequence[Member],
    method: str,
    weights: Sequence[float] | None,
    target: np.ndarray,
    patients: np.ndarray | None,
) -> list[Difference | None]:
    """Per member the AUC of the blend of all minus that of the same blend without it, paired, on out-of-fold images.

    Args: members: two or more, aligned. method: a name of `METHODS`, not `auto`: what is chosen anew without a member
      would mix its worth with that of the choice. A learned method is cross-fitted each time. target int[N];
      patients [N], None for independent images.
    Of members that are alike each adds little, though together they may add much. None where the others' weights are
    all 0, so that there is no blend without it.
    """
    kinds = ["oof"]
    every = blend_members(members, kinds, method, weights, patients).predictions["oof"].probability
    gains: list[Difference | None] = []
    for left_out in range(len(members)):
        others = [member for number, member in enumerate(members) if number != left_out]
        left = None if weights is None else [weight for number, weight in enumerate(weights) if number != left_out]
        if left is not None and not any(left):
            gains.append(None)
            continue
        without = blend_members(others, kinds, method, left, patients).predictions["oof"].probability
        gains.append(auc_difference(target, without, every, patients))
    return gains
