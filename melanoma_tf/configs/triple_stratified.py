"""EfficientNet-B6 at 384 px as in the notebook that everybody started from, Deotte's Triple Stratified KFold.

    melanoma-tf train --config=triple_stratified --data_dir=DATA --work_dir=runs/triple --set model.weights=imagenet \
        [--set data.train_only=isic2018]

https://www.kaggle.com/cdeotte/triple-stratified-kfold-with-tfrecords: five folds of its fifteen leak-free shards (here
`melanoma-tf folds` makes them), with 2018's images, 12 epochs, batch 32 on each of 8 TPU cores, a linear warm-up of 5
epochs to 3.2e-4, then times 0.8 an epoch, label smoothing 0.05, no dropout, the epoch of the lowest validation loss,
11 random views. Here the last epoch predicts, since an epoch that the validation images chose flatters them; `--set
train.select=best` chooses by AUC. Not trained by us on the full set: no score here.
"""

from melanoma_tf.config import AugmentConfig, Config, DataConfig, ModelConfig, PredictConfig, TrainConfig


def get_config() -> Config:
    return Config(
        data=DataConfig(image_size=384),
        augment=AugmentConfig(
            transpose=0.0, shear=0.1, zoom=0.5, shift=0.15, brightness=0.25, contrast=0.4, saturation=0.375, hue=0.06,
        ),
        model=ModelConfig(backbone="efficientnet_b6", dropout=0.0),
        train=TrainConfig(
            epochs=12, batch_size=256, learning_rate=3.2e-4, warmup_epochs=5.0, schedule="exponential",
            final_learning_rate_ratio=0.003,
        ),
        predict=PredictConfig(batch_size=256, views=11, view_kind="random"),
    )  # fmt: skip
