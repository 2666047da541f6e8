"""The whole network from its configuration, and its weights to and from a file."""

from __future__ import annotations

import os
from pathlib import Path

from melanoma_tf import files
from melanoma_tf.config import ModelConfig
from melanoma_tf.errors import UserError, nearest
from melanoma_tf.keras_compat import keras
from melanoma_tf.models import heads, pretrained
from melanoma_tf.models.backbones import BACKBONES
from melanoma_tf.models.color_constancy import ShadesOfGrey
from melanoma_tf.models.rematerialize import rematerialized
from melanoma_tf.tables import METADATA_WIDTH


def build_model(config: ModelConfig, size: int | None, *, pretrained_weights: bool = True) -> keras.Model:
    """The network of a configuration.

    Args:
      config: backbone, weights, head. size: side S of the images; None builds it for any even S, with the same
        weights. pretrained_weights: False leaves `config.weights` unread, for a model whose own are loaded next.

    Returns: model from {"image": float32[B,S,S,3] in [0,1], "meta": float32[B,M]} to logits float32[B,C], see
      `targets`; with auxiliary heads to a dictionary of "logits" and theirs, see `heads`.
    Raises: UserError for an unknown backbone, target, pooling or head, or weights of another topology.
    """
    if config.backbone not in BACKBONES:
        raise UserError(f"model.backbone: no backbone {config.backbone!r}; {nearest(config.backbone, BACKBONES)}")
    backbone = BACKBONES[config.backbone](config.topology, config.drop_connect, size)
    if pretrained_weights and config.weights != "none":
        pretrained.load(backbone, config)
    _set_batch_norm(backbone, config)
    if config.rematerialize:
        backbone = rematerialized(backbone)
    image = keras.Input((size, size, 3), name="image")
    meta = keras.Input((METADATA_WIDTH,), name="meta")
    seen = ShadesOfGrey(name="color_constancy")(image) if config.color_constancy else image
    outputs = heads.head(backbone(seen), meta, config)
    return keras.Model({"image": image, "meta": meta}, outputs, name="melanoma")


def _set_batch_norm(backbone: keras.Model, config: ModelConfig) -> None:
    """Frozen: means, deviations, gains and offsets stay as loaded, and training normalises as prediction does."""
    if config.batch_norm == "frozen" and config.weights == "none":
        raise UserError("model.batch_norm is frozen, which needs model.weights: random weights have no statistics")
    for layer in pretrained.flat_layers(backbone):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = config.batch_norm_momentum or layer.momentum
            layer.trainable = config.batch_norm == "train"


def save_model_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Writes all weights as a whole `.weights.h5` file."""
    path = Path(path)
    beside = path.with_name(f".part-{os.getpid()}.{path.name}")  # Keras insists on the ending
    try:
        model.save_weights(str(beside))
        with files.open_whole(path) as file, open(beside, "rb") as source:
            file.write(source.read())
    except (OSError, RuntimeError) as error:  # HDF5 tells of a disk that is full at closing by a RuntimeError
        raise UserError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
    finally:
        beside.unlink(missing_ok=True)


def load_model_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Loads what `save_model_weights` wrote. Raises UserError when absent or of another topology."""
    if not os.path.exists(path):
        raise UserError(f"no weights at {path}: expected a .weights.h5 file of melanoma-tf train")
    try:
        model.load_weights(str(path))
    except (ValueError, OSError, KeyError) as error:
        raise UserError(f"{path} does not fit the model: {str(error).splitlines()[0]}") from error
