"""How often images come: exact over epochs, a function of (seed, epoch), and said where it cannot be."""

import dataclasses

import numpy as np
import pytest

from melanoma_tf.config import DataConfig
from melanoma_tf.errors import UserError

from .conftest import SIZE

pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def images(competition_original):
    from melanoma_tf.data.image_set import load_image_set

    images = load_image_set(competition_original, competition_original / "train.csv", "train", target=True)
    source = np.where(np.arange(48) % 3 == 0, "isic2019", "isic2020")
    return dataclasses.replace(images, table=images.table.assign(source=source))


def sampling(images, rows=None, **options):
    from melanoma_tf.data.sampling import Sampling

    return Sampling(images, np.arange(48) if rows is None else rows, DataConfig(**options))


def test_without_weights_each_image_comes_once(images):
    plain = sampling(images)
    assert plain.length == 48 and plain.repeats(1, 5).tolist() == [1] * 48


def test_melanoma_come_more_often(images):
    more = sampling(images, melanoma_repeat=7)
    melanoma = int(images.target.sum())
    assert more.length == 48 - melanoma + 7 * melanoma
    assert (more.repeats(1, 0) == np.where(images.target > 0, 7, 1)).all()


def test_fractions_take_turns(images):
    """Of 16 images at 0.25 four come in an epoch, and each of them once in four epochs."""
    weighted = sampling(images, source_weights="isic2019=0.25, isic2020=1.5")
    assert weighted.length == 4 + 48
    epochs = np.array([weighted.repeats(3, epoch) for epoch in range(4)])
    assert (epochs.sum(axis=1) == weighted.length).all()
    assert (epochs.sum(axis=0) == np.where(np.arange(48) % 3 == 0, 1, 6)).all()
    assert (epochs[0] != epochs[1]).any()
    np.testing.assert_array_equal(
        sampling(images, source_weights="isic2019=0.25, isic2020=1.5").repeats(3, 2), epochs[2]
    )
    assert (weighted.repeats(4, 0) != epochs[0]).any()


def test_an_epoch_has_what_the_sampling_says(images):
    from melanoma_tf.data.pipeline import train_dataset

    rows = np.arange(2, 48)
    weighted = sampling(images, rows, melanoma_repeat=2.5, source_weights="isic2019=0")
    options = {"image_size": SIZE, "batch_size": 1, "seed": 1, "epoch": 3, "repeats": weighted.repeats(1, 3)}
    drawn = [int(batch["row"][0]) for batch in train_dataset(images, rows, **options).as_numpy_iterator()]
    assert len(drawn) == weighted.length
    np.testing.assert_array_equal(np.bincount(drawn, minlength=48)[rows], weighted.repeats(1, 3))
    rest = [int(batch["row"][0]) for batch in train_dataset(images, rows, **options, start_step=9).as_numpy_iterator()]
    assert rest == drawn[9:]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("isic2019", "expected SOURCE=WEIGHT"),
        ("=1", "expected SOURCE=WEIGHT"),
        ("isic2019=-1", "with weights of 0 to 1000"),
        ("isic2019=nan", "with weights of 0 to 1000"),
        ("isic2018=1", "no image is of source 'isic2018'; did you mean 'isic20"),
        ("isic2019=0,isic2020=0", "leave no training image"),
    ],
)
def test_weights_that_mean_nothing(images, text, said):
    with pytest.raises(UserError, match=said):
        sampling(images, source_weights=text)


def test_a_table_without_sources(competition_original):
    from melanoma_tf.data.image_set import load_image_set

    images = load_image_set(competition_original, competition_original / "train.csv", "train", target=True)
    with pytest.raises(UserError, match="the table has no column 'source'"):
        sampling(images, source_weights="isic2019=1")
