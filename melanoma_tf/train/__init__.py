"""Training: the folds of a run, one fold, one step."""

from melanoma_tf.train.run import train

__all__ = ["train"]
