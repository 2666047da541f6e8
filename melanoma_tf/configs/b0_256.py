"""EfficientNet-B0 at 256 px: the recipe to start from.

melanoma-tf train --config=b0_256 --data_dir=DATA --work_dir=runs/b0_256 --set model.weights=imagenet
"""

from melanoma_tf.config import Config, DataConfig, ModelConfig, TrainConfig


def get_config() -> Config:
    return Config(
        data=DataConfig(image_size=256),
        model=ModelConfig(backbone="efficientnet_b0"),
        train=TrainConfig(epochs=12, batch_size=64, learning_rate=5e-4),
    )
