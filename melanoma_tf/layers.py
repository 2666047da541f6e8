"""Layers that replace Keras', for speed on a CPU or for exact resume: the same names, weights and outputs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import tensorflow as tf

from melanoma_tf.keras_compat import (
    as_tensorflow,
    depthwise_kernel,
    fast_normalization,
    keras,
    layer_behind,
    register,
    takes_swish,
)
from melanoma_tf.kernels import is_worth_compiling, on_cpu
from melanoma_tf.kernels import swish as kernels
from melanoma_tf.kernels.depthwise import depthwise_conv2d
from melanoma_tf.kernels.excitation import excite
from melanoma_tf.kernels.normalization import batch_norm_excite, standardize
from melanoma_tf.randomness import fold_in, uniform

_randomness = threading.local()  # MirroredStrategy traces each replica in a thread of its own


@contextlib.contextmanager
def step_randomness(seed: tf.Tensor) -> Iterator[None]:
    """Within it `SeededDropout` draws from `seed` (int32[2]), so that a step is a function of its seed alone."""
    _randomness.seed = seed
    try:
        yield
    finally:
        _randomness.seed = None


@register
class SeededDropout(tf.keras.layers.Dropout):
    """Dropout whose mask is a function of the step's seed and the layer's name; Keras' own holds hidden state.

    Keras 2's dropout advances a counter inside the compiled step that no checkpoint saves, so that a resumed run would
    differ. Outside `step_randomness` it is Keras' own dropout.
    """

    def call(self, inputs, training=None):
        seed = getattr(_randomness, "seed", None)
        if not training or not self.rate or seed is None:
            return super().call(inputs, training=training)
        noise_shape = self.noise_shape or [None] * len(inputs.shape)
        shape = [size if size is not None else tf.shape(inputs)[axis] for axis, size in enumerate(noise_shape)]
        kept = uniform(shape, fold_in(seed, self.name)) >= self.rate
        return inputs * tf.cast(kept, inputs.dtype) / (1.0 - self.rate)


@register
class DepthwiseConv2D(tf.keras.layers.DepthwiseConv2D):
    """Keras' own with a faster gradient on a CPU: see `depthwise`. Same weights and outputs; no bias.

    Named as Keras' own because weight files count the layers of each class by its name.
    """

    def call(self, inputs):
        kernel = tf.cast(depthwise_kernel(self), inputs.dtype)
        return depthwise_conv2d(inputs, kernel, self.strides[0], self.padding.upper())


@register
class Conv2D(tf.keras.layers.Conv2D):
    """Keras' own 1x1 as a matrix product, in training on a CPU, and where the map is one pixel, as in
    squeeze-and-excitation: a convolution's own cost is a multiple of the work there. In inference TensorFlow makes one
    kernel of a convolution and the normalisation behind it. Same weights and outputs, and the name for the same reason.
    """

    def call(self, inputs, training=None):
        if inputs.shape[1:3] != (1, 1) and not (training and on_cpu()):
            return super().call(inputs)
        kernel = tf.reshape(tf.cast(self.kernel, inputs.dtype), self.kernel.shape[2:])
        rows = tf.matmul(tf.reshape(inputs, [-1, inputs.shape[-1]]), kernel)
        if self.use_bias:
            rows += tf.cast(self.bias, inputs.dtype)
        output = tf.reshape(rows, tf.concat([tf.shape(inputs)[:-1], rows.shape[-1:]], 0))
        output.set_shape([*inputs.shape[:-1], rows.shape[-1]])
        output = self.activation(output)
        if not self.use_bias and self.activation is keras.activations.linear:
            output._made_of = (inputs, kernel)  # for the normalisation behind it
        return output


@register
class Normalization(tf.keras.layers.Normalization):
    """Keras' own in one pass on a CPU, where TensorFlow takes milliseconds to spread three numbers over a batch."""

    def call(self, inputs):
        if not is_worth_compiling(inputs.shape):
            return super().call(inputs)
        mean, variance = (tf.cast(as_tensorflow(constant), inputs.dtype) for constant in (self.mean, self.variance))
        return standardize(inputs, mean, tf.sqrt(variance))


