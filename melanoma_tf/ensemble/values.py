"""What the numbers of a prediction file are: probabilities, or ranks or logits that can be told for certain."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from melanoma_tf.errors import UserError

SURELY_OUTSIDE = 0.5  # share of numbers outside [0, 1] from which they are no probabilities with a slip
LARGEST_PROBABLE_LOGIT = 100.0
SURELY_RANKS = 0.9  # share of distinct values, and least share of 1..n that they reach


def as_probabilities(values: np.ndarray, names: np.ndarray, what: str) -> tuple[np.ndarray, str]:
    """float64[N] in [0, 1] of finite numbers, and a note where they were no probabilities, "" else.

    Args: values float64[N]. names str[N], for messages. what: the file and its column.
    Raises: UserError, naming the first such image, for NaN, infinity, a constant, and for numbers outside [0, 1] that
      are neither ranks nor logits for certain.
    """
    _refuse(~np.isfinite(values), values, names, what, "valid are numbers from 0 to 1")
    if len(values) > 1 and (values == values[0]).all():
        raise UserError(f"{what} is {values[0]:g} for all {len(values)} images; a constant tells nothing")
    outside = (values < 0) | (values > 1)
    if not outside.any():
        return values, "ranks on a scale of 0 to 1: an order, no probabilities" if _is_even(values) else ""
    if _are_ranks(values):
        # whatever the file started to count from, 0 or 1
        return (values - values.min() + 0.5) / (values.max() - values.min() + 1), "ranks, divided by their number"
    if _are_logits(values, outside):
        return expit(values), f"logits from {values.min():.3g} to {values.max():.3g}, through a sigmoid"
    advice = "divide percentages by 100" if 1 < values.max() <= 100 and values.min() >= 0 else "logits need a sigmoid"
    _refuse(outside, values, names, what, f"valid are probabilities from 0 to 1; {advice}")
    raise AssertionError("unreachable: something is outside")


def _refuse(wrong: np.ndarray, values: np.ndarray, names: np.ndarray, what: str, valid: str) -> None:
    if wrong.any():
        first = int(np.argmax(wrong))
        raise UserError(f"{what} of {names[first]} is {values[first]:g} ({int(wrong.sum())} of {len(values)}); {valid}")


def _are_ranks(values: np.ndarray) -> bool:
    """Whole or half numbers that fill a range about as long as there are images, mostly each once."""
    span, distinct = values.max() - values.min() + 1, len(np.unique(values))
    return bool(
        values.min() in (0, 0.5, 1) and (2 * values == np.rint(2 * values)).all() and len(values) >= 3
        and distinct >= SURELY_RANKS * len(values) and SURELY_RANKS * len(values) <= span <= len(values) + 1
    )  # fmt: skip


def _are_logits(values: np.ndarray, outside: np.ndarray) -> bool:
    """Negative for most: at a rate below a half the typical image has a logit below 0, and no probability has."""
    return bool(
        outside.mean() >= SURELY_OUTSIDE and np.median(values) < -0.5 and np.abs(values).max() <= LARGEST_PROBABLE_LOGIT
    )


def _is_even(values: np.ndarray) -> bool:
    """Probabilities of a rare disease are never spread evenly over 0 to 1; ranks divided by their number are."""
    even = (np.arange(len(values)) + 0.5) / len(values)
    return len(values) >= 100 and bool(np.abs(np.sort(values) - even).max() < 0.01)
