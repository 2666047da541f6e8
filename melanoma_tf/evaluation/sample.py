"""Images with their truth, probability and patient, counted for many weightings of the patients at once."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy import sparse

from melanoma_tf.errors import UserError
from melanoma_tf.metrics import require_two_classes


class Sample:
    """Images that a metric is computed on; sorted once, whatever the number of weightings.

    Args:
      target: int[N] of 0 and 1. probability: float[N] in [0, 1]. patients: [N] labels; None means that every image is
        a patient of its own. what: how a message names the images.
    Attributes: target bool[N], probability float64[N], cluster int[N] of 0 to clusters - 1.
    Raises: UserError for one class only, a probability that is NaN or outside [0, 1], or fewer than two patients.
    """

    def __init__(
        self, target: np.ndarray, probability: np.ndarray, patients: np.ndarray | None = None, what: str = "metrics"
    ):
        self.target = np.asarray(target).astype(bool)
        self.probability = np.asarray(probability, np.float64)
        labels = np.arange(len(self.target)) if patients is None else np.asarray(patients, str)
        if not len(self.target) == len(self.probability) == len(labels):
            raise UserError(f"{what}: {len(self.target)} targets, {len(self.probability)} probabilities and "
                            f"{len(labels)} patients; one of each per image is needed")  # fmt: skip
        require_two_classes(self.target, what)
        wrong = ~((self.probability >= 0) & (self.probability <= 1))  # also true for NaN
        if wrong.any():
            raise UserError(f"{what}: {int(wrong.sum())} of {len(wrong)} numbers are not probabilities in [0, 1], "
                            f"such as {self.probability[wrong][0]}")  # fmt: skip
        self.cluster = np.unique(labels, return_inverse=True)[1].ravel()
        self.clusters = int(self.cluster.max()) + 1
        if self.clusters < 2:
            raise UserError(f"{what}: all images are of one patient; an interval needs at least two")

    def per_patient(self, values: np.ndarray) -> np.ndarray:
        """Sum of values, float64[N], over the images of each patient, float64[P]."""
        return np.bincount(self.cluster, weights=values, minlength=self.clusters)

    def patients_with(self, value: bool) -> int:
        """How many patients have a melanoma (True), or a benign image (False)."""
        return len(np.unique(self.cluster[self.target == value]))

    @cached_property
    def steps(self) -> int:
        """G, the number of distinct probabilities that a melanoma has: only there can sensitivity rise."""
        return len(np.unique(self.probability[self.target]))

    @cached_property
    def counts(self) -> sparse.csr_matrix:
        """How many images of each patient are where in the order, float64[3G+1,P].

        Rows 0 to G-1: melanoma at each step, from the highest on; G to 2G-1: benign images tied with a step; 2G on:
        benign images between the step before and this one, the last row below all steps. A product with the weights of
        patients counts everything that the metrics of order need, over 3G+1 rows instead of N.
        """
        step_scores = np.unique(self.probability[self.target])
        at_least = self.steps - np.searchsorted(step_scores, self.probability, side="left")  # steps >= the image's
        above = self.steps - np.searchsorted(step_scores, self.probability, side="right")
        tied = at_least > above
        row = np.where(self.target, above, np.where(tied, self.steps + above, 2 * self.steps + above))
        ones, shape = np.ones(len(row)), (3 * self.steps + 1, self.clusters)
        return sparse.csr_matrix((ones, (row, self.cluster)), shape=shape)


class Weighted:
    """A sample in which patients count with weights, for R weightings at once.

    Args: sample; weights: float64[P,R], such as how often each patient was drawn.
    Attributes: positives, negatives: total weights float64[R]. hits float64[G,R]: weight of the melanoma at each step
      (see `Sample.counts`), alarms_before and alarms float64[G,R]: weight of benign images above the step, and above
      or tied with it.
    """

    def __init__(self, sample: Sample, weights: np.ndarray):
        self.sample, self.weights = sample, weights
        self.positives, self.negatives = self.sums(np.stack([sample.target, ~sample.target]).astype(np.float64))

    @cached_property
    def _counted(self) -> np.ndarray:
        return self.sample.counts @ self.weights

    @property
    def hits(self) -> np.ndarray:
        return self._counted[: self.sample.steps]

    @cached_property
    def alarms(self) -> np.ndarray:
        steps = self.sample.steps
        return np.cumsum(self._counted[steps : 2 * steps] + self._counted[2 * steps : 3 * steps], axis=0)

    @property
    def alarms_before(self) -> np.ndarray:
        steps = self.sample.steps
        return self.alarms - self._counted[steps : 2 * steps]

    @cached_property
    def found(self) -> np.ndarray:
        """Weight of the melanoma at or above each step, float64[G,R]."""
        return np.cumsum(self.hits, axis=0)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Weighted sums of values, float64[K,N], over all images, float64[K,R]."""
        return np.stack([self.sample.per_patient(row) for row in np.atleast_2d(values)]) @ self.weights

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Weighted mean of values, float64[N], float64[R]."""
        return self.sums(values)[0] / (self.positives + self.negatives)
