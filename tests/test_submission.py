"""Submissions: the sample's columns and order, and every wrong row named."""

import numpy as np
import pandas as pd
import pytest

from melanoma_tf import __main__, submission
from melanoma_tf.errors import UserError
from melanoma_tf.predictions import Predictions

SAMPLE = pd.DataFrame({"image_name": ["c", "a", "b"], "target": [0, 0, 0]})
PREDICTIONS = Predictions(["a", "b", "c"], [0.1 + 0.2, 1e-17, 1.0])


def test_order_and_columns_are_the_samples():
    assert submission.make_submission(PREDICTIONS, SAMPLE) == f"image_name,target\nc,1.0\na,{0.1 + 0.2!r}\nb,1e-17\n"
    turned = SAMPLE[["target", "image_name"]].rename(columns={"target": "score"})
    assert submission.make_submission(PREDICTIONS, turned).splitlines()[:2] == ["score,image_name", "1.0,c"]


def test_what_was_made_passes_the_check(tmp_path):
    path = tmp_path / "submission.csv"
    path.write_text(submission.make_submission(PREDICTIONS, SAMPLE))
    checked = submission.check_submission(path, SAMPLE)
    assert checked.image_name.tolist() == ["c", "a", "b"]
    assert checked.probability.tolist() == [1.0, 0.1 + 0.2, 1e-17]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image_name,target\nc,0.1\na,0.1\n", "no prediction for b"),
        ("image_name,target\nc,0.1\na,0.1\nb,0.1\nd,0.1\n", "d is not expected"),
        ("image_name,target\nc,0.1\na,0.1\nb,0.1\nb,0.1\n", "names b more than once"),
        ("image_name,target\nc,0.1\na,\nb,0.1\n", "line 3: target of a is nan"),
        ("image_name,target\nc,0.1\na,0.1\nb,1.01\n", "line 4: target of b is 1.01"),
        ("image_name,target\nc,-0.1\na,0.1\nb,0.1\n", "line 2: target of c is -0.1"),
        ("image_name,target\nc,high\na,0.1\nb,0.1\n", "line 2: target of c is high"),
        ("image_name,probability\nc,0.1\na,0.1\nb,0.1\n", "valid: image_name, target"),
        ("image_name,target\n,0.1\na,0.1\nb,0.1\n", "empty image_name"),
    ],
)
def test_wrong_rows_are_named(tmp_path, text, words):
    (tmp_path / "submission.csv").write_text(text)
    with pytest.raises(UserError) as caught:
        submission.check_submission(tmp_path / "submission.csv", SAMPLE)
    assert words in str(caught.value)


def test_a_table_is_checked_as_well():
    assert len(submission.check_submission(SAMPLE, SAMPLE)) == 3
    with pytest.raises(UserError, match="target of a is 2"):
        submission.check_submission(SAMPLE.assign(target=[0, 2, 0]), SAMPLE)


def test_a_sample_of_another_shape_is_refused():
    with pytest.raises(UserError, match="expected image_name and one more"):
        submission.make_submission(PREDICTIONS, SAMPLE.assign(more=1))
    with pytest.raises(UserError, match="no prediction for d"):
        submission.make_submission(PREDICTIONS, pd.DataFrame({"image_name": ["d"], "target": [0]}))


def _command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["melanoma-tf", "submit", *map(str, arguments)])
    code = __main__.main()
    return code, *capsys.readouterr()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    PREDICTIONS.write(tmp_path / "test.csv")
    SAMPLE.to_csv(tmp_path / "sample.csv", index=False)
    (tmp_path / "solution.csv").write_text("image_name,target\nb,0\na,1\nc,0\n")
    (tmp_path / "test_table.csv").write_text("image_name,patient_id\na,p\nb,p\nc,q\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_command(folder, monkeypatch, capsys):
    arguments = ("--predictions=test.csv", "--sample=sample.csv", "--out=made/submission.csv")
    code, printed, _ = _command(monkeypatch, capsys, *arguments)
    assert (code, printed) == (0, "wrote made/submission.csv: 3 rows, checked\n")
    before = (folder / "made" / "submission.csv").read_bytes()
    assert before.decode() == submission.make_submission(PREDICTIONS, SAMPLE)
    code, _, complaint = _command(monkeypatch, capsys, "--predictions=test.csv", "--out=made/submission.csv")
    assert (code, complaint.count("\n"), (folder / "made" / "submission.csv").read_bytes()) == (2, 1, before)
    assert _command(monkeypatch, capsys, "--predictions=test.csv", "--out=made/submission.csv", "--overwrite")[0] == 0
    names = [line.split(",")[0] for line in (folder / "made" / "submission.csv").read_text().splitlines()]
    assert names == ["image_name", "a", "b", "c"]


def test_command_scores_against_a_solution(folder, monkeypatch, capsys):
    arguments = ("--predictions=test.csv", "--out=s.csv", "--solution=solution.csv", "--test_csv=test_table.csv")
    code, printed, _ = _command(monkeypatch, capsys, *arguments)
    assert code == 0
    assert f"AUC {1 / 2:.4f}" in printed  # a beats b and loses to c
    assert "2 patients" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--predictions=absent.csv"], "no table at absent.csv"),
        (["--predictions=test.csv", "--sample=short.csv"], "b is not expected"),
        (["--predictions=test.csv", "--sample=wide.csv"], "expected image_name and one more"),
        (["--predictions=test.csv", "--solution=short.csv"], "is not expected"),
        (["--predictions=wrong.csv"], "prediction of a is 1.5"),
        ([], "predictions"),
    ],
)
def test_command_with_bad_input_writes_nothing(folder, monkeypatch, capsys, arguments, words):
    (folder / "short.csv").write_text("image_name,target\na,0\nc,1\n")
    (folder / "wide.csv").write_text("image_name,target,more\na,0,0\nb,0,0\nc,0,0\n")
    (folder / "wrong.csv").write_text("image_name,probability\na,1.5\n")
    code, printed, complaint = _command(monkeypatch, capsys, *arguments, "--out=made/submission.csv")
    assert (code, printed, complaint.count("\n")) == (2, "", 1)
    assert words in complaint
    assert not (folder / "made").exists()


def test_extreme_probabilities_survive_the_text():
    values = np.array([np.nextafter(0, 1), np.nextafter(1, 0)])
    sample = pd.DataFrame({"image_name": ["a", "b"], "target": 0})
    text = submission.make_submission(Predictions(["a", "b"], values), sample)
    assert [float(line.split(",")[1]) for line in text.splitlines()[1:]] == values.tolist()
