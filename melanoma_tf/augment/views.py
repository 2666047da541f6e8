"""Test-time views: one image seen several ways, whose probabilities are averaged. The first is the image itself."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from melanoma_tf.augment.recipe import augment_alike
from melanoma_tf.augment.resample import warp
from melanoma_tf.config import Config
from melanoma_tf.randomness import fold_in

CROP_SHARE = 7 / 8  # of the side, as 224 of 256 in Krizhevsky et al. 2012


def dihedral_views(images: tf.Tensor, config: Config) -> list[tf.Tensor]:
    """Up to eight: itself, left-right, up-down, both, and those transposed."""
    flips = [images, images[:, :, ::-1], images[:, ::-1], images[:, ::-1, ::-1]]
    if config.predict.views > 4:
        flips += [tf.transpose(view, [0, 2, 1, 3]) for view in flips]
    return flips[: config.predict.views]


def crop_views(images: tf.Tensor, config: Config) -> list[tf.Tensor]:
    """Up to ten: itself, the four corners of 7/8 of the side scaled up to the whole, and the mirror images of the five.

    In place of the middle crop stands the whole image: nothing of a lesion at the border is lost in all views.
    """
    rest = 1 - CROP_SHARE
    places = [(0, 0), (-rest, -rest), (rest, -rest), (-rest, rest), (rest, rest)]
    crops = [images, *(_cropped(images, x, y) for x, y in places[1:])]
    return [*crops, *(crop[:, :, ::-1] for crop in crops)][: config.predict.views]


def _cropped(images: tf.Tensor, x: float, y: float) -> tf.Tensor:
    matrix = tf.constant([[[CROP_SHARE, 0, x], [0, CROP_SHARE, y], [0, 0, 1]]], tf.float32)
    return warp(images, tf.repeat(matrix, images.shape[0], axis=0))


def random_views(images: tf.Tensor, config: Config) -> list[tf.Tensor]:
    """Itself and draws of the recipe's augmentation, each the same for all images, so that batches do not matter."""
    seed = tf.constant([config.seed, 0])
    return [images] + [
        augment_alike(images * 255.0, fold_in(seed, number), config.augment)
        for number in range(1, config.predict.views)
    ]


# Kind of views -> images float32[B,S,S,3] in [0, 1] and the run's settings -> that many such tensors.
VIEWS: dict[str, Callable[[tf.Tensor, Config], list[tf.Tensor]]] = {
    "dihedral": dihedral_views,
    "crops": crop_views,
    "random": random_views,
}


def views(images: tf.Tensor, config: Config) -> list[tf.Tensor]:
    """`config.predict.views` views of the kind `config.predict.view_kind`."""
    return VIEWS[config.predict.view_kind](images, config)
