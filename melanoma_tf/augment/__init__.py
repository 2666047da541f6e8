"""Augmentation on the device: sampled per image, composed, applied once.

Every geometric op gives one 3x3 matrix per image and all of them are resampled together; every colour op gives one
3x4 matrix. Random numbers are stateless: the same seed gives the same images on any device and any number of replicas.
"""

from melanoma_tf.augment.mix import mix
from melanoma_tf.augment.op import Op
from melanoma_tf.augment.ops import OPS
from melanoma_tf.augment.policy import groups
from melanoma_tf.augment.recipe import augment
from melanoma_tf.augment.views import VIEWS, views

__all__ = ["OPS", "VIEWS", "Op", "augment", "groups", "mix", "views"]
