"""The one file that knows Keras 2 (TensorFlow 2.15) from Keras 3 (2.16 and later)."""

from __future__ import annotations

import os

import tensorflow as tf

from melanoma_tf.kernels import is_worth_compiling
from melanoma_tf.kernels.expansion import expand_norm_swish, is_worth_expanding
from melanoma_tf.kernels.normalization import batch_norm_swish
from melanoma_tf.kernels.swish import swish

keras = tf.keras  # as a variable no type for a checker, hence tf.keras in annotations and base classes
register = keras.utils.register_keras_serializable("melanoma_tf")
KERAS_VERSION = getattr(keras, "__version__", "2.15")  # tf.keras of TensorFlow 2.15 does not tell
IS_KERAS_3 = int(KERAS_VERSION.split(".")[0]) >= 3

# Twice as wide as XLA's own choice on CPUs that have them; XLA_FLAGS=--xla_cpu_prefer_vector_width=256 before
# `benchmarks/train_step.py` shows the other. XLA reads it when it first compiles, and ends the process where it does
# not know it, as in TensorFlow 2.15.
WIDE_VECTORS = "--xla_cpu_prefer_vector_width"
if tuple(map(int, tf.__version__.split(".")[:2])) >= (2, 21) and WIDE_VECTORS not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {WIDE_VECTORS}=512".strip()


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
    """BatchNormalization of Keras 3 by fused kernels; Keras 3 takes the moments with elementwise ops, in several
    passes. Same weights and outputs, for speed only. With `swish` the swish that followed it is part of it."""

    def __init__(self, swish: bool = False, **options):
        super().__init__(**options)
        self.swish = swish

    def get_config(self):
        return super().get_config() | {"swish": self.swish}

    def call(self, inputs, training=None, mask=None):
        if training and self.trainable and self.swish and is_worth_compiling(inputs.shape):
            return self._with_swish(inputs)
        frozen = training and not self.trainable
        output = _normalized_by(self, inputs) if frozen else self._by_kernel(inputs, bool(training))
        return swish(output) if self.swish else output

    def _with_swish(self, inputs):
        gamma, beta = (tf.cast(weight, tf.float32) for weight in (self.gamma, self.beta))
        made_of = getattr(inputs, "_made_of", None)  # of `layers.Conv2D`
        if made_of and is_worth_expanding(made_of[0]):
            before, kernel = made_of
            output, mean, variance = expand_norm_swish(inputs, before, kernel, gamma, beta, self.epsilon)
        else:
            output, mean, variance = batch_norm_swish(inputs, gamma, beta, self.epsilon)
        self._keep(mean, variance)
        output._before = (inputs, (mean, variance), gamma, beta, self.epsilon)  # for `layers.Excite`
        return output

    def _by_kernel(self, inputs, training):
        output, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=tf.cast(self.gamma, tf.float32), offset=tf.cast(self.beta, tf.float32),
            mean=[] if training else tf.cast(self.moving_mean, tf.float32),
            variance=[] if training else tf.cast(self.moving_variance, tf.float32),
            epsilon=self.epsilon, is_training=training,
        )  # fmt: skip
        if training:  # the kernel's variance is the unbiased one; Keras 3 keeps the biased one
            count = tf.cast(tf.size(inputs) / tf.size(mean), tf.float32)
            self._keep(mean, variance * (count - 1.0) / count)
        return output

    def _keep(self, mean, variance):
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))


def fast_normalization(config: dict, swish_behind: bool) -> tf.keras.layers.Layer:
    """BatchNormalization of that configuration; where `takes_swish` says so the swish behind it can be part of it."""
    if IS_KERAS_3:
        return FusedBatchNormalization.from_config(config | {"swish": swish_behind})
    return BatchNormalization.from_config(config)


def takes_swish(layer: tf.keras.layers.Layer) -> bool:
    """Whether `fast_normalization` of a layer can take the only layer behind it, if that is swish."""
    return IS_KERAS_3 and isinstance(layer, keras.layers.BatchNormalization) and len(layer._outbound_nodes) == 1


def layer_behind(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
    """What takes its output first."""
    return layer._outbound_nodes[0].operation


def depthwise_kernel(layer: tf.keras.layers.DepthwiseConv2D) -> tf.Variable:
    """float32[K,K,C,1]"""
    return layer.kernel if IS_KERAS_3 else layer.depthwise_kernel


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


class _OneKernel(tf.keras.optimizers.Optimizer):
    """Updates of one kernel for each weight, where Keras' own Adam takes a dozen small ones. The same formula."""

    def apply(self, *arguments, **options):  # of Keras 3
        self._share_scalars()
        return super().apply(*arguments, **options)

    def apply_gradients(self, *arguments, **options):  # of Keras 2
        self._share_scalars()
        return super().apply_gradients(*arguments, **options)

    def _share_scalars(self) -> None:
        """For all weights at once; not as an attribute, which a checkpoint would look into."""
        rate, beta_1, beta_2, epsilon, step = (
            tf.cast(as_tensorflow(value), tf.float32)
            for value in (self.learning_rate, self.beta_1, self.beta_2, self.epsilon, self.iterations + 1)
        )
        self.__dict__["_scalars"] = {
            "lr": rate, "beta1": beta_1, "beta2": beta_2, "epsilon": epsilon,
            "beta1_power": beta_1**step, "beta2_power": beta_2**step,
        }  # fmt: skip

    def update_step(self, gradient, variable, learning_rate=None) -> None:
        place = self._get_variable_index(variable) if IS_KERAS_3 else self._index_dict[self._var_key(variable)]
        mean, square = (as_tensorflow(slots[place]) for slots in (self._momentums, self._velocities))
        scalars = {name: tf.cast(value, variable.dtype) for name, value in self._scalars.items()}
        tf.raw_ops.ResourceApplyAdam(
            var=as_tensorflow(variable).handle, m=mean.handle, v=square.handle,
            grad=tf.cast(tf.convert_to_tensor(gradient), variable.dtype), **scalars,
        )  # fmt: skip


class Adam(_OneKernel, tf.keras.optimizers.Adam):
    """Keras' own, faster."""


class AdamW(_OneKernel, tf.keras.optimizers.AdamW):
    """Keras' own, faster."""


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
