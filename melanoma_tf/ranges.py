"""Which values a setting may take: `section.key` -> (lowest, highest), or the words."""

from __future__ import annotations

from typing import Any

RANGES: dict[str, tuple[float, float]] = {
    "data.image_size": (8, 4096),
    "data.shuffle_memory_mb": (1, 1 << 20),
    "data.crop": (0, 1),
    "data.melanoma_repeat": (0, 1000),
    "data.cache_memory_mb": (0, 1 << 24),
    "augment.randaugment_n": (0, 20),
    "model.dropout": (0, 0.99),
    "model.drop_connect": (0, 0.99),
    "model.multi_sample_dropout": (1, 64),
    "model.batch_norm_momentum": (0, 0.99999),
    "train.epochs": (1, 10_000),
    "train.batch_size": (1, 1 << 16),
    "train.learning_rate": (0, 100),
    "train.warmup_epochs": (0, 10_000),
    "train.final_learning_rate_ratio": (0, 1),
    "train.decay_per_epoch": (0, 1),
    "train.restarts": (1, 10_000),
    "train.label_smoothing": (0, 0.99),
    "train.weight_decay": (0, 100),
    "train.focal_gamma": (0, 10),
    "train.focal_alpha": (0, 1),
    "train.positive_weight": (0, 1000),
    "train.auxiliary_weight": (0, 100),
    "train.clip_norm": (0, 1e9),
    "train.checkpoint_minutes": (0, 1e6),
    "train.sam_rho": (0, 100),
    **dict.fromkeys(("train.accumulation", "train.steps_per_call"), (1, 1 << 12)),
    **dict.fromkeys(("train.ema", "train.lookahead_rate", "train.layer_decay"), (0, 1)),
    **dict.fromkeys((f"train.{name}" for name in ("swa_epochs", "snapshots", "lookahead_steps")), (0, 10_000)),
    "predict.batch_size": (1, 1 << 16),
}
CHOICES: dict[str, tuple[Any, ...]] = {
    "data.cache": ("auto", "memory", "disk", "none"),
    "augment.interpolation": ("bilinear", "bicubic"),
    "augment.border": ("reflect", "edge", "constant"),
    "model.topology": ("keras", "torchvision"),
    "model.batch_norm": ("train", "frozen"),
    "predict.view_kind": ("dihedral", "crops", "random"),
    "train.schedule": ("cosine", "exponential", "constant", "restarts", "one_cycle"),
    "train.select": ("last", "best"),
    "train.precision": ("float32", "mixed_bfloat16", "mixed_float16"),
}


VIEW_COUNTS: dict[str, tuple[int, ...]] = {
    "dihedral": (1, 2, 4, 8), "crops": (1, 5, 10), "random": tuple(range(1, 65)),
}  # fmt: skip
