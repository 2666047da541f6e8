"""How much memory a training step takes, by the sizes of the model's layers, and what to do where there is less."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from melanoma_tf.config import Config
from melanoma_tf.errors import UserError
from melanoma_tf.keras_compat import keras, optimizer_variables
from melanoma_tf.models import build_model
from melanoma_tf.models.pretrained import flat_layers
from melanoma_tf.models.rematerialize import Rematerialized, parts_of
from melanoma_tf.precision import computing_in


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on one replica. weights: values and gradients; slots: the optimizer's; image: activations of one image."""

    weights: int
    slots: int
    image: int

    def batch(self, images: int) -> int:
        """Of a training step with `images` on the replica."""
        return self.weights + self.slots + images * self.image


def estimate(model: keras.Model, optimizer: keras.optimizers.Optimizer, config: Config) -> Memory:
    """What a step needs: float32 weights, their gradients and slots, and the output of every layer, which is kept for
    the backward pass, in the type that the layer computes in, with the augmented image in float32 beside; of a
    rematerialised backbone what it keeps and its largest part.

    It knows nothing of the working space of convolutions, of what the compiler fuses or of fragmentation. Of several
    sizes the largest counts.
    """
    trainable = sum(_bytes(weight.shape, weight.dtype) for weight in model.trainable_variables)
    sized = _of_known_size(model, config)
    layers = flat_layers(sized)
    layers = [layer for layer in layers if not isinstance(layer, keras.layers.InputLayer)]
    activations = sum(_bytes(output.shape[1:], layer.compute_dtype) for layer in layers for output in _outputs(layer))
    activations -= sum(_not_kept(layer) for layer in sized.layers if isinstance(layer, Rematerialized))
    return Memory(
        weights=sum(_bytes(weight.shape, weight.dtype) for weight in model.variables) + trainable,
        slots=sum(_bytes(slot.shape, slot.dtype) for slot in optimizer_variables(optimizer)),
        image=activations + config.data.image_size**2 * 3 * (1 + 4),
    )


def _of_known_size(model: keras.Model, config: Config) -> keras.Model:
    """The model, or, where it takes several sizes and so its layers do not know theirs, one for the largest."""
    if not config.data.progressive_sizes:
        return model
    with computing_in(config.train.precision):
        return build_model(config.model, config.data.image_size, pretrained_weights=False)


def _not_kept(backbone: Rematerialized) -> int:
    """Bytes of an image beside what lies between the parts and the largest part."""
    parts = [[call.size * tf.as_dtype(call.layer.compute_dtype).size for call in part] for part in parts_of(backbone)]
    return sum(map(sum, parts)) - max(map(sum, parts)) - sum(part[-1] for part in parts)


def _outputs(layer: keras.layers.Layer) -> list:
    return [output for output in tf.nest.flatten(layer.output) if None not in output.shape[1:]]


def _bytes(shape, dtype) -> int:
    return int(np.prod([int(side) for side in shape], dtype=np.int64)) * tf.as_dtype(dtype).size


def shown(size: float) -> str:
    """`3.4 GB`, `120 MB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


@contextlib.contextmanager
def shortage_named(
    key: str, config: Config, model: keras.Model, optimizer: keras.optimizers.Optimizer, replicas: int
) -> Iterator[None]:
    """Within it a device that runs out of memory is one line that says what would fit. `key`: `train` or `predict`."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        memory, batch = estimate(model, optimizer, config), getattr(config, key).batch_size
        own = batch // replicas // (config.train.accumulation if key == "train" else 1)
        half = batch // 2 // replicas * replicas
        other = f", or train.accumulation={2 * config.train.accumulation}" if key == "train" else ""
        other += ", or model.rematerialize=true" if key == "train" and not config.model.rematerialize else ""
        advice = f"{key}.batch_size={half} would need about {shown(memory.batch(max(own // 2, 1)))}{other}"
        raise UserError(
            f"the device ran out of memory with {key}.batch_size={batch}: a step needs about "
            f"{shown(memory.batch(own))} for {own} images at once; {advice if own > 1 else 'take a smaller image_size'}"
        ) from error
