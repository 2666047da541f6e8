"""Prediction files as they are out there: read for what they are, and what was made of them is told."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from melanoma_tf.ensemble.columns import find_columns
from melanoma_tf.ensemble.reading import read_prediction_file
from melanoma_tf.errors import UserError
from melanoma_tf.predictions import Predictions

LOGITS = "image,logit\na,-4.5\nb,-2\nc,1.25\nd,-6\n"


def _read(tmp_path, text):
    path = tmp_path / "file.csv"
    path.write_text(text)
    return read_prediction_file(path)


def test_our_own_files_are_read_as_they_were_written(tmp_path):
    predictions = Predictions(["a", "b", "c"], [0.1 + 0.2, 1e-17, 1.0], [0, 1, 0], [2, 0, 1])
    predictions.write(tmp_path / "oof.csv")
    read = read_prediction_file(tmp_path / "oof.csv")
    for name in ("image_name", "probability", "target", "fold"):
        assert getattr(read.predictions, name).tolist() == getattr(predictions, name).tolist()
    assert (read.notes, read.patients) == ((), None)


@pytest.mark.parametrize(
    ("text", "values", "target", "note"),
    [
        ("image_name,target\na,0.25\nb,0.5\n", [0.25, 0.5], None, ""),
        ("image_name,patient_id,target,tfrecord,fold,pred\na,p,1,3,0,0.5\nb,q,0,3,1,0.1\n", [0.5, 0.1], [1, 0], ""),
        ("image,score,label\na,0.5,1\nb,0.1,0\n", [0.5, 0.1], [1, 0], "'score' is taken"),
        ("isic_id,p\na.jpg,0.5\nb.JPG,0.1\n", [0.5, 0.1], None, "'p' is taken"),
        ("filename,Prob\nfolder/a.jpeg,0.5\nC:\\x\\b.dcm,0.1\n", [0.5, 0.1], None, "'Prob' is taken"),
        ("Unnamed: 0,image_name,prediction\n0,a,0.5\n1,b,0.1\n", [0.5, 0.1], None, ""),
        (",image_name,pred\n0,a,0.5\n1,b,0.1\n", [0.5, 0.1], None, ""),
        (",pred\na,0.5\nb,0.1\n", [0.5, 0.1], None, ""),
        ("id,image,pred\n7,a,0.5\n8,b,0.1\n", [0.5, 0.1], None, ""),
        ("Image Name,Y_True,OOF\na,1,0.5\nb,0,0.1\n", [0.5, 0.1], [1, 0], "'OOF' is taken"),
        ("image,MEL,NV,BCC\na,0.5,0.3,0.2\nb,0.1,0.8,0.1\n", [0.5, 0.1], None, "'MEL' is taken"),
        ("image_name,target,pred\na,,0.5\nb,,0.1\n", [0.5, 0.1], None, ""),
        ("image_name,pred_0,pred_1\na,0.4,0.6\nb,0.1,0.1\n", [0.5, 0.1], None, "mean of 2 columns, pred_0 to pred_1"),
        ("image_name,fold1,fold2\na,0.4,0.6\nb,0.1,0.1\n", [0.5, 0.1], None, "mean of 2 columns, fold1 to fold2"),
        ("image_name,pred\na,0.4\nb,0.1\na,0.6\nb,0.1\n", [0.5, 0.1], None, "mean of 2 rows per image"),
        ("image_name,target,pred\na,1,0.4\na,1,0.6\nb,0,0.1\nb,0,0.1\n", [0.5, 0.1], [1, 0], "mean of 2 rows"),
        ("image_name,pred\na,3\nb,1\nc,2\nd,4\n", [2.5 / 4, 0.5 / 4, 1.5 / 4, 3.5 / 4], None, "ranks, divided"),
        ("image_name,rank\na,2\nb,0\nc,1\nd,3\n", [2.5 / 4, 0.5 / 4, 1.5 / 4, 3.5 / 4], None, "ranks, divided"),
        (LOGITS, [*expit([-4.5, -2, 1.25, -6])], None, "logits from -6 to 1.25, through a sigmoid"),
    ],
)  # fmt: skip
def test_dialects(tmp_path, text, values, target, note):
    read = _read(tmp_path, text)
    assert read.predictions.image_name.tolist() == list("abcd")[: len(values)]
    np.testing.assert_allclose(read.predictions.probability, values, rtol=1e-12)
    assert (None if read.predictions.target is None else read.predictions.target.tolist()) == target
    assert note in "; ".join(read.notes)
    assert bool(note) == bool(read.notes)


def test_one_column_per_fold_with_one_number_per_image_tells_the_fold(tmp_path):
    read = _read(tmp_path, "image_name,oof_0,oof_1,target\na,0.4,,1\nb,,0.1,0\n")
    assert read.predictions.probability.tolist() == [0.4, 0.1]
    assert read.predictions.fold.tolist() == [0, 1]


def test_rows_of_several_folds_lose_the_fold(tmp_path):
    read = _read(tmp_path, "image_name,fold,pred\na,0,0.4\na,1,0.6\nb,0,0.1\nb,1,0.1\n")
    assert read.predictions.fold is None
    assert read.predictions.probability.tolist() == [0.5, 0.1]


def test_patients_are_read_and_an_image_without_one_is_its_own(tmp_path):
    read = _read(tmp_path, "image_name,patient_id,target,pred\na,p,1,0.4\nb,,0,0.6\n")
    assert read.patients.tolist() == ["p", "b"]


def test_evenly_spread_scores_are_told_to_be_ranks(tmp_path):
    values = (np.random.default_rng(0).permutation(200) + 0.5) / 200
    read = _read(tmp_path, pd.DataFrame({"image_name": np.arange(200), "pred": values}).to_csv(index=False))
    assert read.predictions.probability.tolist() == values.tolist()
    assert "ranks on a scale" in read.notes[0]


def test_columns_are_found_as_they_are_spelled():
    table = pd.DataFrame({"Image-Name": ["a"], "PatientID": ["p"], "KFold": [0], "Y_Pred": [0.1], "GT": [0]})
    found = find_columns(table, "file")
    assert (found.name, found.predictions, found.target) == ("Image-Name", ("Y_Pred",), "GT")
    assert (found.patient, found.fold) == ("PatientID", "KFold")


def test_names_with_endings_are_those_of_the_table_where_it_has_them_so(tmp_path):
    path = tmp_path / "file.csv"
    path.write_text("image_name,pred\na/1.png,0.25\nb/1.png,0.5\n")
    known = read_prediction_file(path, ["a/1.png", "b/1.png", "b/2.png"])
    assert known.predictions.image_name.tolist() == ["a/1.png", "b/1.png"] and not known.notes
    with pytest.raises(UserError, match=r"names 1 more than once, as a/1\.png and b/1\.png"):
        read_prediction_file(path)


@pytest.mark.parametrize("column", ["image", "id", "isic_id"])
def test_names_of_figures_are_text_in_any_column(tmp_path, column):
    read = _read(tmp_path, f"{column},patient_id,pred\n0012,007,0.25\n0013,,0.5\n")
    assert read.predictions.image_name.tolist() == ["0012", "0013"] and read.patients.tolist() == ["007", "0013"]
