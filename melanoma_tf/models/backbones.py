"""The table of backbones. To add one: write a function `(topology, drop_connect, size) -> Model` and put it into
`BACKBONES`.

A backbone takes images in [0, 1], float32[B,S,S,3], normalises them itself and returns a feature map [B,H,W,C].
`size` is S, or None for any even one: Keras pads the stem by the parity of S.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from melanoma_tf.errors import UserError
from melanoma_tf.keras_compat import keras
from melanoma_tf.layers import Normalization, SeededDropout, accelerate, rebuild

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_VARIANCE = (0.229**2, 0.224**2, 0.225**2)
TORCHVISION_EPSILON = 1e-5  # of B0 to B4; its B5 to B7 have 1e-3, as Keras has
BUILT_DROP_CONNECT = 0.2
V2_VERSIONS = ("B0", "B1", "B2", "B3", "S", "M", "L")


def keras_efficientnet(version: str, topology: str, drop_connect: float, size: int | None) -> keras.Model:
    """EfficientNet B0-B7 of `tf.keras.applications` (Tan & Le 2019, arXiv 1905.11946).

    Keras adds a Rescaling layer when it loads its ImageNet weights and leaves mean and variance at 0 and 1 when it does
    not; here mean and deviation of ImageNet are part of the topology whatever the weights.
    """
    build = getattr(keras.applications, f"EfficientNet{version}")
    template = build(include_top=False, weights=None, input_shape=(size, size, 3))

    def replace(layer):
        if isinstance(layer, keras.layers.Rescaling):
            return keras.layers.Rescaling(1.0, name=layer.name)  # ours come in [0, 1]
        if isinstance(layer, keras.layers.Normalization):
            return normalization(layer.name)
        changed = _as_torchvision(layer, version) if topology == "torchvision" else _padding_within(layer)
        return _stochastic_depth(layer, drop_connect) or accelerate(layer, changed) or changed

    return rebuild(template, replace)


def _stochastic_depth(layer: keras.layers.Layer, drop_connect: float) -> keras.layers.Layer | None:
    """Scales the rates of whole-branch dropout; both sources build with 0.2, and Keras 3 takes no other."""
    if not isinstance(layer, keras.layers.Dropout) or not layer.noise_shape:
        return None
    return SeededDropout(layer.rate * drop_connect / BUILT_DROP_CONNECT, noise_shape=layer.noise_shape, name=layer.name)


def normalization(name: str = "normalization") -> keras.layers.Layer:
    """(x - mean) / deviation of ImageNet, constants of the layer."""
    return Normalization(axis=-1, mean=IMAGENET_MEAN, variance=IMAGENET_VARIANCE, name=name)


def _padding_within(layer: keras.layers.Layer) -> keras.layers.Layer | None:
    """Leaves the padding in front of strided depthwise convolutions to them: Keras' own is TensorFlow's `same`, and the
    largest maps need not be copied."""
    if isinstance(layer, keras.layers.ZeroPadding2D) and layer.name.endswith("dwconv_pad"):
        return keras.layers.Activation("linear", name=layer.name)
    if isinstance(layer, keras.layers.DepthwiseConv2D) and layer.strides != (1, 1):
        return layer.__class__.from_config(layer.get_config() | {"padding": "same"})
    return None


def keras_efficientnet_v2(version: str, topology: str, drop_connect: float, size: int | None) -> keras.Model:
    """EfficientNetV2 B0-B3, S, M, L of `tf.keras.applications` (Tan & Le 2021, arXiv 2104.00298).

    B0-B3 were trained on images less ImageNet's mean by its deviation, S, M and L on images in [-1, 1].
    """
    if topology != "keras":
        raise UserError("model.topology must be keras for EfficientNetV2")
    build = getattr(keras.applications, f"EfficientNetV2{version}")
    template = build(include_top=False, weights=None, input_shape=(size, size, 3))

    def replace(layer):
        if isinstance(layer, keras.layers.Rescaling):  # ours come in [0, 1], Keras' in [0, 255]
            return keras.layers.Rescaling(layer.scale * 255.0, layer.offset, name=layer.name)
        if isinstance(layer, keras.layers.Normalization):
            return normalization(layer.name)
        return _stochastic_depth(layer, drop_connect) or accelerate(layer)

    return rebuild(template, replace)


def _as_torchvision(layer: keras.layers.Layer, version: str) -> keras.layers.Layer | None:
    """torchvision pads strided convolutions on both sides where Keras pads right and below, and its epsilon differs."""
    config = layer.get_config()
    if isinstance(layer, keras.layers.ZeroPadding2D):
        (_, after), _ = config["padding"]
        config["padding"] = ((after, after), (after, after))
    elif isinstance(layer, keras.layers.BatchNormalization) and version < "B5":
        config["epsilon"] = TORCHVISION_EPSILON
    else:
        return None
    return layer.__class__.from_config(config)


def package_efficientnet(version: str, topology: str, drop_connect: float, size: int | None) -> keras.Model:
    """EfficientNet B0-B7 of the `efficientnet` package 1.1.1, the way to its noisy-student weights.

    It expects normalised images; the normalisation is added in front.
    """
    from melanoma_tf.models.efficientnet_package import build

    if topology != "keras":
        raise UserError("model.topology must be keras for the efficientnet package")
    inputs = keras.Input((size, size, 3))
    backbone = build(version, (size, size, 3))
    backbone = rebuild(backbone, lambda layer: _stochastic_depth(layer, drop_connect) or accelerate(layer))
    return keras.Model(inputs, backbone(normalization()(inputs)), name=f"efficientnet_package_{version.lower()}")


def tiny(topology: str, drop_connect: float, size: int | None) -> keras.Model:
    """Three strided convolutions: for tests and the demo, where seconds count and accuracy does not."""
    inputs = keras.Input((size, size, 3))
    features = normalization()(inputs)
    for number, width in enumerate((16, 24, 32)):
        features = keras.layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False, name=f"tiny_conv{number}")(
            features
        )
        features = keras.layers.BatchNormalization(momentum=0.9, name=f"tiny_bn{number}")(features)
        features = keras.layers.Activation("swish", name=f"tiny_activation{number}")(features)
    return rebuild(keras.Model(inputs, features, name="tiny"), accelerate)


BACKBONES: dict[str, Callable[[str, float, int | None], keras.Model]] = {
    "tiny": tiny,
    **{f"efficientnet_b{n}": partial(keras_efficientnet, f"B{n}") for n in range(8)},
    **{f"efficientnet_v2_{version.lower()}": partial(keras_efficientnet_v2, version) for version in V2_VERSIONS},
    **{f"efficientnet_package_b{n}": partial(package_efficientnet, f"B{n}") for n in range(8)},
}