@register
class Excite(tf.keras.layers.Multiply):
    """The Multiply at the end of squeeze-and-excitation; in training on a CPU all of that at once, with normalisation
    and swish in front of it, by the weights of the two convolutions whose own results are not needed then."""

    _convolutions: Callable[[], tuple[tf.keras.layers.Conv2D, ...]] = tuple  # none, before it is part of a model

    def __call__(self, inputs, *args, **options):
        if hasattr(inputs[-1], "_keras_history"):
            convolutions = _excitation(*inputs)
            self._convolutions = lambda: convolutions  # as an attribute they would be layers of this one
        return super().__call__(inputs, *args, **options)

    def call(self, inputs, training=None):
        if not training or not self._convolutions() or not is_worth_compiling(inputs[0].shape):
            return super().call(inputs)
        maps, weights = inputs[0], []
        for layer in self._convolutions():
            kernel, bias = (tf.cast(weight, maps.dtype) for weight in (layer.kernel, layer.bias))
            weights += [tf.reshape(kernel, kernel.shape[2:]), bias]
        before = getattr(maps, "_before", None)
        return batch_norm_excite(*before, *weights) if before else excite(maps, *weights)


def _excitation(*inputs: tf.Tensor) -> tuple[tf.keras.layers.Conv2D, ...]:
    """The two convolutions between a map and its gate; none if it is not the gate of squeeze-and-excitation."""
    layers, at = [], inputs[-1]
    for kind in (keras.layers.Conv2D, keras.layers.Conv2D, keras.layers.Reshape, keras.layers.GlobalAveragePooling2D):
        layers.append(at._keras_history[0])
        if not isinstance(layers[-1], kind):
            return ()
        at = layers[-1].input
    expand, reduce, *_ = layers
    known = expand.activation is keras.activations.sigmoid and _is_swish(reduce) and at is inputs[0]
    return (reduce, expand) if known else ()


@register
def swish(inputs):
    """x * sigmoid(x) of `kernels.swish`. A plain function, as Keras saves no other in a model."""
    return kernels.swish(inputs)


def rebuild(model: tf.keras.Model, replace) -> tf.keras.Model:
    """The same functional model with layers exchanged: `replace(layer)` gives a new layer, or None to keep its kind.

    Weights keep their names, shapes and order; their values are initialised anew.
    """

    def clone(layer):
        return replace(layer) or layer.__class__.from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=clone)


def accelerate(
    layer: tf.keras.layers.Layer, changed: tf.keras.layers.Layer | None = None
) -> tf.keras.layers.Layer | None:
    """The replacement of a layer of a model, for `rebuild`: normalisation and swish in few passes, dropout without
    state.

    Args: changed: a layer of the same kind whose configuration counts instead.
    """
    config = (changed or layer).get_config()
    if isinstance(layer, keras.layers.BatchNormalization):
        return fast_normalization(config, _swish_behind(layer))
    if isinstance(layer, keras.layers.DepthwiseConv2D) and not layer.use_bias:
        return DepthwiseConv2D.from_config(config)
    if type(layer) is keras.layers.Conv2D and layer.kernel_size == layer.strides == (1, 1) and layer.groups == 1:
        return Conv2D.from_config(config)
    if isinstance(layer, keras.layers.Activation) and _is_swish(layer):
        before = layer.input._keras_history[0]
        return keras.layers.Activation("linear" if _swish_behind(before) else swish, name=layer.name)
    if isinstance(layer, keras.layers.Multiply):
        return Excite.from_config(config)
    if isinstance(layer, keras.layers.Dropout):
        return SeededDropout(layer.rate, noise_shape=layer.noise_shape, name=layer.name)
    return None


def _swish_behind(layer: tf.keras.layers.Layer) -> bool:
    """Whether it takes the swish behind it."""
    if not takes_swish(layer):
        return False
    behind = layer_behind(layer)
    return isinstance(behind, keras.layers.Activation) and _is_swish(behind)


def _is_swish(layer: tf.keras.layers.Activation) -> bool:
    return getattr(layer.activation, "__name__", "") in ("silu", "swish") and layer.activation is not swish
