"""EfficientNet-B6 as the third place trained it: TensorFlow on a TPU v3-8, no image held out.

    melanoma-tf train --config=third_place_b6 --data_dir=DATA --work_dir=runs/third --fold=all \
        --set model.weights=imagenet [--set data.image_size=512] [--set augment.hair=0.5] --strategy=tpu

Masdevallia's repository (3rd-place-kaggle-siim-isic-melanoma-classification, MIT): eight such models of 256, 384, 512
and 768 px, four on 2020 alone and four with 2019, for 10 to 25 epochs (15 at 384 px on 2020), half an hour to three
hours each; blended with others, third of the private leaderboard. Theirs: batch 16 on each of 8 cores, a linear
warm-up of 5 epochs to 1.6e-4, then times 0.8 an epoch, label smoothing 0.05, no dropout, 25 random views, pasted hairs
where 2019 came along. Their rotations, shears and shifts are normally distributed, ours uniform over about as much;
hairs are drawn. Not trained by us on the full set: no score here.
"""

from melanoma_tf.config import AugmentConfig, Config, DataConfig, ModelConfig, PredictConfig, TrainConfig


def get_config() -> Config:
    return Config(
        data=DataConfig(image_size=384),
        augment=AugmentConfig(
            transpose=0.0, shear=0.1, zoom=0.6, shift=0.15, brightness=0.25, contrast=0.4, saturation=0.375, hue=0.06,
        ),
        model=ModelConfig(backbone="efficientnet_b6", dropout=0.0),
        train=TrainConfig(
            epochs=15, batch_size=128, learning_rate=1.6e-4, warmup_epochs=5.0, schedule="exponential",
            final_learning_rate_ratio=0.006,
        ),
        predict=PredictConfig(batch_size=128, views=25, view_kind="random"),
    )  # fmt: skip
