"""The miniature competition: its layout, its facts, and that a seed is all it depends on."""

import hashlib
import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from melanoma_tf import schema
from melanoma_tf.data.shards import read_records
from melanoma_tf.errors import UserError
from melanoma_tf.miniature import make_miniature
from melanoma_tf.miniature.overlays import draw_photograph
from melanoma_tf.miniature.skin import draw_patient_look
from melanoma_tf.miniature.tables import SIZES, SMALL_SIZE, make_split

COUNTS = {"patients": 9, "images": 24, "test_patients": 8, "test_images": 10}


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    out = tmp_path_factory.mktemp("competition") / "miniature"
    make_miniature(out, seed=7, **COUNTS)
    return out


@pytest.fixture(scope="module")
def default_split():
    """The rows of the training set at the default counts, without drawing them."""
    return make_split(
        np.random.default_rng([2020, 1]),
        patient_ids=[f"IP_{number:07d}" for number in range(60)],
        image_names=[f"ISIC_{number:07d}" for number in range(300)],
        first_look=0,
        duplicate=True,
    )


def _digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_same_bytes_and_another_seed_other_pictures(miniature, tmp_path):
    make_miniature(tmp_path / "again", seed=7, **COUNTS)
    assert _digests(tmp_path / "again") == _digests(miniature)
    looks = [draw_patient_look(np.random.default_rng([seed, 0])) for seed in (7, 8)]
    pictures = [draw_photograph(np.random.default_rng(1), (100, 75), look, 0) for look in looks]
    assert (pictures[0] != pictures[1]).any()


def test_layout(miniature):
    train, test = pd.read_csv(miniature / "train.csv"), pd.read_csv(miniature / "test.csv")
    expected = {"train.csv", "test.csv", "test_solution.csv", "sample_submission.csv", "duplicates.csv"}
    for split, table in (("train", train), ("test", test)):
        expected |= {f"{split}/{name}.dcm" for name in table["image_name"]}
        expected |= {f"jpeg/{split}/{name}.jpg" for name in table["image_name"]}
    expected |= {f"tfrecords/train{shard:02d}-6.tfrec" for shard in range(4)}
    expected |= {f"tfrecords/test{shard:02d}-5.tfrec" for shard in range(2)}
    assert set(_digests(miniature)) == expected


def test_tables_have_the_columns_of_the_competition(miniature):
    head = (miniature / "train.csv").read_text().splitlines()[0]
    assert head == (
        "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target"
    )
    head = (miniature / "test.csv").read_text().splitlines()[0]
    assert head == "image_name,patient_id,sex,age_approx,anatom_site_general_challenge"
    train, test = pd.read_csv(miniature / "train.csv"), pd.read_csv(miniature / "test.csv")
    names = pd.concat([train, test])["image_name"]
    assert names.is_unique and names.str.fullmatch(r"ISIC_\d{7}").all()
    assert train["patient_id"].str.fullmatch(r"IP_\d{7}").all()
    assert not set(train["patient_id"]) & set(test["patient_id"])
    assert (len(train), train["patient_id"].nunique(), len(test), test["patient_id"].nunique()) == (
        24,
        9,
        10,
        8,
    )
    for name in ("test_solution.csv", "sample_submission.csv"):
        table = pd.read_csv(miniature / name)
        assert list(table) == ["image_name", "target"] and list(table["image_name"]) == list(test["image_name"])


def test_columns_of_the_label_agree(miniature):
    train = pd.read_csv(miniature / "train.csv")
    melanoma = train["target"] == 1
    assert (melanoma == (train["diagnosis"] == "melanoma")).all()
    assert (melanoma == (train["benign_malignant"] == "malignant")).all()
    assert pd.read_csv(miniature / "test_solution.csv")["target"].sum() >= 3


def test_default_counts_hold_the_promised_facts(default_split):
    table = default_split.table
    assert len(table) == 300 and table["patient_id"].nunique() == 60
    assert table["target"].sum() == 36
    assert table.loc[table["target"] == 1, "patient_id"].nunique() == 24
    one_patient = table.loc[table["sex"].isna(), "patient_id"].unique()
    assert len(one_patient) == 1 and (table["sex"].isna() == table["age_approx"].isna()).all()
    assert table["anatom_site_general_challenge"].isna().sum() == 6
    assert default_split.sizes.count(SMALL_SIZE) == 1
    assert {*default_split.sizes} == {*SIZES, SMALL_SIZE}


