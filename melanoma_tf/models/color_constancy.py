"""Colour constancy: the same lesion under another light, or another camera, should look the same to the network."""

from __future__ import annotations

import tensorflow as tf

from melanoma_tf.keras_compat import keras, register

MINKOWSKI_NORM = 6  # 1 is grey world, infinity is max-RGB; 6 is Finlayson & Trezzi's choice


@register
class ShadesOfGrey(keras.layers.Layer):
    """Divides float32[B,S,S,3] in [0, 1] by the colour of the light, estimated as the Minkowski 6-norm of each channel.

    The light keeps its strength and loses its colour; values are clipped to [0, 1]. Source: Finlayson & Trezzi 2004,
    Shades of gray and colour constancy; for dermoscopy: Barata, Celebi & Marques 2015, Improving dermoscopy image
    classification using color constancy.
    """

    def call(self, images):
        light = tf.reduce_mean(images**MINKOWSKI_NORM, axis=(1, 2), keepdims=True) ** (1 / MINKOWSKI_NORM)
        strength = tf.sqrt(tf.reduce_mean(light**2, axis=-1, keepdims=True))
        return tf.clip_by_value(images * strength / tf.maximum(light, 1e-3), 0.0, 1.0)
