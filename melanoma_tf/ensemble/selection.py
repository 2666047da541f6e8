"""Forward selection of members with replacement, on the exact AUC of their mean rank.

Source: R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes, Ensemble selection from libraries of models, ICML 2004.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

ROUNDS = 24
BINS = 4096  # a finer grid leaves fewer members in doubt but takes longer to fill
SAME_BIN = 32  # bits of the pairs told in order, below those of the pairs told to share a bin


def doubled_ranks(scores: np.ndarray) -> np.ndarray:
    """Twice the rank of every score within its member, int32[K,N], whole numbers also for ties. scores float[K,N]."""
    return np.rint(2 * rankdata(scores, axis=1)).astype(np.int32)


@dataclass(frozen=True)
class Selection:
    """Attributes: picks, the members in the order of being taken, [n]; aucs, the AUC after each of the rounds, which
    may be more than n: picks end where the AUC was best."""

    picks: list[int]
    aucs: list[float]

    def weights(self, members: int) -> np.ndarray:
        """float64[members], the share of the picks that each member has; sums to 1."""
        return np.bincount(self.picks, minlength=members) / len(self.picks)


def forward_selection(ranks: np.ndarray, target: np.ndarray, rounds: int = ROUNDS) -> Selection:
    """Adds in every round the member that lifts the AUC of the sum of ranks most, whether it was taken before or not.

    Equal members: the first. Equal rounds: the earliest. Every AUC that decides is exact: pairs are first counted on a
    grid of sums, which bounds the AUC of every member, and only members that the bounds leave in doubt are sorted.

    Args: ranks: int[K,N], not negative, as of `doubled_ranks`. target: int[N] of 0 and 1. rounds: 1 or more.
    """
    target = np.asarray(target).astype(bool)
    ranks = np.asarray(ranks, np.int32)  # half of what int64 would move: one member's row fits the cache
    # by number: taking columns by a mask is five times as slow
    positive, negative = (ranks.take(np.flatnonzero(kind), axis=1) for kind in (target, ~target))
    count = _PairCounter(positive, negative, rounds)
    picks: list[int] = []
    losses: list[int] = []
    for _ in range(rounds):
        member, loss = count.best()
        picks.append(member)
        losses.append(loss)
        count.add(member)
    best = int(np.argmin(losses))
    pairs = 2 * int(target.sum()) * int((~target).sum())
    return Selection(picks[: best + 1], [1 - loss / pairs for loss in losses])


class _PairCounter:
    """Counts pairs in the wrong order, twice (ties once), of a running sum of ranks with each member added."""

    def __init__(self, positive: np.ndarray, negative: np.ndarray, rounds: int):
        self.positive, self.negative = positive, negative
        self.positive_sum, self.negative_sum = (np.zeros(part.shape[1], np.int32) for part in (positive, negative))
        self.top = int(max(positive.max(), negative.max()))
        if self.top * rounds >= 2**31:
            raise ValueError(f"{rounds} rounds of ranks up to {self.top} overflow 32 bits")
        self.pairs = positive.shape[1] * negative.shape[1]
        self.taken = 0
        self.sums, self.bins = np.empty(negative.shape[1], np.int32), np.empty(negative.shape[1], np.intp)
        self.found, self.space = np.empty(negative.shape[1], np.int64), np.empty(len(positive) * BINS, np.int64)

    def add(self, member: int) -> None:
        self.positive_sum += self.positive[member]
        self.negative_sum += self.negative[member]
        self.taken += 1

    def best(self) -> tuple[int, int]:
        """The member that leaves the fewest pairs in the wrong order, and their number, twice."""
        shift = max(int((self.taken + 1) * self.top).bit_length() - (BINS - 1).bit_length(), 0)
        bounds = np.array([[0, 2 * self.pairs]] * len(self.positive))
        if self.pairs < 1 << (SAME_BIN - 1):
            bounds[:] = [self._bounds(member, row, shift) for member, row in enumerate(self._tables(shift))]
        best = (int(bounds[:, 1].min()), len(bounds))
        for member in np.argsort(bounds.sum(1), kind="stable").tolist():
            if bounds[member, 0] <= best[0]:
                best = min(best, (self._exact(member), member))
        return best[1], best[0]

    def _tables(self, shift: int) -> np.ndarray:
        """For each member and bin the positives in lower bins, and above `SAME_BIN` bits those in the same bin."""
        members, length = len(self.positive), ((self.taken + 1) * self.top >> shift) + 1
        bins = (self.positive_sum + self.positive) >> shift
        bins += np.arange(0, members * length, length, dtype=np.int32)[:, None]
        within = np.bincount(bins.ravel(), minlength=members * length).reshape(members, length)
        tables = self.space[: members * length].reshape(members, length)
        np.cumsum(within, axis=1, out=tables)
        within *= (1 << SAME_BIN) - 1
        tables += within
        return tables

    def _bounds(self, member: int, table: np.ndarray, shift: int) -> tuple[int, int]:
        np.add(self.negative_sum, self.negative[member], out=self.sums)
        np.right_shift(self.sums, shift, out=self.sums)
        self.bins[...] = self.sums
        np.take(table, self.bins, out=self.found, mode="clip")  # every bin is valid; "raise" would copy
        same, wrong = divmod(int(self.found.sum()), 1 << SAME_BIN)
        return 2 * wrong, 2 * (wrong + same)

    def _exact(self, member: int) -> int:
        np.add(self.negative_sum, self.negative[member], out=self.sums)
        self.sums.sort()
        positive = np.sort(self.positive_sum + self.positive[member])
        below_or_same = np.searchsorted(self.sums, positive, "left") + np.searchsorted(self.sums, positive, "right")
        return 2 * len(self.sums) * len(positive) - int(below_or_same.sum())
