"""EfficientNet-B3 at 384 px, the middle of what was used in 2020. Not trained by us on the full set yet: no score here.

melanoma-tf train --config=b3_384 --data_dir=DATA --work_dir=runs/b3_384 --set model.weights=imagenet
"""

from melanoma_tf.config import Config, DataConfig, ModelConfig, TrainConfig


def get_config() -> Config:
    return Config(
        data=DataConfig(image_size=384),
        model=ModelConfig(backbone="efficientnet_b3"),
        train=TrainConfig(epochs=12, batch_size=64, learning_rate=5e-4),
    )
