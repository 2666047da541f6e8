"""Predictions: checked when made, aligned by name, and the same after a trip through a file."""

import numpy as np
import pytest

from melanoma_tf.errors import UserError
from melanoma_tf.predictions import Predictions, read_predictions


def _write(tmp_path, text):
    path = tmp_path / "predictions.csv"
    path.write_bytes(text.encode())
    return path


def test_floats_round_trip_exactly(tmp_path):
    probability = np.array([0.1 + 0.2, 1e-17, np.nextafter(1, 0), 1 / 3, 0.0])
    names = np.array(list("abcde"))
    Predictions(names, probability, [0, 1, 0, 1, 0], [0, 1, 2, -1, 4]).write(tmp_path / "oof.csv")
    read = read_predictions(tmp_path / "oof.csv")
    assert read.probability.tolist() == probability.tolist()
    assert read.target.tolist() == [0, 1, 0, 1, 0]
    assert read.fold.tolist() == [0, 1, 2, -1, 4]
    assert (read.target.dtype, read.fold.dtype) == (np.int8, np.int16)


def test_dialects(tmp_path):
    submission = read_predictions(_write(tmp_path, "image_name,target\r\na,0.25\r\nb,1e-3\r\n"))
    assert submission.probability.tolist() == [0.25, 1e-3]
    assert submission.target is None
    other = read_predictions(_write(tmp_path, "\ufeffimage_name,patient_id,target,fold,pred\na,x,1,3,0.5\n"))
    assert (other.probability.tolist(), other.target.tolist(), other.fold.tolist()) == ([0.5], [1], [3])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image_name,probability\na,0.5\nb,\n", "prediction of b is nan"),
        ("image_name,probability\na,0.5\nb,1.5\n", "prediction of b is 1.5"),
        ("image_name,probability\na,-0.1\n", "prediction of a is -0.1"),
        ("image_name,probability\na,high\n", "prediction of a is nan"),
        ("image_name,probability\na,inf\n", "prediction of a is inf"),
        ("image_name,probability\na,0.1\na,0.1\n", "names a more than once"),
        ("image_name,score\na,0.1\n", "no column 'target'; it has: image_name, score"),
        ("image,probability\na,0.1\n", "no column 'image_name'"),
        ("image_name,probability,target\na,0.1,2\n", "target of a is 2"),
        ("image_name,probability,target\na,0.1,\n", "target of a is nan"),
        ("image_name,probability,target\na,0.1,benign\n", "target of a is benign"),
        ("image_name,probability,fold\na,0.1,0.5\n", "fold of a is 0.5"),
    ],
)
def test_damage_is_named(tmp_path, text, words):
    path = _write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        read_predictions(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_wrong_shapes_and_doubled_names_are_refused():
    with pytest.raises(UserError, match="2 names but 1 values"):
        Predictions(["a", "b"], [0.5])
    with pytest.raises(UserError, match="a is predicted more than once"):
        Predictions(["a", "a"], [0.5, 0.5])


def test_aligned_by_name():
    predictions = Predictions(["a", "b", "c"], [0.1, 0.2, 0.3], [0, 1, 0], [2, 1, 0])
    turned = predictions.aligned(np.array(["c", "a", "b"], object))
    assert turned.probability.tolist() == [0.3, 0.1, 0.2]
    assert turned.target.tolist() == [0, 0, 1]
    assert turned.fold.tolist() == [0, 2, 1]
    with pytest.raises(UserError, match=r"run: no prediction for d \(1 of 2 missing\)"):
        predictions.aligned(np.array(["a", "d"], object), "run")
    with pytest.raises(UserError, match=r"run: c is not expected \(1 extra"):
        predictions.aligned(np.array(["a", "b"], object), "run")
