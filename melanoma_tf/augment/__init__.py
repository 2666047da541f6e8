"""Augmentation on the device: sampled per image, composed, applied once.

Every geometric op gives one 3x3 matrix per image and all of them are resampled together; every colour op gives one
3x4 matrix. Random numbers are stateless: the same seed gives the same images on any device and any number of replicas.
"""

from melanoma_tf.augment.ops import OPS, Op
from melanoma_tf.augment.recipe import augment, views

__all__ = ["OPS", "Op", "augment", "views"]
