"""EfficientNet-B6 at 640 px for nine diagnoses, with the images of 2019: one of the winners' eighteen models.

    melanoma-tf train --config=b6_640_9class --data_dir=DATA --work_dir=runs/b6_640_9class \
        --set model.weights=efficientnet-b6_noisy-student_notop.h5 --set data.train_only=isic2019

Ha, Liu and Liu 2020 (arXiv 2010.05351), `9c_b6ns_640_ext_15ep` of their repository; eighteen models like it, blended,
had an out-of-fold AUC of 0.9600 and 0.9490 on the private leaderboard. Theirs: noisy-student weights, cross entropy
over nine classes, five dropout masks of 0.5, Adam, batch 64, a warm-up epoch to 3e-4 and a cosine over 14 epochs,
flips and transposition, blur or noise, a distortion, CLAHE, hue, shift, scale and 15 degrees, one square cut out of
3/8 of the side; eight views; 15 to 45 hours of GPUs for five folds. Here strengths stand for their probabilities, and
equalisation is global where theirs was by tiles. Not trained by us: no score here.
"""

from melanoma_tf.config import AugmentConfig, Config, DataConfig, ModelConfig, PredictConfig, TrainConfig


def get_config() -> Config:
    return Config(
        data=DataConfig(image_size=640),
        augment=AugmentConfig(
            rotate=15 / 180, shear=0.0, zoom=0.25, shift=0.5, brightness=0.5, contrast=0.4, saturation=0.2, hue=0.3,
            motion_blur=0.3, median_blur=0.3, gaussian_blur=0.3, gaussian_noise=0.3, optical=0.5, grid=0.5, elastic=0.5,
            equalize=0.3, cutout=0.7, border="constant",
            one_of="motion_blur,median_blur,gaussian_blur,gaussian_noise;optical,grid,elastic",
        ),
        model=ModelConfig(
            backbone="efficientnet_package_b6", target="diagnosis9", dropout=0.5, multi_sample_dropout=5,
            drop_connect=0.0,
        ),
        train=TrainConfig(
            epochs=15, batch_size=64, learning_rate=3e-4, warmup_epochs=1.0, final_learning_rate_ratio=0.0,
            loss="categorical_cross_entropy", label_smoothing=0.0,
        ),
        predict=PredictConfig(batch_size=64, views=8),
    )  # fmt: skip
