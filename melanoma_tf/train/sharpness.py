"""Sharpness-aware minimisation: the gradient where the loss nearby is worst (Foret et al. 2021, arXiv 2010.01412)."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from melanoma_tf.distribute import on_each_replica
from melanoma_tf.keras_compat import as_tensorflow, keras
from melanoma_tf.models.normalizations import statistics_kept


def sharpness_aware(loss_and_gradients: Callable, model: keras.Model, rho: float) -> tuple:
    """`(loss, gradients)` of a step, for use within `strategy.run`; twice the work of a plain one.

    Args:
      loss_and_gradients: `() -> (loss, gradients of model.trainable_variables)`, the same function at each call.
      rho: distance to the worse place, in the norm over all weights; 0 takes the gradient where the weights are.

    The loss is that of the weights themselves, and so are the running statistics of BatchNormalization. The direction
    comes from the gradient of the global batch, so the number of replicas does not change it; the paper's code takes
    each device's own.
    """
    loss, gradients = loss_and_gradients()
    if not rho:
        return loss, gradients
    pairs = [(as_tensorflow(v), g) for v, g in zip(model.trainable_variables, gradients) if g is not None]
    variables = [variable for variable, _ in pairs]
    kept = [tf.identity(variable) for variable in variables]
    uphill = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, [g for _, g in pairs])
    scale = rho / (tf.linalg.global_norm(uphill) + 1e-12)
    with statistics_kept(model):
        on_each_replica(variables, _climb, [gradient * scale for gradient in uphill])
        _, gradients = loss_and_gradients()
        on_each_replica(variables, _return, kept)
    return loss, gradients


def _climb(variable, uphill) -> None:
    variable.assign_add(uphill)


def _return(variable, kept) -> None:
    variable.assign(kept)  # subtracting would leave a rounding error behind
