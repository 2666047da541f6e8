"""Blending: one prediction out of many, aligned by image name. Add a formula to `BLENDS`, a learned blend to `LEARNED`.

Everything here but `blend` and the formulas knows of the truth, so it is cross-fitted by patient: see `choice`.
"""

from melanoma_tf.ensemble.combine import blend, checked_weights
from melanoma_tf.ensemble.formulas import BLENDS, Blend, geometric, log_odds, mean, power, rank

__all__ = ["BLENDS", "Blend", "blend", "checked_weights", "geometric", "log_odds", "mean", "power", "rank"]
