"""A run's settings: frozen dataclasses, the recipes that fill them, and `--set key=value` on top."""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
from collections.abc import Iterable
from typing import Any, get_type_hints

from melanoma_tf.errors import UserError, nearest
from melanoma_tf.ranges import CHOICES, RANGES, VIEW_COUNTS


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Input; see docs/input.md.

    image_size: side in pixels of what the model sees. progressive_sizes: smaller ones for the first epochs, such as
    `96,128`; all sizes share the epochs equally. shuffle_memory_mb: size of the shuffle buffer of encoded records;
    everything is shuffled at once where the set fits.
    crop: 0, or the share of both sides that is kept, at random places in training, central in prediction.
    melanoma_repeat: how often a melanoma comes in an epoch. source_weights: the same for images of a source, by the
    table's column `source`: `isic2019=0.5,ham=2`; fractions take turns.
    train_only: sources, such as `isic2018,isic2019`, that train in every fold and validate in none.
    pseudo_labels: folder of a finished run; the test images train too, labelled in each fold by that run's model of it.
    cache: decode once and keep the images in `memory`, on `disk`, or not (`none`); `auto`: in memory where they fit,
    else on disk where cache_dir names a folder that holds them. Nothing but speed depends on it. cache_memory_mb: what
    memory may take, 0 = half of what is free. cache_dir: folder of the file, without it the run's own.
    salvage: lose damaged records instead of refusing their shard.
    """

    image_size: int = 256
    progressive_sizes: str = ""
    shuffle_memory_mb: int = 1024
    crop: float = 0.0
    melanoma_repeat: float = 1.0
    source_weights: str = ""
    train_only: str = ""
    pseudo_labels: str = ""
    cache: str = "auto"
    cache_memory_mb: int = 0
    cache_dir: str = ""
    salvage: bool = False


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """What happens to a training image; each a strength in [0, 1] of the op of that name in `augment.OPS`, 0 = off.

    mixup, cutmix: strength of mixing neighbours and their truths. randaugment_n: ops drawn for each image and raised to
    randaugment_m. one_of: of each group of ops (`a,b;c,d`) an image keeps one. interpolation: `bilinear` or `bicubic`;
    border: what is seen outside of the image, `reflect`, `edge` or `constant` (black).
    The defaults are what cross-validation chose: docs/augmentation.md.
    """

    elastic: float = 0.0
    grid: float = 0.0
    optical: float = 0.0
    flip: float = 1.0
    transpose: float = 1.0
    rotate: float = 1.0
    shear: float = 0.5
    zoom: float = 0.5
    shift: float = 0.5
    perspective: float = 0.0
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.0
    illuminant: float = 0.0
    hair: float = 0.0
    ruler: float = 0.0
    ink: float = 0.0
    vignette: float = 0.0
    color_constancy: float = 0.0
    gamma: float = 0.0
    equalize: float = 0.0
    gaussian_blur: float = 0.0
    median_blur: float = 0.0
    motion_blur: float = 0.0
    sharpen: float = 0.0
    gaussian_noise: float = 0.0
    blockiness: float = 0.0
    cutout: float = 0.0
    coarse_dropout: float = 0.0
    grid_mask: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    randaugment_n: int = 0
    randaugment_m: float = 0.0
    one_of: str = ""
    interpolation: str = "bilinear"
    border: str = "reflect"


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Network.

    backbone: a name in `models.BACKBONES`. weights: `none`, `imagenet` (downloads), or a path to `.h5`, `.keras`,
    `.npz`, `.pth` or `.safetensors`. topology: `keras` or `torchvision` (symmetric padding, epsilon 1e-5), which must
    match where the weights come from. metadata: also look at sex, age and site.
    color_constancy: take the colour of the light out of every image first.
    target: what is asked for, a name in `targets.TARGETS`: `binary`, `diagnosis3`, `diagnosis4` or `diagnosis9`.
    auxiliary: what else is asked for in training, of `site,sex,age`. pooling: a name in `models.heads.POOLINGS`.
    rematerialize: compute the backbone's activations again for the gradient, to save memory.
    multi_sample_dropout: masks of the dropout; their logits are averaged. batch_norm: `train`, or `frozen` as loaded;
    batch_norm_momentum: of its averages, 0 = as the backbone has it.
    """

    backbone: str = "efficientnet_b0"
    weights: str = "none"
    topology: str = "keras"
    dropout: float = 0.2
    drop_connect: float = 0.2
    metadata: bool = False
    color_constancy: bool = False
    target: str = "binary"
    auxiliary: str = ""
    pooling: str = "average"
    multi_sample_dropout: int = 1
    rematerialize: bool = False
    batch_norm: str = "train"
    batch_norm_momentum: float = 0.0


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Optimisation.

    batch_size is global, over all replicas. learning_rate is the peak; schedule is a name in `SCHEDULES`, after
    warmup_epochs (linear; `one_cycle` has a rise of its own); restarts: cycles of the schedule `restarts`.
    optimizer and loss are names in `OPTIMIZERS` and `LOSSES`. clip_norm: largest global
    norm of the gradient, 0 = unlimited. select: weights that predict, `last`, or `best` by validation AUC, which
    flatters the out-of-fold score. checkpoint_minutes: time between checkpoints inside an epoch.
    One of these predicts in the place of the last weights: ema, a moving average of that decay; swa_epochs, the mean
    of the last epochs; snapshots, the mean prediction of the ends of the last cycles of `restarts`.
    sam_rho: sharpness-aware minimisation. lookahead_steps, lookahead_rate: slow weights. layer_decay: factor of the
    rate per stage from the head downwards. frozen_stages: so many, and the stem, keep their weights; 0 = none.
    focal_gamma, focal_alpha: of the focal losses. positive_weight: factor of a melanoma's loss;
    auxiliary_weight: of each auxiliary head's.
    precision: `float32`, `mixed_bfloat16` or `mixed_float16`. accumulation: parts in which a replica's share of a batch
    goes through the model, to save memory. steps_per_call: steps that the device does before it asks the host; neither
    the numbers nor anything but speed depends on it.
    """

    epochs: int = 12
    batch_size: int = 64
    optimizer: str = "adam"
    weight_decay: float = 0.0
    learning_rate: float = 5e-4
    warmup_epochs: float = 1.0
    schedule: str = "cosine"
    final_learning_rate_ratio: float = 0.01
    decay_per_epoch: float = 0.8
    restarts: int = 3
    loss: str = "binary_cross_entropy"
    label_smoothing: float = 0.05
    clip_norm: float = 0.0
    select: str = "last"
    checkpoint_minutes: float = 10.0
    ema: float = 0.0
    swa_epochs: int = 0
    snapshots: int = 0
    sam_rho: float = 0.0
    lookahead_steps: int = 0
    lookahead_rate: float = 0.5
    layer_decay: float = 1.0
    frozen_stages: int = 0
    focal_gamma: float = 2.0
    focal_alpha: float = 0.25
    positive_weight: float = 1.0
    auxiliary_weight: float = 0.1
    precision: str = "float32"
    accumulation: int = 1
    steps_per_call: int = 1


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Prediction.

    views: number of test-time views averaged; the first is the image itself. view_kind: `dihedral` (1, 2, 4 or 8),
    `crops` (1, 5 or 10) or `random` (1 to 64, draws of the recipe's augmentation).
    """

    batch_size: int = 64
    views: int = 4
    view_kind: str = "dihedral"


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides a result, besides the data itself."""

    name: str = ""
    seed: int = 2020
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    predict: PredictConfig = PredictConfig()


def recipes() -> list[str]:
    """Names of the recipes in `melanoma_tf/configs/`."""
    package = importlib.import_module("melanoma_tf.configs")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def load_recipe(name: str) -> Config:
    """The recipe `melanoma_tf/configs/<name>.py`. Raises UserError that names the nearest recipe."""
    if name not in recipes():
        raise UserError(f"no recipe {name!r}; {nearest(name, recipes())}")
    config = importlib.import_module(f"melanoma_tf.configs.{name}").get_config()
    return dataclasses.replace(config, name=name)


def override(config: Config, settings: Iterable[str]) -> Config:
    """Applies `section.key=value` settings, such as `train.epochs=12` or `seed=1`.

    Raises: UserError for an unknown key (names the nearest) or a value of the wrong type.
    """
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f"--set {setting}: expected section.key=value, such as train.epochs=12")
        known = flatten(config)
        if key not in known or key == "name":
            raise UserError(f"--set {key}: no such setting; {nearest(key, known)}")
        config = _replace(config, key.split("."), _parse(key, text, type(known[key])))
    return check(config)


def _replace(node: Any, keys: list[str], value: Any) -> Any:
    if len(keys) > 1:
        value = _replace(getattr(node, keys[0]), keys[1:], value)
    return dataclasses.replace(node, **{keys[0]: value})


def _parse(key: str, text: str, kind: type) -> Any:
    choices = {"true": True, "false": False, "1": True, "0": False}
    try:
        return choices[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        raise UserError(f"--set {key}={text}: expected {kind.__name__}") from error


def flatten(config: Config) -> dict[str, Any]:
    """`{"seed": 2020, "train.epochs": 12, ...}`."""
    flat: dict[str, Any] = {}
    for key, value in dataclasses.asdict(config).items():
        flat |= {f"{key}.{inner}": v for inner, v in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def to_json(config: Config) -> dict[str, Any]:
    return dataclasses.asdict(config)


def from_json(text: str, source: str = "config.json") -> Config:
    """The inverse of `json.dumps(to_json(config))`. Raises UserError naming `source`."""
    try:
        value = json.loads(text)
        kinds = get_type_hints(Config)
        nested = {key: kinds[key](**inner) if isinstance(inner, dict) else inner for key, inner in value.items()}
        return check(Config(**nested))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{source} is not a configuration of this version: {error}") from error


def check(config: Config) -> Config:
    """Returns the config. Raises UserError that names the setting and its valid range."""
    for key, value in flatten(config).items():
        strength = key.startswith("augment.") and isinstance(value, float | int)
        low, high = RANGES.get(key, (0, 1) if strength else (None, None))
        if low is not None and not low <= value <= high:
            raise UserError(f"{key} is {value}; valid is {low} to {high}")
        if key in CHOICES and value not in CHOICES[key]:
            raise UserError(f"{key} is {value!r}; valid: {', '.join(map(str, CHOICES[key]))}")
    if config.data.crop and config.data.cache in ("memory", "disk"):
        raise UserError(f"data.cache is {config.data.cache!r}; with data.crop every draw is decoded anew: give none")
    valid = VIEW_COUNTS[config.predict.view_kind]
    if config.predict.views not in valid:
        shown = ", ".join(map(str, valid)) if len(valid) < 10 else f"{valid[0]} to {valid[-1]}"
        raise UserError(f"predict.views is {config.predict.views}; valid for {config.predict.view_kind} views: {shown}")
    return config