def test_any_three_folds_of_patients_have_melanomas(default_split):
    from sklearn.model_selection import StratifiedGroupKFold

    table = default_split.table
    for seed in range(5):
        splitter = StratifiedGroupKFold(3, shuffle=True, random_state=seed)
        folds = splitter.split(table, table["target"], table["patient_id"])
        assert min(table["target"].iloc[held_out].sum() for _, held_out in folds) >= 6


def test_size_does_not_tell_the_label():
    """Over many draws the mean area of melanomas is that of the rest, within four standard errors."""
    areas = {0: [], 1: []}
    for seed in range(40):
        names = [f"ISIC_{number:07d}" for number in range(300)]
        split = make_split(
            np.random.default_rng(seed),
            patient_ids=names[:60],
            image_names=names,
            first_look=0,
            duplicate=True,
        )
        for (width, height), target in zip(split.sizes, split.table["target"], strict=True):
            areas[target].append(width * height)
    standard_error = np.std(areas[1]) / np.sqrt(len(areas[1]))
    assert abs(np.mean(areas[0]) - np.mean(areas[1])) < 4 * standard_error


def test_the_duplicate_is_one_picture_under_two_patients(miniature):
    pairs = pd.read_csv(miniature / "duplicates.csv")
    assert list(pairs) == ["image_name_1", "image_name_2"] and len(pairs) == 1
    first, second = pairs.iloc[0]
    train = pd.read_csv(miniature / "train.csv", index_col="image_name")
    assert train.loc[first, "patient_id"] != train.loc[second, "patient_id"]
    jpegs = {path.stem: path.read_bytes() for path in (miniature / "jpeg" / "train").iterdir()}
    assert jpegs[first] == jpegs[second]
    assert len(set(jpegs.values())) == len(jpegs) - 1


def test_jpegs_have_the_planned_sizes(miniature):
    sizes = [Image.open(path).size for path in sorted((miniature / "jpeg" / "train").iterdir())]
    assert sizes.count(SMALL_SIZE) == 1 and set(sizes) <= {*SIZES, SMALL_SIZE}


@pytest.mark.parametrize("split", ["train", "test"])
def test_shards_hold_every_row_once_at_256(miniature, split):
    table = pd.read_csv(miniature / f"{split}.csv")
    records = [
        schema.decode_record(serialized)
        for path in sorted((miniature / "tfrecords").glob(f"{split}*.tfrec"))
        for _, serialized in read_records(path)
    ]
    target_of = dict(zip(table["image_name"], table["target"], strict=True)) if split == "train" else {}
    assert sorted(record["image_name"] for record in records) == sorted(table["image_name"])
    for record in records:
        assert record["target"] == target_of.get(record["image_name"])
        assert Image.open(io.BytesIO(record["image"])).size == (256, 256)


def test_melanomas_look_different_on_average():
    """Their middles are darker; without that the miniature could not be learnt."""
    darkness = {0: [], 1: []}
    for number in range(12):
        look = draw_patient_look(np.random.default_rng([1, number]))
        for target in (0, 1):
            picture = draw_photograph(np.random.default_rng([2, number]), (100, 75), look, target)
            darkness[target].append(np.percentile(picture[20:55, 30:70], 10))
    assert np.mean(darkness[1]) < np.mean(darkness[0]) - 8


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        make_miniature(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.parametrize("counts", [{"patients": 3}, {"patients": 50, "images": 49}, {"test_images": 5}])
def test_counts_that_make_no_competition_are_refused(tmp_path, counts):
    with pytest.raises(UserError, match="valid are"):
        make_miniature(tmp_path / "out", **counts)


def test_drawing_needs_no_tensorflow():
    code = "import sys, melanoma_tf.miniature, melanoma_tf.dicom; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "melanoma_tf.miniature" in loaded and not {"tensorflow", "pydicom"} & set(loaded)
