"""A tiny network at 64 px, for the miniature competition: minutes on two cores, no claim about accuracy.

make demo
"""

from melanoma_tf.config import AugmentConfig, Config, DataConfig, ModelConfig, PredictConfig, TrainConfig


def get_config() -> Config:
    return Config(
        data=DataConfig(image_size=64),
        augment=AugmentConfig(shear=0.2, zoom=0.2, shift=0.2),
        model=ModelConfig(backbone="tiny", dropout=0.1),
        train=TrainConfig(epochs=20, batch_size=16, learning_rate=4e-3, label_smoothing=0.02),
        predict=PredictConfig(batch_size=32, views=4),
    )
