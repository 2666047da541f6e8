"""Parity with tensorflow-addons, where it can be imported (TensorFlow 2.15, Python < 3.12)."""

import math

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
tfa = pytest.importorskip("tensorflow_addons", exc_type=ImportError)

from melanoma_tf.augment.resample import warp  # noqa: E402
from melanoma_tf.losses import focal  # noqa: E402


def test_rotation_equals_addons():
    y, x = np.mgrid[:48, :48] / 48
    image = np.stack([np.sin(6 * x), np.cos(5 * y), x * y], -1).astype(np.float32) * 100
    images = tf.constant(np.stack([image, image[::-1]]))
    angles = np.array([0.3, -1.2], np.float32)
    matrix = [
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]] for angle in angles
    ]
    got = warp(images, tf.constant(matrix, tf.float32)).numpy()
    want = tfa.image.rotate(images, angles, interpolation="bilinear", fill_mode="reflect").numpy()
    np.testing.assert_allclose(got, want, atol=0.05)
    assert math.isclose(float(np.abs(got - images).max()), float(np.abs(want - images).max()), rel_tol=1e-3)


def test_focal_loss_equals_addons():
    target, logits = tf.constant([[1.0], [0.0], [1.0]]), tf.constant([[0.7], [-2.0], [-3.0]])
    want = tfa.losses.sigmoid_focal_crossentropy(target, logits, alpha=0.25, gamma=2.0, from_logits=True)
    np.testing.assert_allclose(focal(target, logits, 0.0), want, rtol=1e-5)
