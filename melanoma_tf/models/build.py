"""The whole network from its configuration, and its weights to and from a file."""

from __future__ import annotations

import os
from pathlib import Path

from melanoma_tf import files
from melanoma_tf.config import ModelConfig
from melanoma_tf.errors import UserError, nearest
from melanoma_tf.keras_compat import SeededDropout, keras
from melanoma_tf.models import pretrained
from melanoma_tf.models.backbones import BACKBONES
from melanoma_tf.models.color_constancy import ShadesOfGrey
from melanoma_tf.tables import METADATA_WIDTH
from melanoma_tf.targets import classes


def build_model(config: ModelConfig, size: int, *, pretrained_weights: bool = True) -> keras.Model:
    """The network of a configuration.

    Args:
      config: backbone, weights, head. size: side S of the images. pretrained_weights: False leaves `config.weights`
        unread, for a model whose own weights are loaded next.

    Returns: model from {"image": float32[B,S,S,3] in [0,1], "meta": float32[B,M]} to logits float32[B,C], see `targets`.
    Raises: UserError for an unknown backbone or weights of another topology.
    """
    if config.backbone not in BACKBONES:
        raise UserError(f"model.backbone: no backbone {config.backbone!r}; {nearest(config.backbone, BACKBONES)}")
    backbone = BACKBONES[config.backbone](config.topology, config.drop_connect, size)
    if pretrained_weights and config.weights != "none":
        pretrained.load(backbone, config)
    image = keras.Input((size, size, 3), name="image")
    meta = keras.Input((METADATA_WIDTH,), name="meta")
    seen = ShadesOfGrey(name="color_constancy")(image) if config.color_constancy else image
    features = keras.layers.GlobalAveragePooling2D(name="pool")(backbone(seen))
    if config.metadata:
        hidden = keras.layers.Dense(32, activation="relu", name="meta_hidden")(meta)
        features = keras.layers.Concatenate(name="image_and_meta")([features, hidden])
    features = SeededDropout(config.dropout, name="head_dropout")(features)
    logits = keras.layers.Dense(len(classes(config.target)), dtype="float32", name="logits")(features)
    return keras.Model({"image": image, "meta": meta}, logits, name="melanoma")


def save_model_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Writes all weights as a whole `.weights.h5` file."""
    path = Path(path)
    beside = path.with_name(f".part-{os.getpid()}.{path.name}")  # Keras insists on the ending
    try:
        model.save_weights(str(beside))
        with files.open_whole(path) as file, open(beside, "rb") as source:
            file.write(source.read())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
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
