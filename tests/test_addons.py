"""Parity with tensorflow-addons, where it can be imported (TensorFlow 2.15, Python < 3.12)."""

import math

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
tfa = pytest.importorskip("tensorflow_addons", exc_type=ImportError)

from melanoma_tf.augment.resample import warp  # noqa: E402
from melanoma_tf.config import TrainConfig  # noqa: E402
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


@pytest.mark.parametrize("gamma, alpha", [(2.0, 0.25), (0.0, 0.5), (0.5, 0.9), (3.0, 0.1)])
def test_focal_loss_and_its_gradient_equal_addons(gamma, alpha):
    random = np.random.default_rng(3)
    target = tf.constant(random.integers(0, 2, (32, 1)), tf.float32)
    logits = tf.constant(random.normal(0, 3, (32, 1)), tf.float32)
    settings = TrainConfig(focal_gamma=gamma, focal_alpha=alpha, label_smoothing=0.0)
    theirs = tfa.losses.SigmoidFocalCrossEntropy(
        alpha=alpha, gamma=gamma, from_logits=True, reduction=tf.keras.losses.Reduction.NONE
    )
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        got, want = focal(target, logits, settings), theirs(target, logits)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(tape.gradient(got, logits), tape.gradient(want, logits), rtol=1e-3, atol=1e-6)
