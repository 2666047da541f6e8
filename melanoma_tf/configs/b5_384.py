"""EfficientNet-B5 at 384 px with images of earlier years: the single model that most teams had in 2020.

    melanoma-tf train --config=b5_384 --data_dir=DATA --work_dir=runs/b5_384 --set model.weights=imagenet \
        --set data.train_only=isic2018 --set data.source_weights=isic2018=0.5

DATA holds shards of 2020 and of the earlier years, and one train.csv with a column `source`; without the last two
settings it trains on whatever is there. Not trained by us on the full set: no score here.
"""

from melanoma_tf.config import Config, DataConfig, ModelConfig, PredictConfig, TrainConfig


def get_config() -> Config:
    return Config(
        data=DataConfig(image_size=384),
        model=ModelConfig(backbone="efficientnet_b5", dropout=0.4),
        train=TrainConfig(epochs=12, batch_size=128, learning_rate=5e-4),
        predict=PredictConfig(batch_size=128, views=8),
    )
