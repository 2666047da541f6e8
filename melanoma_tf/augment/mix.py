"""Mixing two images and their truths: mixup and cutmix.

Partners are neighbours in the batch (0 and 1, 2 and 3, ...), so that a replica finds them in its own share whatever the
number of replicas; of an odd share the last stays alone.
"""

from __future__ import annotations

import tensorflow as tf

from melanoma_tf.augment.op import per_image, uniform
from melanoma_tf.config import AugmentConfig
from melanoma_tf.randomness import fold_in


def mix(
    images: tf.Tensor,
    target: tf.Tensor,
    seed: tf.Tensor,
    config: AugmentConfig,
    replica: tf.Tensor | int = 0,
    replicas: int = 1,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixes each image with its neighbour, at the strengths `mixup` and `cutmix` of the recipe.

    Mixup (Zhang et al. 2018): own share 1 - u, u uniform in [0, strength / 2), in place of their Beta distribution,
    which has no stateless sampler that compiles for a TPU. Cutmix (Yun et al. 2019): a rectangle of the neighbour
    whose area is uniform in [0, strength / 2) of the image; the truth is mixed by the share of pixels it really covers.

    Args:
      images: float32[B,S,S,3]. target: float32[B,C]. seed, replica, replicas: as for `augment`.

    Returns: images and target of the same shapes; the weights of an image and its neighbour sum to 1.
    """
    batch, size = images.shape[0], images.shape[1]

    def draw(name: str, number: int) -> tf.Tensor:
        """float32[B] in [0, 1), this replica's share of a draw for the global batch."""
        whole = (uniform(fold_in(seed, name), batch * replicas, number) + 1.0) / 2.0
        return tf.slice(whole, [replica * batch], [batch])

    if config.mixup > 0:
        other = per_image(draw("mixup", 0) * config.mixup / 2, 4)
        images = images * (1 - other) + swapped(images) * other
        other = other[:, :, 0, 0]
        target = target * (1 - other) + swapped(target) * other
    if config.cutmix > 0:
        area, shape, left, top = (draw("cutmix", number) for number in range(4))
        inside = _rectangles(area * config.cutmix / 2, shape, left, top, size)
        images = tf.where(inside[..., None], swapped(images), images)
        other = tf.reduce_mean(tf.cast(inside, tf.float32), axis=[1, 2])[:, None]
        target = target * (1 - other) + swapped(target) * other
    return images, target


def swapped(values: tf.Tensor) -> tf.Tensor:
    """Each row's neighbour, [B, ...]."""
    even = values.shape[0] // 2 * 2
    pairs = tf.reshape(values[:even], [even // 2, 2, *values.shape[1:]])
    neighbours = tf.reshape(pairs[:, ::-1], [even, *values.shape[1:]])
    return tf.concat([neighbours, values[even:]], axis=0)


def _rectangles(area: tf.Tensor, shape: tf.Tensor, left: tf.Tensor, top: tf.Tensor, size: int) -> tf.Tensor:
    """bool[B,S,S], a rectangle each, wholly inside the image, sides between 1:2 and 2:1 where it fits."""
    width = tf.minimum(tf.sqrt(area) * tf.pow(2.0, shape - 0.5), 1.0)
    height = tf.minimum(area / tf.maximum(width, 1e-6), 1.0)
    centre = (tf.range(size, dtype=tf.float32) + 0.5) / size

    def between(start: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        start = (start * (1 - length))[:, None]
        return (centre >= start) & (centre < start + length[:, None])

    return between(top, height)[:, :, None] & between(left, width)[:, None, :]
