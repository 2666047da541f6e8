"""A drawn competition in the layout of the real download: enough to try everything, and free of patients."""

from melanoma_tf.miniature.writer import make_miniature

__all__ = ["make_miniature"]
