"""Rematerialisation: what the layers of a backbone put out is computed again for the gradient in place of being kept.

Chen et al. 2016 (arXiv 1604.06174). The backbone is cut at places where one tensor is all that goes on; of each part
only that tensor stays, and one part at a time is computed again.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import tensorflow as tf

from melanoma_tf.keras_compat import keras, register

PARTS = 8  # more keep more tensors between them, fewer have larger parts; about a third stays: benchmarks/memory.py
NOMINAL_SIZE = 256  # tells which layers are large


class Call(NamedTuple):
    """A layer of the network where it is called. inputs, output: keys of tensors. size: numbers in one image's."""

    layer: keras.layers.Layer
    inputs: tuple[int, ...]
    output: int
    size: int


def parts_of(backbone: keras.Model) -> list[list[Call]]:
    """The calls of a functional model in order, in about `PARTS` parts of equal size with one tensor between two.

    backbone: may end in a nested model, whose layers are taken.
    """
    calls = _calls(backbone)
    last_use = {key: number for number, call in enumerate(calls) for key in call.inputs}
    enough = sum(call.size for call in calls) / PARTS
    parts: list[list[Call]] = [[]]
    for number, call in enumerate(calls):
        parts[-1].append(call)
        alone = all(last_use[before.output] <= number for before in calls[:number])
        if alone and sum(one.size for one in parts[-1]) >= enough and number + 1 < len(calls):
            parts.append([])
    return parts


def _calls(model: keras.Model, start: int | None = None) -> list[Call]:
    """start: the key of what a nested model is given."""
    calls: list[Call] = []
    known = {} if start is None else {id(model.inputs[0]): start}
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    for layer, size in zip(layers, _sizes(model, layers)):
        if isinstance(layer, keras.Model):
            calls += _calls(layer, calls[-1].output)
        else:
            inputs = tuple(known.get(id(tensor), id(tensor)) for tensor in tf.nest.flatten(layer.input))
            calls.append(Call(layer, inputs, id(layer.output), size))
    return calls


def _sizes(model: keras.Model, layers: list[keras.layers.Layer]) -> list[int]:
    """Of what each of the layers puts out for an image; where a model takes all sizes, for one of `NOMINAL_SIZE`."""
    outputs = [tf.nest.flatten(layer.output)[0] for layer in layers]
    shapes = [tuple(output.shape) for output in outputs]
    if any(None in shape[1:] for shape in shapes):
        inner = [output for output, layer in zip(outputs, layers) if not isinstance(layer, keras.Model)]
        found = keras.Model(model.inputs[0], inner).compute_output_shape((None, NOMINAL_SIZE, NOMINAL_SIZE, 3))
        known = dict(zip(map(id, inner), found if len(inner) > 1 else [found]))
        shapes = [known.get(id(output), ()) for output in outputs]
    return [math.prod(map(int, shape[1:])) for shape in shapes]


def _run(part: list[Call], given: tf.Tensor) -> tf.Tensor:
    """What the part makes of its one input, in training."""
    values = {part[0].inputs[0]: given}
    for layer, inputs, output, _ in part:
        tensors = [values[key] for key in inputs]
        options = {"training": True} if "training" in inspect.signature(layer.call).parameters else {}
        values[output] = layer(tensors if len(tensors) > 1 else tensors[0], **options)
    return values[part[-1].output]


@register
class Rematerialized(tf.keras.Model):
    """A functional model with the layers, weights and outputs of another, that keeps little for its gradient.

    In training its BatchNormalization moves its statistics twice, with the gradient again: see `statistics_kept`.
    """

    in_parts: Callable[[tf.Tensor], tf.Tensor]

    def call(self, inputs, training=None, mask=None):
        return self.in_parts(inputs) if training else super().call(inputs, training=training, mask=mask)


Rematerialized.__name__ = "Functional"  # weight files name a nested model by its class, and must fit with and without


def rematerialized(backbone: keras.Model) -> keras.Model:
    """The backbone, see `parts_of`, as a `Rematerialized`."""
    parts = [tf.recompute_grad(partial(_run, part)) for part in parts_of(backbone)]

    def in_parts(tensor):
        for part in parts:
            tensor = part(tensor)
        return tensor

    model = Rematerialized(backbone.inputs[0], backbone.outputs[0], name=backbone.name)
    model.in_parts = in_parts
    return model
