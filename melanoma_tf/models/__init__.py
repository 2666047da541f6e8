"""Networks: a backbone, pooling, a head. Images in [0, 1], logits out; normalisation is inside."""

from melanoma_tf.models.backbones import BACKBONES
from melanoma_tf.models.build import build_model, load_model_weights, save_model_weights

__all__ = ["BACKBONES", "build_model", "load_model_weights", "save_model_weights"]
