"""Patient context: an image's score improved by what is known of the patient and of the patient's other images."""

from melanoma_tf.context.features import Reference, context_features, fit_reference
from melanoma_tf.context.model import ContextModel, ContextSettings, cross_fitted_context, fit_context

__all__ = [
    "ContextModel",
    "ContextSettings",
    "Reference",
    "context_features",
    "cross_fitted_context",
    "fit_context",
    "fit_reference",
]
