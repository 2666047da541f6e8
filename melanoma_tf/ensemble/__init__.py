"""Blending: one prediction out of many, aligned by image name. Add a formula to `BLENDS`, a learned blend to `LEARNED`.

`blend` applies a formula. `blend_members` chooses and learns, and what it says of out-of-fold images is cross-fitted by
patient (`choice`); `read_members` takes the files that are out there.
"""

from melanoma_tf.ensemble.blending import AUTO, Blended, blend_members, check_method, stacked
from melanoma_tf.ensemble.choice import METHODS
from melanoma_tf.ensemble.combine import blend, checked_weights
from melanoma_tf.ensemble.formulas import BLENDS, Blend, geometric, log_odds, mean, power, rank
from melanoma_tf.ensemble.learned import LEARNED
from melanoma_tf.ensemble.members import Member, common_truth, known_patients, on_same_images, read_members

__all__ = [
    "AUTO", "BLENDS", "LEARNED", "METHODS", "Blend", "Blended", "Member", "blend", "blend_members", "check_method",
    "checked_weights", "common_truth", "geometric", "known_patients", "log_odds", "mean", "on_same_images", "power",
    "rank", "read_members", "stacked",
]  # fmt: skip
