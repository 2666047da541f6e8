"""What the other images of a patient look like: statistics that leave out the image itself."""

from __future__ import annotations

import numpy as np


class Others:
    """The values of each image's companions: the other images of the same group, without the image itself.

    Args: group: [N] labels, such as patients. values: float64[N].
    Attributes: count, int64[N]: companions of each image, 0 where it is alone.

    All is done by sorting once: companion k of an image, from below, is the k-th value of its group, or the k+1-th from
    the image's own place on. No result depends on the order of the rows.
    """

    def __init__(self, group: np.ndarray, values: np.ndarray):
        _, self._group = np.unique(np.asarray(group), return_inverse=True)
        self._values = np.asarray(values, np.float64)
        order = np.lexsort((self._values, self._group))
        self._sorted = self._values[order]
        sizes = np.bincount(self._group)
        self._start = (np.cumsum(sizes) - sizes)[self._group]
        self._place = np.empty(len(order), np.int64)  # of the image in its group, from below
        self._place[order] = np.arange(len(order))
        self._place -= self._start
        self.count = sizes[self._group] - 1

    def _companion(self, number: np.ndarray) -> np.ndarray:
        """Companion `number` from below, clipped to those there are; of no meaning where there is none."""
        number = np.clip(number, 0, np.maximum(self.count - 1, 0))
        position = self._start + number + (number >= self._place)
        return self._sorted[np.minimum(position, len(self._sorted) - 1)]

    def quantile(self, share: float) -> np.ndarray:
        """Linearly interpolated as `numpy.quantile`, float64[N]; NaN where an image is alone."""
        at = share * np.maximum(self.count - 1, 0)
        low = np.floor(at).astype(np.int64)
        below, above = self._companion(low), self._companion(low + 1)
        return np.where(self.count > 0, below + (at - low) * (above - below), np.nan)

    def second_highest(self) -> np.ndarray:
        """float64[N]; NaN with fewer than two companions."""
        return np.where(self.count > 1, self._companion(self.count - 2), np.nan)

    def mean(self) -> np.ndarray:
        """float64[N]; NaN where an image is alone."""
        # Of the sorted values: sums in the order of the rows would round differently in another order.
        total = np.add.reduceat(self._sorted, np.unique(self._start))[self._group] if len(self._sorted) else 0.0
        return np.where(self.count > 0, (total - self._values) / np.maximum(self.count, 1), np.nan)

    def deviation(self) -> np.ndarray:
        """Population standard deviation, float64[N]; NaN with fewer than two companions, where there is no spread."""
        squares = Others(self._group, (self._values - self._centre()) ** 2).mean()
        offset = self.mean() - self._centre()
        return np.where(self.count > 1, np.sqrt(np.maximum(squares - offset**2, 0)), np.nan)

    def _centre(self) -> np.ndarray:
        """Median of the whole group: around it, squares do not cancel."""
        size = self.count + 1
        low, high = self._start + (size - 1) // 2, self._start + size // 2
        return (self._sorted[low] + self._sorted[high]) / 2

    def share_above(self) -> np.ndarray:
        """Share of companions with a higher value, ties half, float64[N]; NaN where an image is alone."""
        first, last = self._ties()
        above = self.count + 1 - last
        return np.where(self.count > 0, (above + (last - first - 1) / 2) / np.maximum(self.count, 1), np.nan)

    def _ties(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of the first and behind the last image of the group with the same value, int64[N] each."""
        order = np.empty(len(self._sorted), np.int64)
        order[self._start + self._place] = np.arange(len(order))
        group = self._group[order]
        new = np.ones(len(order), bool)
        new[1:] = (group[1:] != group[:-1]) | (self._sorted[1:] != self._sorted[:-1])
        run = np.cumsum(new) - 1
        first = np.flatnonzero(new)
        last = np.append(first[1:], len(order))
        where = run[self._start + self._place]
        return first[where] - self._start, last[where] - self._start
