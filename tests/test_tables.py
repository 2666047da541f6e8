"""Competition tables as they come: any line ending, any system's BOM, and every kind of damage named."""

import numpy as np
import pandas as pd
import pytest

from melanoma_tf import tables
from melanoma_tf.errors import UserError

HEADER = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,target"


def _write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "train.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_bom_crlf_and_blanks_are_taken(tmp_path):
    text = f"{HEADER.replace('sex', ' sex')}\r\nISIC_1 ,IP_1,male,45.0,torso,0\r\nISIC_2,IP_1,,,,1\r\n"
    table = tables.read_table(_write(tmp_path, text, "utf-8-sig"), target=True)
    assert table["image_name"].tolist() == ["ISIC_1", "ISIC_2"]
    assert table["target"].tolist() == [0, 1]
    assert table["target"].dtype == np.int8
    assert table["sex"].isna().tolist() == [False, True]


def test_absent_metadata_become_empty_and_patients_fall_back_on_names(tmp_path):
    table = tables.read_table(_write(tmp_path, "image_name\na\nb\n"), target=False)
    assert table["patient_id"].tolist() == ["a", "b"]
    assert table["age_approx"].isna().all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image_name\na\n", "no column 'target'; it has: image_name"),
        ("name,target\na,0\n", "no column 'image_name'"),
        ("image_name,target\n", "has no rows"),
        ("image_name,target\na\0b,0\n", "holds NUL characters"),
        ("image_name,target\na,0\nb,1\na,0\n", "names a more than once"),
        ("image_name,target\na,0\na ,1\n", "names a more than once"),
        ("image_name,target\na,0\n,1\n", "line 3: empty image_name"),
        ("image_name,target\na,0\nb,2\n", "target of b is 2"),
        ("image_name,target\na,0\nb,benign\n", "target of b is benign"),
        ("image_name,target\na,0\nb,\n", "target of b is nan"),
        ("", "not a CSV table"),
    ],
)
def test_damage_is_named(tmp_path, text, words):
    path = _write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        tables.read_table(path, target=True)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_absent_file_and_binary_file(tmp_path):
    with pytest.raises(UserError, match="no table at"):
        tables.read_csv(tmp_path / "absent.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    with pytest.raises(UserError, match="is not a CSV table"):
        tables.read_csv(tmp_path / "binary.csv")


def test_rows_of_follows_the_names_and_names_what_is_missing():
    table = pd.DataFrame({"image_name": ["a", "b", "c"], "target": [0, 1, 0]})
    assert tables.rows_of(np.array(["c", "b"], object), table, "x")["target"].tolist() == [0, 1]
    with pytest.raises(UserError, match=r"oof\.csv: d is not in the table \(1 of 2"):
        tables.rows_of(np.array(["a", "d"], object), table, "oof.csv")


def test_metadata_features_tell_missing_from_known():
    table = pd.DataFrame({
        "sex": ["male", "female", np.nan], "age_approx": [50.0, np.nan, 0.0],
        "anatom_site_general_challenge": ["head/neck", np.nan, "oral/genital"],
    })  # fmt: skip
    features = tables.metadata_features(table)
    assert features.dtype == np.float32
    assert features.shape == (3, tables.METADATA_WIDTH)
    expected = [
        [1, 0, 1, 0, 0, 0, 0, 0, 50 / 100, 1],
        [0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 1, 0 / 100, 1],
    ]
    np.testing.assert_allclose(features, expected)
