"""EfficientNet-B6 at 512 px: a member for a large ensemble.

    melanoma-tf train --config=b6_512 --data_dir=DATA --work_dir=runs/b6_512 --set model.weights=imagenet

In 16 bits: `--set train.precision=mixed_bfloat16` on a TPU, `mixed_float16` on GPUs; `--dry_run` tells the memory. Not
trained by us on the full set: no score here.
"""

from melanoma_tf.config import Config, DataConfig, ModelConfig, PredictConfig, TrainConfig


def get_config() -> Config:
    return Config(
        data=DataConfig(image_size=512),
        model=ModelConfig(backbone="efficientnet_b6", dropout=0.5),
        train=TrainConfig(epochs=15, batch_size=64, learning_rate=3e-4, ema=0.999),
        predict=PredictConfig(batch_size=64, views=8),
    )
