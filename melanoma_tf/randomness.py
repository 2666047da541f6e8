"""Stateless random numbers that are the same on a CPU, a GPU and a TPU, compiled or not.

TensorFlow's default picks Philox or ThreeFry by device, and even with one generator XLA makes other floats from the
bits than the plain kernels do (seen with 2.15 and 2.21). The bits of Philox (Salmon et al. 2011) are the same
everywhere, so the floats are made of them here.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import tensorflow as tf


def fold_in(seed: tf.Tensor, data: str | int | tf.Tensor) -> tf.Tensor:
    """A new seed, int32[2], from a seed and a name or a number."""
    number = zlib.crc32(data.encode()) & 0x7FFFFFFF if isinstance(data, str) else data
    return tf.random.experimental.stateless_fold_in(seed, number, alg="philox")


def uniform(shape: Sequence[int | tf.Tensor], seed: tf.Tensor, low: float = 0.0, high: float = 1.0) -> tf.Tensor:
    """float32 of `shape`, uniform in [low, high) in steps of (high - low) / 2^24, a function of `seed` int32[2]."""
    bits = tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox")
    unit = tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24
    return low + (high - low) * unit
