"""Layers that replace Keras' for speed: the same values and the same gradients."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from melanoma_tf import depthwise  # noqa: E402
from melanoma_tf.config import ModelConfig  # noqa: E402
from melanoma_tf.keras_compat import Conv2D, accelerate, keras, rebuild  # noqa: E402
from melanoma_tf.models import backbones, pretrained  # noqa: E402


def normal(shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("side, size, stride", [(8, 5, 1), (8, 5, 2), (6, 5, 1), (7, 5, 2), (9, 7, 1), (5, 3, 2)])
def test_the_filter_gradient_is_tensorflows(side, size, stride, padding):
    inputs, filters = normal((3, side, side, 6)), normal((size, size, 6, 1), 1)
    with tf.GradientTape() as tape:
        tape.watch(filters)
        output = tf.nn.depthwise_conv2d(inputs, filters, [1, stride, stride, 1], padding)
        upstream = normal(output.shape, 2)
        total = tf.reduce_sum(output * upstream)
    want = tape.gradient(total, filters)
    got = depthwise.filter_gradient(inputs, upstream, size, stride, padding)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("compiled", [False, True])
def test_values_and_both_gradients_of_the_convolution(compiled):
    inputs, filters = normal((2, 8, 8, 4)), normal((5, 5, 4, 1), 1)

    def values(convolve):
        with tf.GradientTape() as tape:
            tape.watch([inputs, filters])
            output = convolve()
            total = tf.reduce_sum(output**2)
        return output, *tape.gradient(total, [inputs, filters])

    ours = tf.function(lambda: values(lambda: depthwise.depthwise_conv2d(inputs, filters, 2, "SAME")),
                       jit_compile=compiled)  # fmt: skip
    want = values(lambda: tf.nn.depthwise_conv2d(inputs, filters, [1, 2, 2, 1], "SAME"))
    for one, other in zip(ours(), want):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)


def test_large_maps_keep_tensorflows_gradient(monkeypatch):
    monkeypatch.setattr(depthwise, "filter_gradient", lambda *_: pytest.fail("not for large maps"))
    inputs, filters = normal((1, 16, 16, 2)), tf.Variable(normal((5, 5, 2, 1)))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(depthwise.depthwise_conv2d(inputs, filters, 1, "SAME"))
    assert tape.gradient(total, filters) is not None


@pytest.mark.parametrize("side", [1, 3])
def test_point_convolution_equals_keras(side):
    plain = keras.layers.Conv2D(5, 1, activation="sigmoid")
    inputs = normal((4, side, side, 6))
    want = plain(inputs)
    ours = Conv2D.from_config(plain.get_config())
    ours.build(inputs.shape)
    ours.set_weights(plain.get_weights())
    np.testing.assert_allclose(ours(inputs), want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("topology", ["keras", "torchvision"])
def test_gradients_of_the_whole_backbone_are_keras_own(topology):
    """Keras' own layers, put into the same topology, against ours: every gradient. With the statistics of
    training the sixteen pixels that normalise the last maps make rounding large, and normalisation has its own test."""
    ours = backbones.keras_efficientnet("B0", topology, 0.0, 64)
    originals = {
        "FusedBatchNormalization": keras.layers.BatchNormalization, "Conv2D": keras.layers.Conv2D,
        "DepthwiseConv2D": keras.layers.DepthwiseConv2D,
    }  # fmt: skip

    def original(layer):
        kind = originals.get(type(layer).__name__)
        if getattr(layer, "activation", None) is not None and isinstance(layer, keras.layers.Activation):
            name = getattr(layer.activation, "__name__", "")
            return keras.layers.Activation("linear" if name == "linear" else "swish", name=layer.name)
        return kind.from_config(layer.get_config()) if kind else None

    plain = rebuild(ours, original)
    plain.set_weights(ours.get_weights())
    images, upstream = normal((4, 64, 64, 3)), normal((4, 2, 2, 1280), 1)

    def gradients(model):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(model(images, training=False) * upstream)
        return tape.gradient(total, model.trainable_variables)

    for one, other in zip(gradients(ours), gradients(plain)):
        np.testing.assert_allclose(one, other, atol=1e-4 * float(tf.reduce_max(tf.abs(other))))


def test_weights_of_keras_own_network_fit_whatever_layers_stand_in(tmp_path):
    """Keras 2 names nothing in a weight file but counts the layers of each class."""
    plain = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    plain.save_weights(str(tmp_path / "b0.weights.h5"))
    ours = backbones.keras_efficientnet("B0", "keras", 0.2, 32)
    pretrained.load(ours, ModelConfig(weights=str(tmp_path / "b0.weights.h5")))
    for layer in plain.layers:
        if layer.weights and not isinstance(layer, keras.layers.Normalization):
            for want, got in zip(layer.get_weights(), ours.get_layer(layer.name).get_weights()):
                np.testing.assert_array_equal(got, want)


def test_accelerate_leaves_what_it_does_not_know():
    assert accelerate(keras.layers.Dense(3)) is None
    assert accelerate(keras.layers.Conv2D(3, 3)) is None
