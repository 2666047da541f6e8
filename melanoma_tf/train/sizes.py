"""Progressive sizes: small images in the first epochs, when little is known and much has to be seen."""

from __future__ import annotations

from melanoma_tf.config import Config
from melanoma_tf.errors import UserError

SMALLEST = 8


def sizes_of(config: Config) -> list[int]:
    """The sides of the images in the order in which they train: `data.progressive_sizes`, then `data.image_size`.

    Raises: UserError where they do not rise, are odd (a network pads odd and even maps differently, and one network
    takes all sizes), or are more than there are epochs.
    """
    text, last = config.data.progressive_sizes, config.data.image_size
    if not text:
        return [last]
    try:
        sizes = [*map(int, text.split(",")), last]
    except ValueError:
        sizes = []
    rising = sizes == sorted(set(sizes))
    if not sizes or not rising or sizes[0] < SMALLEST or any(size % 2 for size in sizes):
        raise UserError(f"data.progressive_sizes={text}: expected even sides that rise from {SMALLEST} or more to "
                        f"below data.image_size={last}, itself even, such as 96,128")  # fmt: skip
    if len(sizes) > config.train.epochs:
        raise UserError(f"data.progressive_sizes={text} and image_size make {len(sizes)} sizes; train.epochs is "
                        f"{config.train.epochs}, and each size needs one")  # fmt: skip
    return sizes


def size_of_epoch(config: Config, epoch: int) -> int:
    """The side of the training images in an epoch, counted from 0: the sizes share the epochs equally.

    Tan & Le 2021 (arXiv 2104.00298, section 4) do so for EfficientNetV2, and raise dropout and augmentation with the
    size, which is not done here. Validation and prediction are always at `data.image_size`.
    """
    sizes = sizes_of(config)
    return sizes[epoch * len(sizes) // config.train.epochs]


def model_size(config: Config) -> int | None:
    """What the trained network is built for: the side, or None where it takes several."""
    return None if config.data.progressive_sizes else config.data.image_size
