"""EfficientNet-B0 at 128 px for 6 passes: HAM10000 to another source of images, on two cores.

    melanoma-tf train --config=ham10000_b0_128 --data_dir=SHARDS --work_dir=RUN --fold=all --set model.weights=B0.pth

Command, cost and score: docs/ham10000.md. Colour is the largest difference between the sources, so the colour of the
light is taken out and colour is augmented strongly; both were chosen on HAM10000 alone, as told there.
"""

from melanoma_tf.config import AugmentConfig, Config, DataConfig, ModelConfig, PredictConfig, TrainConfig


def get_config() -> Config:
    return Config(
        data=DataConfig(image_size=128),
        augment=AugmentConfig(brightness=0.5, contrast=0.6, saturation=0.6, hue=0.3),
        model=ModelConfig(backbone="efficientnet_b0", topology="torchvision", color_constancy=True),
        train=TrainConfig(epochs=6, batch_size=32, learning_rate=5e-4, warmup_epochs=0.5),
        predict=PredictConfig(batch_size=64, views=8),
    )
