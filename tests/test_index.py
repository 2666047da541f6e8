"""Every shard is checked when it is opened, and what goes wrong later is told with shard, record and image."""

import json
import struct

import numpy as np
import pandas as pd
import pytest

from melanoma_tf.errors import UserError

from .conftest import SIZE, jpeg, lesion, settings

tf = pytest.importorskip("tensorflow")


def load(folder, **options):
    from melanoma_tf.data.image_set import load_image_set

    return load_image_set(folder, folder / "train.csv", "train", target=True, **options)


def records(path):
    from melanoma_tf.data.shards import read_records

    return [data for _, data in read_records(path)]


def rewrite(path, change):
    """Writes the shard again with changed records, checksums and all."""
    from melanoma_tf.data.shards import write_shard

    write_shard(path, change(records(path)))


def first_shard(folder):
    return sorted(folder.glob("train*.tfrec"))[0]


def with_image(change, place=3):
    """A change of one record's JPEG."""
    from melanoma_tf import schema

    def changed(found):
        fields = schema.decode_record(found[place])
        found[place] = schema.encode_record(change(fields["image"]), fields["image_name"], fields["target"])
        return found

    return changed


def test_the_index_knows_sizes_and_content(competition):
    index = load(competition).index
    assert (index.sizes == SIZE).all() and index.sizes.shape == (48, 2)
    assert index.bounds.tolist() == [0, 24, 48]
    moved = competition.rename(competition.with_name("elsewhere"))
    assert load(moved).index.fingerprint == index.fingerprint
    rewrite(first_shard(moved), with_image(lambda image: jpeg(lesion("ISIC_0000099", 0))))
    assert load(moved).index.fingerprint != index.fingerprint


@pytest.mark.parametrize("size", [(1, 1), (3, 70), (300, 300)])
def test_sizes_may_differ_inside_a_shard(competition, size):
    from melanoma_tf.data.pipeline import eval_dataset

    pixels = np.full((*size, 3), 99, np.uint8)
    rewrite(first_shard(competition), with_image(lambda image: jpeg(pixels)))
    images = load(competition)
    assert tuple(images.index.sizes[3]) == size
    batch = next(iter(eval_dataset(images, np.array([3]), image_size=SIZE, batch_size=1)))
    assert np.abs(batch["image"].numpy().astype(int) - 99).max() <= 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda image: image[: len(image) // 2], "its JPEG is cut"),
        (lambda image: b"\x89PNG" + image, "it is no JPEG but begins with 89504e47"),
        (lambda image: b"", "it is no JPEG but begins with nothing"),
        (lambda image: b"\xff\xd8\xff\xd9", "its JPEG tells no size"),
    ],
)
def test_an_image_that_cannot_be_used_is_named_before_training(competition, change, said):
    rewrite(first_shard(competition), with_image(change))
    with pytest.raises(UserError, match=rf"train00-24\.tfrec: record 3 at byte \d+ has an .*ISIC_0000003: {said}"):
        load(competition)


def test_a_record_of_something_else_is_named(competition):
    rewrite(first_shard(competition), lambda found: [*found[:5], b"nothing", *found[6:]])
    with pytest.raises(UserError, match=r"train00-24\.tfrec: record 5 at byte \d+ is not a melanoma record"):
        load(competition)


def spoil_scan(path, place):
    """Breaks the tables of one JPEG, length and checksum kept: only a decoder sees it."""
    rewrite(path, with_image(lambda image: image.replace(b"\xff\xc4", b"\xff\xc8"), place))


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_what_only_a_decoder_sees_is_named_when_it_is_met(competition, tmp_path, run_command, cache):
    spoil_scan(first_shard(competition), 7)
    code, _, lines = run_command(
        "train", "--config=b0_256", f"--data_dir={competition}", f"--work_dir={tmp_path / 'run'}", f"--cache={cache}",
        *settings(),
    )  # fmt: skip
    assert code == 2
    assert "train00-24.tfrec: record 7 at byte " in lines[-1] and "ISIC_0000007: its JPEG cannot be dec" in lines[-1]


def test_a_shard_that_changes_while_it_is_used_is_told(competition):
    from melanoma_tf.data.faults import named_faults
    from melanoma_tf.data.pipeline import eval_dataset

    images = load(competition)
    rewrite(first_shard(competition), lambda found: found[::-1])
    with pytest.raises(UserError, match="record 0 at byte 0 is another one than when the shard was opened"):
        with named_faults(images):
            list(eval_dataset(images, np.arange(48), image_size=SIZE, batch_size=8))


