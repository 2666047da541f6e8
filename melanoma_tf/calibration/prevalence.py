"""Another share of melanoma than in the data of the calibration."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

from melanoma_tf.errors import UserError


def shift_prevalence(probability: np.ndarray, before: float, after: float) -> np.ndarray:
    """Probabilities, float64[N], where the share of melanoma is `after` and not `before`; 0 and 1 stay.

    The odds are multiplied by the ratio of the prior odds, which is right where melanoma and benign lesions each look
    as they did and only their shares differ.
    Source: Elkan, The foundations of cost-sensitive learning, IJCAI 2001, theorem 2; Saerens, Latinne & Decaestecker,
    Adjusting the outputs of a classifier to new a priori probabilities, Neural Computation 14 (2002) 21-41.
    Raises: UserError where a share is not between 0 and 1.
    """
    for share in (before, after):
        if not 0 < share < 1:
            raise UserError(f"a prevalence of {share} is not possible; valid is more than 0 and less than 1")
    with np.errstate(divide="ignore"):  # the log odds of 0 and 1 are infinite, and stay so
        return expit(logit(np.asarray(probability, np.float64)) + logit(after) - logit(before))
