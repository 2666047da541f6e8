"""Grad-CAM: the arithmetic, and that a run's own models look at the images that they did not see."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from melanoma_tf import grad_cam  # noqa: E402
from melanoma_tf.config import ModelConfig  # noqa: E402
from melanoma_tf.keras_compat import keras  # noqa: E402
from melanoma_tf.models import build_model  # noqa: E402
from melanoma_tf.tables import METADATA_WIDTH  # noqa: E402


def _model(weights, biases=None):
    """Images [B,4,4,3], of which the map is the image itself; logits are the mean of each channel times weights."""
    image, meta = keras.Input((4, 4, 3), name="image"), keras.Input((METADATA_WIDTH,), name="meta")
    features = keras.layers.GlobalAveragePooling2D(name="pool")(keras.layers.Conv2D(3, 1, name="backbone")(image))
    logits = keras.layers.Dense(np.shape(weights)[1], name="logits")(features)
    model = keras.Model({"image": image, "meta": meta}, logits)
    model.get_layer("backbone").set_weights([np.eye(3)[None, None], np.zeros(3)])
    model.get_layer("logits").set_weights([np.asarray(weights, float), np.zeros(np.shape(weights)[1])])
    return grad_cam.with_feature_map(model)


def _images():
    images = np.zeros((2, 4, 4, 3), np.float32)
    images[0, 1, 2, 0], images[0, 3, 3, 0], images[0, 0, 0, 1] = 0.8, 0.2, 1.0
    images[1, 2, 2, 1] = 0.5
    return images


def test_heat_is_where_raising_channels_are_active():
    meta = tf.zeros((2, METADATA_WIDTH))
    heat = grad_cam.grad_cam(_model([[2.0], [-1.0], [0.0]]), tf.constant(_images()), meta)
    expected = np.zeros((2, 4, 4))
    expected[0, 1, 2], expected[0, 3, 3] = 1.0, 0.2 / 0.8  # the second channel lowers the logit: no heat
    np.testing.assert_allclose(heat, expected, atol=1e-6)  # nothing raised the second image's: 0 everywhere


def test_of_several_classes_it_is_melanoma_against_the_others():
    meta = tf.zeros((2, METADATA_WIDTH))
    heat = grad_cam.grad_cam(_model([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), tf.constant(_images()), meta)
    assert heat[0].argmax() == 0  # the first channel raises both logits alike, the second melanoma's alone
    assert heat[0, 1, 2] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("metadata", [False, True])
def test_a_real_topology_has_a_feature_map(metadata):
    model = build_model(ModelConfig(backbone="tiny", weights="none", metadata=metadata), 32)
    images = tf.constant(np.random.default_rng(0).random((2, 32, 32, 3)), tf.float32)
    looked = grad_cam.with_feature_map(model)
    features, logits = looked({"image": images, "meta": tf.zeros((2, METADATA_WIDTH))})
    np.testing.assert_allclose(logits, model({"image": images, "meta": tf.zeros((2, METADATA_WIDTH))}), rtol=1e-5)
    heat = grad_cam.grad_cam(looked, images, tf.zeros((2, METADATA_WIDTH)))
    assert heat.shape == tuple(features.shape[:3]) and heat.min() >= 0 and heat.max() <= 1
