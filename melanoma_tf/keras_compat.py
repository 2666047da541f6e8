"""The one file that knows Keras 2 (TensorFlow 2.15) from Keras 3 (2.16 and later), and the layers that replace Keras'.

The replacements keep names, weights and outputs; they exist for speed (see the class) or for exact resume.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import tensorflow as tf

from melanoma_tf.depthwise import depthwise_conv2d
from melanoma_tf.randomness import fold_in, uniform

keras = tf.keras  # as a variable no type for a checker, hence tf.keras in annotations and base classes
register = keras.utils.register_keras_serializable("melanoma_tf")
KERAS_VERSION = getattr(keras, "__version__", "2.15")  # tf.keras of TensorFlow 2.15 does not tell
IS_KERAS_3 = int(KERAS_VERSION.split(".")[0]) >= 3

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


def _normalized_by(layer: tf.keras.layers.Layer, inputs: tf.Tensor) -> tf.Tensor:
    """By the running statistics, with a multiplication and an addition: for frozen layers in training, since the fused
    kernel has no deterministic gradient for them on a GPU."""
    weights = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    gamma, beta, mean, variance = (tf.cast(weight, tf.float32) for weight in weights)
    scale = gamma * tf.math.rsqrt(variance + layer.epsilon)
    return tf.cast(tf.cast(inputs, tf.float32) * scale + (beta - mean * scale), inputs.dtype)


@register
class BatchNormalization(tf.keras.layers.BatchNormalization):
    """Of Keras 2, fused, with `_normalized_by`. Named as Keras' own, since its files of weights name classes."""

    def call(self, inputs, training=None, mask=None):
        if training and not self.trainable:
            return _normalized_by(self, inputs)
        return super().call(inputs, training=training, mask=mask)


@register
class FusedBatchNormalization(tf.keras.layers.BatchNormalization):
    """BatchNormalization of Keras 3 by the fused kernel; Keras 3 takes the moments with elementwise ops, in several
    passes. Same weights and outputs, for speed only."""

    def call(self, inputs, training=None, mask=None):
        if training and not self.trainable:
            return _normalized_by(self, inputs)
        train = bool(training)
        output, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=tf.cast(self.gamma, tf.float32), offset=tf.cast(self.beta, tf.float32),
            mean=[] if train else tf.cast(self.moving_mean, tf.float32),
            variance=[] if train else tf.cast(self.moving_variance, tf.float32),
            epsilon=self.epsilon, is_training=train,
        )  # fmt: skip
        if train:
            # The kernel's variance is the unbiased one; Keras 3 keeps the biased one.
            count = tf.cast(tf.size(inputs) / tf.size(mean), tf.float32)
            variance *= (count - 1.0) / count
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        return output


@register
class DepthwiseConv2D(tf.keras.layers.DepthwiseConv2D):
    """Keras' own with a faster gradient on a CPU: see `depthwise`. Same weights and outputs; no bias.

    Named as Keras' own because weight files count the layers of each class by its name.
    """

    def call(self, inputs):
        kernel = tf.cast(self.kernel if IS_KERAS_3 else self.depthwise_kernel, inputs.dtype)
        return depthwise_conv2d(inputs, kernel, self.strides[0], self.padding.upper())


@register
class Conv2D(tf.keras.layers.Conv2D):
    """Keras' own 1x1 with a bias, as a matrix product where the map is one pixel, as in squeeze-and-excitation: a
    convolution's own cost is a multiple of the work there. Same weights and outputs, and the name for the same reason.
    """

    def call(self, inputs):
        if inputs.shape[1:3] != (1, 1):
            return super().call(inputs)
        kernel, bias = (tf.cast(weight, inputs.dtype) for weight in (self.kernel, self.bias))
        output = self.activation(tf.matmul(inputs[:, 0, 0], kernel[0, 0]) + bias)
        return output[:, tf.newaxis, tf.newaxis]


@tf.function(jit_compile=True, autograph=False)
def _swish_gradient(inputs, upstream):
    gate = tf.sigmoid(inputs)
    return upstream * gate * (1.0 + inputs * (1.0 - gate))


@tf.custom_gradient
def _swish(inputs):
    return inputs * tf.sigmoid(inputs), lambda upstream: _swish_gradient(inputs, upstream)


@register
def swish(inputs):
    """x * sigmoid(x); its gradient is one compiled pass over memory where TensorFlow takes five.

    Only `inputs` is kept for the gradient. A plain function, as Keras saves no other in a model.
    """
    return _swish(inputs)


def rebuild(model: tf.keras.Model, replace) -> tf.keras.Model:
    """The same functional model with layers exchanged: `replace(layer)` gives a new layer, or None to keep its kind.

    Weights keep their names, shapes and order; their values are initialised anew.
    """

    def clone(layer):
        return replace(layer) or layer.__class__.from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=clone)


