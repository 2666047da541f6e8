"""What sensors and codecs add: noise, and the blocks of JPEG."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from melanoma_tf.augment.filters import reflect, sample_amount
from melanoma_tf.augment.op import Parameters, Strength, per_image, uniform

MAX_DEVIATION = 0.04  # colours in [0, 1]
MIN_QUALITY = 30.0
BLOCK = 8
# Quantisation at quality 50 (ITU-T T.81, annex K.1).
LUMA_TABLE = [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
]
CHROMA_TABLE = [
    [17, 18, 24, 47, 99, 99, 99, 99],
    [18, 21, 26, 66, 99, 99, 99, 99],
    [24, 26, 56, 99, 99, 99, 99, 99],
    [47, 66, 99, 99, 99, 99, 99, 99],
    *[[99] * 8] * 4,
]
# From RGB to Y, Cb and Cr about 0 (JFIF).
TO_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def sample_gaussian_noise(seed: tf.Tensor, batch: int, strength: Strength) -> dict[str, tf.Tensor]:
    """`deviation`, uniform in [0, 0.04 x strength), float32[batch], and `key` of the noise, int32[batch]."""
    key = tf.cast((uniform(seed, batch, 1) + 1.0) * 2.0**23, tf.int32)
    return {"deviation": sample_amount(seed, batch, strength) * MAX_DEVIATION, "key": key}


def gaussian_noise(images: tf.Tensor, parameters: Parameters) -> tf.Tensor:
    """Adds independent Gaussian noise to every channel of every pixel; clipped to [0, 1].

    Range: 0.02 at strength 0.5 is the variance of 30 (of 255^2) of the winners of SIIM-ISIC 2020.
    """
    count = math.prod(images.shape[1:])
    places = _scrambled(tf.cast(tf.range(count), tf.uint32))[None]
    bits = _scrambled(places + _scrambled(tf.cast(parameters["key"], tf.uint32))[:, None])
    bits = tf.bitwise.right_shift(bits, tf.constant(9, tf.uint32))
    unit = (tf.cast(bits, tf.float32) + 0.5) * 2.0**-22 - 1.0  # in (-1, 1), both ends excluded
    normal = tf.reshape(tf.math.erfinv(unit) * math.sqrt(2), images.shape)
    return tf.clip_by_value(images + normal * per_image(parameters["deviation"], 4), 0.0, 1.0)


def _scrambled(values: tf.Tensor) -> tf.Tensor:
    """uint32 to uint32, one to one: the hash `lowbias32` of C. Wellons, "Prospecting for hash functions" (2018).

    As noise it needs to be fast and the same everywhere, no more; Philox for every pixel takes 15 times as long.
    """
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        values ^= tf.bitwise.right_shift(values, tf.constant(shift, tf.uint32))
        values *= tf.constant(factor, tf.uint32)
    return values ^ tf.bitwise.right_shift(values, tf.constant(16, tf.uint32))


def sample_blockiness(seed: tf.Tensor, batch: int, strength: Strength) -> tf.Tensor:
    """Quality of JPEG, uniform from 100 down to 100 - 70 x strength, float32[batch]."""
    return 100.0 - (100.0 - MIN_QUALITY) * sample_amount(seed, batch, strength)


def blockiness(images: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
    """What JPEG 4:4:4 loses at a quality as libjpeg counts it: the cosine transform of 8x8 blocks, rounded to steps.

    Blocks have 8 pixels at every size, as those of a file have. Quality 100 is left alone.
    """
    size = images.shape[1]
    padded = reflect(reflect(images, 0, -size % BLOCK, 1), 0, -size % BLOCK, 2)
    grey = tf.constant([128.0, 0.0, 0.0])
    blocks = _to_blocks(_recombined(padded * 255.0, TO_YCBCR) - grey)
    # As a product of matrices although a TPU rounds its factors to bfloat16: that is less than one level of 255.
    transform = tf.constant(np.kron(_cosines(), _cosines()), tf.float32)
    steps = quantisation(quality)[:, None, None]
    coded = tf.round(tf.matmul(blocks, transform, transpose_b=True) / steps) * steps
    shown = _from_blocks(tf.matmul(coded, transform), padded.shape[1])
    shown = _recombined(shown + grey, np.linalg.inv(TO_YCBCR))[:, :size, :size] / 255.0
    return tf.where(per_image(quality, 4) < 100.0, tf.clip_by_value(shown, 0.0, 1.0), images)


def quantisation(quality: tf.Tensor) -> tf.Tensor:
    """Steps of the 64 coefficients of Y, Cb and Cr at a quality in [1, 100], float32[B,3,64]; libjpeg's formula."""
    tables = tf.constant(np.reshape([LUMA_TABLE, CHROMA_TABLE, CHROMA_TABLE], [1, 3, 64]), tf.float32)
    percent = tf.floor(tf.where(quality < 50.0, 5000.0 / quality, 200.0 - 2.0 * quality))
    return tf.clip_by_value(tf.floor((tables * per_image(percent, 3) + 50.0) / 100.0), 1.0, 255.0)


def _cosines() -> np.ndarray:
    """The orthonormal cosine transform of 8 values, float64[8,8]."""
    wave, place = np.mgrid[:BLOCK, :BLOCK]
    matrix = np.sqrt(2 / BLOCK) * np.cos(np.pi / BLOCK * wave * (place + 0.5))
    matrix[0] /= np.sqrt(2)
    return matrix


def _to_blocks(images: tf.Tensor) -> tf.Tensor:
    """float32[B,S,S,3] to [B,S/8,S/8,3,64]."""
    batch, many = images.shape[0], images.shape[1] // BLOCK
    parts = tf.reshape(images, [batch, many, BLOCK, many, BLOCK, 3])
    return tf.reshape(tf.transpose(parts, [0, 1, 3, 5, 2, 4]), [batch, many, many, 3, BLOCK * BLOCK])


def _from_blocks(blocks: tf.Tensor, size: int) -> tf.Tensor:
    batch, many = blocks.shape[:2]
    parts = tf.transpose(tf.reshape(blocks, [batch, many, many, 3, BLOCK, BLOCK]), [0, 1, 4, 2, 5, 3])
    return tf.reshape(parts, [batch, size, size, 3])


def _recombined(images: tf.Tensor, matrix: np.ndarray) -> tf.Tensor:
    """Each colour times a 3x3 matrix, as sums in float32."""
    columns = matrix.T.astype(np.float32)
    return tf.add_n([images[..., channel : channel + 1] * columns[channel] for channel in range(3)])
