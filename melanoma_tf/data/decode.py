"""JPEG to uint8: decoded at the scale that is wanted, in the frequency domain; only the rest is resized."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

DCT_RATIOS = (1, 2, 4, 8)  # scales at which libjpeg can decode in the frequency domain


def decode_jpeg(jpeg: tf.Tensor, image_size: int) -> tf.Tensor:
    """uint8[S,S,3] of JPEG bytes: decoded at 1/8 to 1/1 in the DCT domain, the smallest that covers S, then resized.

    An image that is not square is squeezed: nothing of the lesion is cut away.
    """
    side = tf.reduce_min(tf.image.extract_jpeg_shape(jpeg)[:2])
    branches = [lambda ratio=ratio: _decode_at(jpeg, ratio) for ratio in DCT_RATIOS]
    covers = [tf.cast(side >= image_size * ratio, tf.int32) for ratio in DCT_RATIOS[1:]]
    image = tf.switch_case(tf.add_n(covers), branches)
    same = tf.reduce_all(tf.shape(image)[:2] == image_size)
    image = tf.cond(same, lambda: image, lambda: _resized(image, image_size))
    return tf.ensure_shape(image, [image_size, image_size, 3])


class Decoder:
    """`decode_jpeg` for images whose sizes are known, so that their headers are read once and not every epoch.

    Args: sizes: int32[N,2] height and width of every image; image_size: S; crop: 0, or the share of both sides that is
      kept, of which nothing else is decoded; the scale is the smallest at which the crop covers S.
    """

    def __init__(self, sizes: np.ndarray, image_size: int, crop: float = 0.0):
        self.image_size, self.crop = image_size, crop
        covers = sizes.min(axis=1, keepdims=True) * (crop or 1.0) >= image_size * np.array(DCT_RATIOS[1:])
        scale = covers.sum(axis=1)
        decoded = -(-sizes // np.array(DCT_RATIOS)[scale, None])
        window = np.maximum(np.rint(decoded * (crop or 1.0)), 1).astype(np.int32)
        resized = (window != image_size).any(axis=1)
        self.branch = tf.constant(scale + len(DCT_RATIOS) * resized, tf.int32)
        self.window, self.room = tf.constant(window), tf.constant(decoded - window, tf.int32)

    def __call__(self, jpeg: tf.Tensor, position: tf.Tensor, draw: Callable[[], tf.Tensor] | None = None) -> tf.Tensor:
        """uint8[S,S,3] of the image at `position`.

        Args: draw: gives float32[2] in [0, 1), where between top and bottom, left and right a crop lies; without it
          crops are central.
        """
        window = self._window(position, draw) if self.crop else None
        branches = [lambda ratio=ratio: _decode_at(jpeg, ratio, window) for ratio in DCT_RATIOS]
        branches += [
            lambda ratio=ratio: _resized(_decode_at(jpeg, ratio, window), self.image_size) for ratio in DCT_RATIOS
        ]
        image = tf.switch_case(tf.gather(self.branch, position), branches)
        return tf.ensure_shape(image, [self.image_size, self.image_size, 3])

    def _window(self, position: tf.Tensor, draw: Callable[[], tf.Tensor] | None) -> tf.Tensor:
        """int32[4] top, left, height and width of the crop, in pixels of the decoded scale."""
        room = tf.gather(self.room, position)
        corner = tf.cast(tf.floor(draw() * tf.cast(room + 1, tf.float32)), tf.int32) if draw else room // 2
        return tf.concat([tf.minimum(corner, room), tf.gather(self.window, position)], axis=0)


def _decode_at(jpeg: tf.Tensor, ratio: int, window: tf.Tensor | None = None) -> tf.Tensor:
    options = {"channels": 3, "ratio": ratio, "dct_method": "INTEGER_ACCURATE"}
    if window is None:
        return tf.io.decode_jpeg(jpeg, **options)
    return tf.image.decode_and_crop_jpeg(jpeg, window, **options)


def _resized(image: tf.Tensor, image_size: int) -> tf.Tensor:
    resized = tf.image.resize(image, [image_size, image_size], antialias=True)
    return tf.saturate_cast(tf.round(resized), tf.uint8)