def accelerate(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer | None:
    """The replacement of a layer, for `rebuild`: fused normalisation, swish in one pass, dropout without state."""
    config = layer.get_config()
    if isinstance(layer, keras.layers.BatchNormalization):
        return (FusedBatchNormalization if IS_KERAS_3 else BatchNormalization).from_config(config)
    if isinstance(layer, keras.layers.DepthwiseConv2D) and not layer.use_bias:
        return DepthwiseConv2D.from_config(config)
    if type(layer) is keras.layers.Conv2D and layer.use_bias and layer.kernel_size == (1, 1):
        return Conv2D.from_config(config)
    if isinstance(layer, keras.layers.Activation) and _is_swish(layer):
        return keras.layers.Activation(swish, name=layer.name)
    if isinstance(layer, keras.layers.Dropout):
        return SeededDropout(layer.rate, noise_shape=layer.noise_shape, name=layer.name)
    return None


def _is_swish(layer: tf.keras.layers.Activation) -> bool:
    return getattr(layer.activation, "__name__", "") in ("silu", "swish") and layer.activation is not swish


def as_tensorflow(variable) -> tf.Variable:
    """The TensorFlow variable behind a variable of Keras 3; any other as it is."""
    return variable.value if IS_KERAS_3 and hasattr(variable, "path") else variable


class SlotOptimizer(tf.keras.optimizers.Optimizer):
    """An optimizer written once for both: `SLOTS` names what it keeps for each weight, `change` is one update.

    Clipping, decoupled decay, tf.distribute and the saving of the slots are Keras' own.

    Args: learning_rate; options: those of Keras' optimizers, such as weight_decay and global_clipnorm.
    """

    SLOTS: tuple[str, ...] = ()

    def __init__(self, learning_rate: float, **options):
        options = {"name": type(self).__name__, "weight_decay": None} | options
        if IS_KERAS_3:
            super().__init__(learning_rate=learning_rate, **options)
        else:
            super().__init__(**options)
            self._learning_rate = self._build_learning_rate(learning_rate)

    def change(self, gradient: tf.Tensor, weight: tf.Tensor, slots: list[tf.Variable], step: tf.Tensor) -> tf.Tensor:
        """Assigns the slots, in the order of `SLOTS`; gives what is taken from the weight, times the learning rate.

        Args: gradient, weight: of one shape and dtype. step: scalar of that dtype, 1 at the first update.
        """
        raise NotImplementedError

    def build(self, variables) -> None:
        if getattr(self, "_slots", None):
            return
        super().build(variables)
        self._slots = [[self.add_variable_from_reference(one, name) for name in self.SLOTS] for one in variables]
        self._built = True

    def update_step(self, gradient, variable, learning_rate=None) -> None:
        place = self._get_variable_index(variable) if IS_KERAS_3 else self._index_dict[self._var_key(variable)]
        slots = [as_tensorflow(slot) for slot in self._slots[place]]
        step = tf.cast(as_tensorflow(self.iterations) + 1, variable.dtype)
        rate = tf.cast(as_tensorflow(self.learning_rate), variable.dtype)
        gradient = tf.cast(tf.convert_to_tensor(gradient), variable.dtype)
        variable.assign_sub(rate * self.change(gradient, variable, slots, step))

    def get_config(self) -> dict:
        return super().get_config() | {"learning_rate": float(as_tensorflow(self.learning_rate))}


def apply_summed(
    optimizer: tf.keras.optimizers.Optimizer, gradients: list[tf.Tensor], variables: list[tf.Variable]
) -> None:
    """Applies, within a replica, gradients of its part of the loss, summed over the replicas before anything else.

    Keras 3 clips them, and looks for overflows of 16 bits, in each replica's part before its own sum: so clipping would
    depend on the number of devices, and an overflow in another replica than the first would go into the weights.
    """
    context = tf.distribute.get_replica_context()
    if IS_KERAS_3 and context.num_replicas_in_sync > 1:
        summing = getattr(optimizer, "inner_optimizer", optimizer)
        summing._all_reduce_sum_gradients  # noqa: B018 - an error, where Keras should sum elsewhere, and not twice the sum
        summing._all_reduce_sum_gradients = list
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
    optimizer.apply_gradients(zip(gradients, variables))


def optimizer_variables(optimizer: tf.keras.optimizers.Optimizer) -> list[tf.Variable]:
    """All that it keeps."""
    return optimizer.variables if IS_KERAS_3 else optimizer.variables()


def scaled_loss(optimizer: tf.keras.optimizers.Optimizer, loss: tf.Tensor) -> tf.Tensor:
    """What to take the gradient of."""
    if not isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
        return loss
    return optimizer.scale_loss(loss) if IS_KERAS_3 else optimizer.get_scaled_loss(loss)


def unscaled_gradients(optimizer: tf.keras.optimizers.Optimizer, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """Gradients of `scaled_loss` as `apply_gradients` wants them: Keras 3 takes the scale out itself."""
    if IS_KERAS_3 or not isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
        return gradients
    return optimizer.get_unscaled_gradients(gradients)
