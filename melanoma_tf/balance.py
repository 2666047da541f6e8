"""Groups that must stay together, spread over bins so that every count is as even as it can be."""

from __future__ import annotations

import numpy as np

SWEEPS = 20


def balanced_bins(counts: np.ndarray, bins: int, seed: int = 0, weight: np.ndarray | None = None) -> np.ndarray:
    """Assigns groups (patients) to bins (shards, folds): a deal by size, then swaps and moves while they help.

    What is minimised is the sum over bins and columns of the squared difference to the mean, each column in units of
    its mean, so that two melanoma too many weigh as much as a hundred images too many where there are fifty times as
    many images.

    Args:
      counts: [G, D] what each group has: images, melanoma, 1 for itself, ...; columns of zeros do not count.
      bins: number of bins. seed: of the order in which groups are tried.
      weight: float64[D] of each column's squared differences in place of those units.

    Returns: int64[G], 0..bins-1; the same for the same arguments on every machine.
    """
    counts = np.asarray(counts, np.int64)
    # Deal the largest first, back and forth, the rarest column before the others.
    columns = counts[:, np.argsort(-counts.sum(0), kind="stable")].T
    order = np.lexsort([np.arange(len(counts)), *-columns])
    turn, place = np.divmod(np.arange(len(counts)), bins)
    assigned = np.empty(len(counts), np.int64)
    assigned[order] = np.where(turn % 2, bins - 1 - place, place)
    sums = np.zeros((bins, counts.shape[1]), np.int64)
    np.add.at(sums, assigned, counts)
    if weight is None:
        weight = np.array([1.0 / total**2 if total else 0.0 for total in counts.sum(0).tolist()])
    random = np.random.default_rng(seed)
    for _ in range(SWEEPS):
        changed = [_improve(group, counts, assigned, sums, weight) for group in random.permutation(len(counts))]
        if not any(changed):
            break
    return assigned


def _improve(group: int, counts: np.ndarray, assigned: np.ndarray, sums: np.ndarray, weight: np.ndarray) -> bool:
    """Moves a group, or swaps it with another one, where that helps most; False where nothing helps."""
    here = assigned[group]
    # Cost change of sending `difference` from `here` to bin t: 2 * difference * (difference + sums[t] - sums[here]).
    difference = np.concatenate([counts[group] - counts, np.broadcast_to(counts[group], sums.shape)])
    target = np.concatenate([assigned, np.arange(len(sums))])
    gain = difference * (difference + sums[target] - sums[here])
    # Column by column: a matrix product may round differently on another machine, and ties be broken differently.
    change = sum((gain[:, column] * weight[column] for column in range(len(weight))), np.zeros(len(gain)))
    change[target == here] = 0.0
    best = int(np.argmin(change))
    if change[best] > -1e-12:
        return False
    sums[here] -= difference[best]
    sums[target[best]] += difference[best]
    assigned[group] = target[best]
    if best < len(counts):
        assigned[best] = here
    return True