def test_a_shard_that_is_cut_while_it_is_used_is_told(competition):
    from melanoma_tf.data.faults import named_faults
    from melanoma_tf.data.pipeline import eval_dataset

    images, path = load(competition), first_shard(competition)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match=r"train00-24\.tfrec"), named_faults(images):
        list(eval_dataset(images, np.arange(48), image_size=SIZE, batch_size=8))


def write_manifest(folder):
    from melanoma_tf import schema

    shards = {}
    for path in sorted(folder.glob("train*.tfrec")):
        names = [schema.decode_record(data)["image_name"] for data in records(path)]
        shards[path.name[:7]] = {"file": path.name, "names": names}
    (folder / "train.manifest.json").write_text(json.dumps({"shards": shards}))


def test_the_manifest_is_believed(competition):
    write_manifest(competition)
    load(competition)
    rewrite(first_shard(competition), lambda found: found[::-1])
    with pytest.raises(UserError, match=r"train00-24\.tfrec holds other images than .*train\.manifest\.json lists"):
        load(competition)


def test_a_shard_that_the_manifest_lists_and_nobody_copied(competition):
    write_manifest(competition)
    first_shard(competition).unlink()
    with pytest.raises(UserError, match=r"manifest\.json lists train00-24\.tfrec, which is not in"):
        load(competition)


@pytest.mark.parametrize("text", ["", "[]", '{"shards": 3}', '{"shards": {"a": {}}}'])
def test_a_manifest_that_is_none(competition, text):
    (competition / "train.manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json is no manifest that this version can read"):
        load(competition)


def flip_bit(path, place):
    """Flips a bit in the JPEG of one record, checksums left as they are."""
    data, start = bytearray(path.read_bytes()), 0
    for _ in range(place):
        (length,) = struct.unpack("<Q", data[start : start + 8])
        start += 16 + length
    data[start + 12 + 400] ^= 1
    path.write_bytes(data)


def test_salvage_loses_the_damaged_records_alone(competition, capfd):
    from melanoma_tf.data.pipeline import eval_dataset

    def pixels(one):
        found = {}
        for batch in eval_dataset(one, np.arange(len(one)), image_size=SIZE, batch_size=1).as_numpy_iterator():
            found[one.names[batch["row"][0]]] = batch["image"]
        return found

    whole = load(competition)
    before = pixels(whole)
    flip_bit(first_shard(competition), 4)
    rewrite(sorted(competition.glob("train*.tfrec"))[1], with_image(lambda image: image[:90], place=9))
    with pytest.raises(UserError, match="record 4"):
        load(competition)
    images = load(competition, salvage=True)
    lost = sorted(set(whole.names) - set(images.names))
    assert len(images) == 46 and lost == ["ISIC_0000004", "ISIC_0000033"]
    said = capfd.readouterr().err
    assert "record 4 at byte" in said and "record 9 at byte" in said and "ISIC_0000033" in said

    after = pixels(images)
    assert all((after[name] == before[name]).all() for name in after)


def test_salvage_does_not_hide_missing_images(competition):
    """One record is lost, two rows have no image: the second is a fault of the set."""
    rewrite(first_shard(competition), lambda found: found[:-1])
    first_shard(competition).rename(competition / "train00-23.tfrec")
    flip_bit(first_shard(competition), 4)
    with pytest.raises(UserError, match="but not in the shards"):
        load(competition, salvage=True)


def test_training_and_prediction_salvage(competition, tmp_path, run_command):
    flip_bit(first_shard(competition), 4)
    flip_bit(sorted(competition.glob("test*.tfrec"))[0], 2)
    arguments = ["train", "--config=b0_256", f"--data_dir={competition}", f"--work_dir={tmp_path / 'run'}", *settings()]
    code, _, lines = run_command(*arguments)
    assert code == 2 and "record 4" in lines[-1]
    code, _, lines = run_command(*arguments, "--salvage", "--set=train.epochs=1")
    assert code == 0, lines
    assert (
        len(pd.read_csv(tmp_path / "run" / "oof.csv")) == 47 and len(pd.read_csv(tmp_path / "run" / "test.csv")) == 10
    )
    predict = ["predict", f"--run={tmp_path / 'run'}", f"--data_dir={competition}", f"--out={tmp_path / 'p.csv'}"]
    assert run_command(*predict)[0] == 2
    assert run_command(*predict, "--salvage")[0] == 0 and len(pd.read_csv(tmp_path / "p.csv")) == 10


def test_nothing_to_salvage(competition):
    for path in competition.glob("train*.tfrec"):
        path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(UserError, match="nothing can be salvaged"):
        load(competition, salvage=True)
