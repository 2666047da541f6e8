"""What the ops that draw into an image share: random shares, pixels' positions, anti-aliasing.

Lengths are in units of half the image's side, positions in [-1, 1] over it, so that a drawing is the same at every
size. A pixel shows the mean over its area: a line thinner than a pixel becomes faint, not interrupted.
"""

from __future__ import annotations

import tensorflow as tf

from melanoma_tf.augment.op import uniform

SAMPLES = 32  # pixels an axis that a mean colour is taken of


def shares(seed: tf.Tensor, batch: int, count: int, number: int = 0, each: int = 0) -> list[tf.Tensor]:
    """`count` times float32[batch], or [batch, each], uniform in [0, 1); `number` tells apart the draws of one op.

    One draw for all of them: each draw of its own is a kernel of its own, a tenth of a second to compile.
    """
    return tf.unstack((uniform(seed, batch, number, [count, each] if each else [count]) + 1.0) / 2.0, axis=1)


def between(share: tf.Tensor, low: float | tf.Tensor, high: float | tf.Tensor) -> tf.Tensor:
    """From `low` at a share of 0 to `high` at 1."""
    return low + (high - low) * share


def positions(size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """x as float32[1,1,S] and y as float32[1,S,1] of the pixels' centres."""
    centre = (2.0 * tf.range(size, dtype=tf.float32) + 1.0) / size - 1.0
    return centre[None, None, :], centre[None, :, None]


def direction(angle: tf.Tensor) -> dict[str, tf.Tensor]:
    """What `turned` needs, for the parameters of an op.

    Not taken when drawing: TensorFlow's sine of a tensor's last few values differs by a rounding, so that images would
    depend on the number of replicas.
    """
    return {"cosine": tf.cos(angle), "sine": tf.sin(angle)}


def turned(x: tf.Tensor, y: tf.Tensor, frame: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Positions along and across a `direction` whose values are float32[B,1,1]; float32[B,S,S] each."""
    return frame["cosine"] * x + frame["sine"] * y, frame["cosine"] * y - frame["sine"] * x


def covered(distance: tf.Tensor, half_width: tf.Tensor, size: int, blur: float = 0.0) -> tf.Tensor:
    """Share of a pixel, in [0, 1], that a straight band covers whose middle is `distance` away; exact along the axes.

    Args:
      distance, half_width: in units of half the side; a width of 0 or below covers nothing. size: S.
      blur: by how much more than a pixel the lens smears, in the same units.
    """
    seen = 1.0 / size + blur / 2
    distance = tf.abs(distance)
    band = tf.minimum(distance + seen, half_width) - tf.maximum(distance - seen, -half_width)
    return tf.nn.relu(band) / (2 * seen)


def wide(values: tf.Tensor) -> tf.Tensor:
    """float32[B] -> [B,1,1], to stand beside positions."""
    return values[:, None, None]


def mean_colour(images: tf.Tensor) -> tf.Tensor:
    """float32[B,3], of a lattice of at most 32 to 63 pixels an axis: it costs nothing at any size."""
    step = max(1, images.shape[1] // SAMPLES)
    mean = tf.reduce_mean(images[:, step // 2 :: step, step // 2 :: step], axis=[1, 2])
    return tf.minimum(mean, 1.0)  # compiled it is a product with 1 / n, which may round upwards


def mixed(images: tf.Tensor, colour: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """Images float32[B,S,S,3] where `kept`, float32[B,S,S], is 1, and `colour`, float32[B,3], where it is 0."""
    kept = kept[..., None]
    return images * kept + colour[:, None, None, :] * (1.0 - kept)
