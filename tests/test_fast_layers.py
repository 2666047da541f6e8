"""Layers that replace Keras' for speed: the same values and the same gradients."""

from collections import Counter

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from melanoma_tf import keras_compat, kernels, layers  # noqa: E402
from melanoma_tf.config import ModelConfig  # noqa: E402
from melanoma_tf.keras_compat import IS_KERAS_3, keras  # noqa: E402
from melanoma_tf.kernels import depthwise, expansion, normalization  # noqa: E402
from melanoma_tf.kernels.excitation import excite  # noqa: E402
from melanoma_tf.layers import Conv2D, accelerate, rebuild  # noqa: E402
from melanoma_tf.models import backbones, pretrained  # noqa: E402


def normal(shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("side, size, stride", [(8, 5, 1), (8, 5, 2), (9, 7, 1)])
def test_the_filter_gradient_of_the_branch_is_tensorflows(side, size, stride, padding):
    """Within a branch it is another kernel."""
    inputs, filters = normal((3, side, side, 6)), normal((size, size, 6, 1), 1)
    with tf.GradientTape() as tape:
        tape.watch(filters)
        output = tf.nn.depthwise_conv2d(inputs, filters, [1, stride, stride, 1], padding)
        upstream = normal(output.shape, 2)
        total = tf.reduce_sum(output * upstream)
    want = tape.gradient(total, filters)
    got = depthwise.filter_gradient(inputs, upstream, filters.shape, [1, stride, stride, 1], padding)
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


def swish_of_normalized(inputs, scale, offset):
    mean, variance = tf.nn.moments(inputs, [0, 1, 2])
    return tf.nn.silu(tf.nn.batch_normalization(inputs, mean, variance, offset, scale, 1e-3)), mean, variance


def excited(maps, reduce_kernel, reduce_bias, expand_kernel, expand_bias):
    reduced = tf.nn.silu(tf.reduce_mean(maps, [1, 2]) @ reduce_kernel + reduce_bias)
    return maps * tf.sigmoid(reduced @ expand_kernel + expand_bias)[:, tf.newaxis, tf.newaxis]


def with_gradients(function, *arguments):
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        output = function(*arguments)
        total = tf.reduce_sum(output * normal(output.shape, 9))
    return output, *tape.gradient(total, arguments)


def assert_same(ours, wanted, tolerance=2e-5):
    for one, other in zip(ours, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * float(tf.reduce_max(tf.abs(other))))


GATE = normal((6, 2), 3), normal((2,), 4), normal((2, 6), 5), normal((6,), 6)


@pytest.mark.parametrize("shape", [(3, 4, 6, 6), (2, 7, 7, 6), (5, 1, 1, 6), (2, 5, 3, 6)])
def test_normalization_with_swish_is_both(shape):
    inputs, scale, offset = normal(shape) * 3.0 + 2.0, normal((6,), 1), normal((6,), 2)
    ours = normalization.batch_norm_swish(inputs, scale, offset, 1e-3)
    assert_same(ours, swish_of_normalized(inputs, scale, offset))
    assert_same(with_gradients(lambda *a: normalization.batch_norm_swish(*a, 1e-3)[0], inputs, scale, offset),
                with_gradients(lambda *a: swish_of_normalized(*a)[0], inputs, scale, offset))  # fmt: skip


def test_the_variance_of_maps_far_from_zero():
    inputs = normal((4, 8, 8, 6)) + 1000.0
    _, mean, variance = normalization.batch_norm_swish(inputs, tf.ones(6), tf.zeros(6), 1e-3)
    np.testing.assert_allclose(variance, np.var(inputs.numpy().astype(np.float64), (0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(mean, np.mean(inputs.numpy().astype(np.float64), (0, 1, 2)), rtol=1e-6)


@pytest.mark.parametrize("shape", [(3, 4, 6, 6), (2, 7, 7, 6), (5, 1, 1, 6)])
def test_squeeze_and_excitation_is_the_formula(shape):
    assert_same(with_gradients(excite, normal(shape), *GATE), with_gradients(excited, normal(shape), *GATE))


@pytest.mark.parametrize("shape", [(3, 4, 6, 6), (2, 7, 7, 6), (5, 1, 1, 6)])
def test_normalization_with_excitation_is_all_of_them(shape):
    def ours(inputs, scale, offset, *weights):
        _, *moments = normalization.batch_norm_swish(inputs, scale, offset, 1e-3)
        return normalization.batch_norm_excite(inputs, moments, scale, offset, 1e-3, *weights)

    def wanted(inputs, scale, offset, *weights):
        return excited(swish_of_normalized(inputs, scale, offset)[0], *weights)

    arguments = normal(shape) * 3.0 + 2.0, normal((6,), 1), normal((6,), 2), *GATE
    assert_same(with_gradients(ours, *arguments), with_gradients(wanted, *arguments), 5e-5)


@pytest.mark.parametrize("shape, shift", [((3, 4, 6, 5), 0.0), ((2, 7, 7, 5), 3.0), ((64, 1, 1, 5), -3.0)])
def test_expansion_is_a_product_with_normalization_and_swish(shape, shift):
    def product(inputs, kernel):
        return tf.linalg.matmul(inputs, kernel[tf.newaxis, tf.newaxis])

    def ours(inputs, kernel, scale, offset):
        return expansion.expand_norm_swish(product(inputs, kernel), inputs, kernel, scale, offset, 1e-3)

    def wanted(inputs, kernel, scale, offset):
        return swish_of_normalized(product(inputs, kernel), scale, offset)

    arguments = normal(shape) * 2.0 + shift, normal((5, 20), 1), normal((20,), 2), normal((20,), 3)
    assert_same(ours(*arguments), wanted(*arguments))
    assert_same(with_gradients(lambda *a: ours(*a)[0], *arguments),
                with_gradients(lambda *a: wanted(*a)[0], *arguments))  # fmt: skip


def test_weights_that_cancel_leave_no_negative_variance():
    inputs, factors = normal((4, 8, 8, 1)) * 100.0, normal((40,), 1)
    inputs, kernel = tf.concat([inputs, inputs * 3.1], 3), tf.stack([factors * 3.1, -factors])
    product = tf.linalg.matmul(inputs, kernel[tf.newaxis, tf.newaxis])
    output, _, variance = expansion.expand_norm_swish(product, inputs, kernel, tf.ones(40), tf.zeros(40), 1e-5)
    assert np.all(variance >= 0) and np.all(np.abs(output) < 0.1)


@pytest.mark.parametrize("kind, tolerance", [("bfloat16", 0.06), ("float16", 0.01)])
def test_sixteen_bits_are_summed_in_32(kind, tolerance):
    shape, scale, offset = (4, 32, 32, 6), tf.ones(6), tf.zeros(6)

    def ours(inputs, *weights):
        output, *moments = normalization.batch_norm_swish(inputs, scale, offset, 1e-3)
        gated = normalization.batch_norm_excite(inputs, moments, scale, offset, 1e-3, *weights)
        return tf.cast(gated + excite(output, *weights), tf.float32)

    full = [normal(shape), *GATE]
    half = [tf.cast(one, kind) for one in full]
    results = [[tf.cast(one, tf.float32) for one in with_gradients(ours, *arguments)] for arguments in (half, full)]
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance * float(tf.reduce_max(tf.abs(other))))


def counted(calls, function):
    def call(*arguments):
        calls[function.__name__] += 1
        return function(*arguments)

    return call


@pytest.mark.skipif(not IS_KERAS_3, reason="Keras 2's normalisation is one kernel by itself")
def test_a_training_step_takes_the_kernels_and_another_device_does_not(monkeypatch):
    """Forward and backward with the statistics of the batch: the same whatever the device, up to rounding."""
    model = backbones.keras_efficientnet("B0", "keras", 0.0, 64)
    images, calls = normal((8, 64, 64, 3)), Counter()
    start = model.get_weights()

    def results():
        model.set_weights(start)
        with tf.GradientTape() as tape:
            output = model(images, training=True)
            total = tf.reduce_sum(output * normal(output.shape, 9))
        return [output, *tape.gradient(total, model.trainable_variables), *model.get_weights()]

    monkeypatch.setattr(kernels, "WORTH_COMPILING", 0)
    for module, name in ((layers, "batch_norm_excite"), (keras_compat, "expand_norm_swish")):
        monkeypatch.setattr(module, name, counted(calls, getattr(module, name)))
    ours = results()
    every_block, with_many_pixels = 16, 3
    assert calls == {"batch_norm_excite": every_block, "expand_norm_swish": with_many_pixels}
    for module in (kernels, layers, depthwise):
        monkeypatch.setattr(module, "on_cpu", lambda: False)
    elsewhere = results()
    assert calls.total() == every_block + with_many_pixels
    largest = max(float(np.max(np.abs(one))) for one in elsewhere)
    for one, other in zip(ours, elsewhere, strict=True):  # some gradients are 0 but for rounding: normalised away
        np.testing.assert_allclose(one, other, atol=2e-3 * float(np.max(np.abs(other))) + 1e-6 * largest)


def test_a_product_of_maps_is_no_excitation():
    inputs = keras.Input((4, 4, 6))
    model = rebuild(keras.Model(inputs, keras.layers.Multiply()([inputs, keras.layers.ReLU()(inputs)])), accelerate)
    maps = normal((2, 4, 4, 6))
    np.testing.assert_allclose(model(maps), maps * tf.nn.relu(maps), rtol=1e-6)


@pytest.mark.parametrize("name, options", [
    ("Adam", {}), ("Adam", {"global_clipnorm": 0.5}), ("AdamW", {"weight_decay": 0.1}),
])  # fmt: skip
def test_adam_of_one_kernel_is_keras_own(name, options):
    weights = [[tf.Variable(normal(shape)) for shape in ((3, 4), (5,))] for _ in range(2)]
    ours, theirs = (getattr(module, name)(0.1, **options) for module in (keras_compat, keras.optimizers))
    for step in range(5):
        for optimizer, variables in zip((ours, theirs), weights):
            optimizer.learning_rate.assign(0.1 / (step + 1))
            gradients = [normal(variable.shape, 10 + step) for variable in variables]
            optimizer.apply_gradients(zip(gradients, variables))
    assert_same(*weights, 1e-6)
    assert_same(*(keras_compat.optimizer_variables(one)[2:] for one in (ours, theirs)), 2e-5)  # 1 - 0.999 in float32


@pytest.mark.parametrize("worth", [0, 2**30])
def test_standardization_equals_keras(worth, monkeypatch):
    monkeypatch.setattr(kernels, "WORTH_COMPILING", worth)
    constants = {"mean": (0.5, 0.4, 0.3), "variance": (0.04, 0.05, 0.06)}
    plain, ours = keras.layers.Normalization(**constants), layers.Normalization(**constants)
    images = normal((2, 5, 7, 3))
    np.testing.assert_allclose(ours(images), plain(images), rtol=1e-6, atol=1e-6)
    again = layers.Normalization.from_config(ours.get_config())
    np.testing.assert_array_equal(again(images), ours(images))


@pytest.mark.parametrize("side", [1, 3])
def test_point_convolution_equals_keras(side):
    plain = keras.layers.Conv2D(5, 1, activation="sigmoid")
    inputs = normal((4, side, side, 6))
    want = plain(inputs)
    ours = Conv2D.from_config(plain.get_config())
    ours.build(inputs.shape)
    ours.set_weights(plain.get_weights())
    for training in (True, False):
        np.testing.assert_allclose(ours(inputs, training=training), want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("topology", ["keras", "torchvision"])
def test_gradients_of_the_whole_backbone_are_keras_own(topology):
    """Keras' own layers, put into the same topology, against ours: every gradient. With the statistics of
    training the sixteen pixels that normalise the last maps make rounding large, and normalisation has its own test."""
    ours = backbones.keras_efficientnet("B0", topology, 0.0, 64)
    originals = {
        "FusedBatchNormalization": keras.layers.BatchNormalization, "Conv2D": keras.layers.Conv2D,
        "DepthwiseConv2D": keras.layers.DepthwiseConv2D, "Excite": keras.layers.Multiply,
    }  # fmt: skip

    def original(layer):
        kind = originals.get(type(layer).__name__)
        if getattr(layer, "activation", None) is not None and isinstance(layer, keras.layers.Activation):
            name = getattr(layer.activation, "__name__", "")
            within = getattr(layer.input._keras_history[0], "swish", False)
            return keras.layers.Activation("linear" if name == "linear" and not within else "swish", name=layer.name)
        config = layer.get_config()
        config.pop("swish", None)
        return kind.from_config(config) if kind else None

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
