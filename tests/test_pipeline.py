"""The reader: every image once, aligned by row; an epoch is a function of (seed, epoch)."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from melanoma_tf.errors import UserError

from .conftest import SIZE, jpeg, lesion

tf = pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def images(competition_original):
    from melanoma_tf.data.image_set import load_image_set

    return load_image_set(competition_original, competition_original / "train.csv", "train", target=True)


def test_rows_that_the_table_marks_as_dropped_may_lack_an_image(competition_original, tmp_path):
    from melanoma_tf.data.image_set import load_image_set
    from melanoma_tf.folds import make_folds, read_folds, write_folds
    from melanoma_tf.tables import read_table

    table = pd.read_csv(competition_original / "train.csv").assign(tfrecord=lambda rows: rows.index % 3)
    dropped = table.iloc[:2].assign(image_name=["ISIC_8", "ISIC_9"], tfrecord=-1)
    path = tmp_path / "train.csv"
    pd.concat([dropped, table]).to_csv(path, index=False)
    images = load_image_set(competition_original, path, "train", target=True)
    assert list(images.names) == list(table["image_name"])
    np.testing.assert_array_equal(read_folds(path, images.table), table["tfrecord"])

    every_row = read_table(path, target=True)
    write_folds(tmp_path / "folds.csv", every_row, make_folds(every_row, 3))  # of all rows, as the command does
    assert set(read_folds(tmp_path / "folds.csv", images.table)) == {0, 1, 2}

    pd.concat([dropped.assign(tfrecord=0), table]).to_csv(path, index=False)
    with pytest.raises(UserError, match=r"ISIC_8 is in .*train\.csv but not in the shards"):
        load_image_set(competition_original, path, "train", target=True)


def train_batches(images, rows, **options):
    from melanoma_tf.data.pipeline import train_dataset

    options = {"image_size": SIZE, "batch_size": 8, "seed": 1, "epoch": 0} | options
    return list(train_dataset(images, rows, **options).as_numpy_iterator())


def test_batches_carry_the_pixels_and_the_truth_of_their_rows(images):
    for batch in train_batches(images, np.arange(48)):
        assert batch["image"].dtype == np.uint8 and batch["image"].shape == (8, SIZE, SIZE, 3)
        for pixels, row, target in zip(batch["image"], batch["row"], batch["target"]):
            name, truth = images.names[row], images.table["target"][row]
            decoded = np.asarray(Image.open(io.BytesIO(jpeg(lesion(name, truth)))))
            assert np.abs(pixels.astype(int) - decoded).max() <= 2  # two JPEG decoders
            assert target == [truth]
        np.testing.assert_array_equal(batch["meta"], images.meta[batch["row"]])
        assert batch["weight"].tolist() == [1.0] * 8


def test_an_epoch_is_a_function_of_seed_and_epoch(images):
    def order(**options):
        return np.concatenate([batch["row"] for batch in train_batches(images, np.arange(48), **options)])

    assert sorted(order()) == list(range(48))
    np.testing.assert_array_equal(order(), order())
    assert (order() != order(epoch=1)).any() and (order() != order(seed=2)).any()
    np.testing.assert_array_equal(order(start_step=4), order()[32:])


def test_only_the_wanted_rows(images):
    rows = np.arange(3, 48, 2)
    got = np.concatenate([batch["row"] for batch in train_batches(images, rows)])
    assert len(got) == 16 and set(got) <= set(rows)


@pytest.mark.parametrize("count", [1, 8, 11])
def test_evaluation_drops_nothing_and_pads_with_weight_zero(images, count):
    from melanoma_tf.data.pipeline import eval_dataset

    batches = list(eval_dataset(images, np.arange(count), image_size=SIZE, batch_size=8).as_numpy_iterator())
    rows, weights = (np.concatenate([batch[key] for batch in batches]) for key in ("row", "weight"))
    assert len(rows) % 8 == 0 and sorted(rows[weights == 1]) == list(range(count)) and set(rows[weights == 0]) <= {-1}


@pytest.mark.parametrize("side", [40, 64, 100, 128, 256, 300, 512])
def test_decoding_in_the_dct_domain_stays_near_full_decode_and_resize(side):
    from melanoma_tf.data.pipeline import decode_jpeg

    y, x = np.mgrid[:side, :side] / side
    smooth = np.stack([120 + 90 * np.sin(5 * x), 120 + 90 * np.cos(4 * y), 200 - 80 * x * y], -1).astype(np.uint8)
    data = jpeg(smooth)
    got = decode_jpeg(tf.constant(data), 64).numpy().astype(float)
    want = np.asarray(Image.open(io.BytesIO(data)).resize((64, 64), Image.Resampling.BOX if side > 64 else 2), float)
    assert got.shape == (64, 64, 3)
    assert np.abs(got - want).mean() < 1.5


def test_grey_and_oblong_images_become_square_rgb():
    from melanoma_tf.data.pipeline import decode_jpeg

    oblong = decode_jpeg(tf.constant(jpeg(np.full((40, 100), 77, np.uint8))), 32).numpy()
    assert oblong.shape == (32, 32, 3) and np.abs(oblong.astype(int) - 77).max() <= 1


def test_every_dialect_is_read(competition):
    """The re-made sets: more fields, integer codes, in any order; the table decides all the same."""
    from melanoma_tf import schema
    from melanoma_tf.data.image_set import load_image_set
    from melanoma_tf.data.shards import write_shard

    for path in competition.glob("train*.tfrec"):
        path.unlink()
    plain = load_image_set  # keeps the line below short
    table_path = competition / "train.csv"
    import pandas as pd

    table = pd.read_csv(table_path)
    records = [
        schema.encode_fields({
            "image_name": name.encode(), "image": jpeg(lesion(name, target)), "patient_id": 7, "sex": -1,
            "age_approx": 48, "anatom_site_general_challenge": 3, "diagnosis": 1, "target": 1 - int(target),
            "source": 0, "width": 6000, "height": 4000,
        })
        for name, target in zip(table["image_name"], table["target"])
    ]  # fmt: skip
    write_shard(competition / "train00-48.tfrec", records)
    images = plain(competition, table_path, "train", target=True)
    batch = train_batches(images, np.arange(48))[0]
    assert batch["target"][:, 0].tolist() == table["target"].to_numpy()[batch["row"]].tolist()


@pytest.mark.parametrize(("pipelines", "replicas"), [(2, 2), (2, 4), (4, 4)])
@pytest.mark.parametrize("count", [5, 8, 43])
def test_the_hosts_parts_make_the_global_batches(images, pipelines, replicas, count):
    """Each replica's batch, taken in the order of hosts and replicas, is a piece of what one host would read."""
    from melanoma_tf.data.pipeline import Share, eval_dataset, train_dataset

    rows, options = np.arange(count), {"image_size": SIZE, "batch_size": 8}

    def train(share):
        return train_dataset(images, np.arange(48), **options, seed=1, epoch=0, start_step=1, share=share)

    for make in (train, lambda share: eval_dataset(images, rows, **options, share=share)):
        whole = list(make(Share()).as_numpy_iterator())
        shares = [Share(pipeline, pipelines, replicas) for pipeline in range(pipelines)]
        parts = [list(make(share).as_numpy_iterator()) for share in shares]
        of_host = replicas // pipelines
        assert [len(part) for part in parts] == [len(whole) * of_host] * pipelines  # equal steps everywhere
        for step, batch in enumerate(whole):
            pieces = [piece for part in parts for piece in part[step * of_host : (step + 1) * of_host]]
            _require_same_rows(pieces, batch)


def _require_same_rows(pieces, batch):
    """The same rows with the same pixels; padding may sit elsewhere in the last batch."""
    rows, pixels = (np.concatenate([piece[key] for piece in pieces]) for key in ("row", "image"))
    real = batch["row"] >= 0
    np.testing.assert_array_equal(rows[rows >= 0], batch["row"][real])
    np.testing.assert_array_equal(pixels[rows >= 0], batch["image"][real])
    assert len(rows) == len(batch["row"])
