"""The notebook: in step with its source, stripped, and whole from the inputs to a checked submission."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

for needed in ("jupytext", "nbclient", "ipykernel", "tensorflow"):
    pytest.importorskip(needed)

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "train_on_kaggle.ipynb"
COUNTS = {"patients": 12, "images": 48, "test_patients": 8, "test_images": 10}
SETTINGS = "data.image_size=32 train.epochs=1 train.batch_size=8 predict.views=1"


def _cells(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def _text(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)


def _pictures(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output for output in outputs if "image/png" in output.get("data", {})]


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Name of a kernel that is this interpreter, whatever kernels the machine has; it sees this checkout."""
    folder = tmp_path / "jupyter" / "kernels" / "this_interpreter"
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    specification = {"argv": command, "display_name": "this interpreter", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(specification))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    return folder.name


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Inputs with a miniature competition somewhere below, and the output folder, as the notebook is told of them."""
    from melanoma_tf.miniature import make_miniature

    competition, output = tmp_path / "input" / "competitions" / "miniature", tmp_path / "working"
    (tmp_path / "input" / "some-dataset").mkdir(parents=True)
    (tmp_path / "input" / "some-dataset" / "train.csv").write_text("image_name\n")
    make_miniature(competition, **COUNTS)
    for name, value in {
        "MELANOMA_INPUT": tmp_path / "input", "MELANOMA_OUTPUT": output, "MELANOMA_CONFIG": "demo",
        "MELANOMA_SET": SETTINGS, "MELANOMA_FOLDS": 2, "MELANOMA_DUPLICATES": competition / "duplicates.csv",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    return competition, output


def test_in_step_with_its_source_and_stripped():
    import jupytext
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    advice = f"run: jupytext --update --to ipynb notebooks/{NOTEBOOK.stem}.py"
    assert _cells(notebook) == _cells(jupytext.read(NOTEBOOK.with_suffix(".py"))), advice
    for cell in notebook.cells:
        assert cell.cell_type == "markdown" or (cell.outputs == [] and cell.execution_count is None)


def test_from_inputs_to_a_checked_submission(kernel, folders, tmp_path):
    import nbclient
    import nbformat

    from melanoma_tf.predictions import read_predictions
    from melanoma_tf.submission import check_submission

    competition, output = folders
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name=kernel, resources=place).execute()

    sample = pd.read_csv(competition / "sample_submission.csv")
    checked = check_submission(output / "submission.csv", sample)
    assert list(checked.image_name) == list(sample["image_name"]) and len(checked) == COUNTS["test_images"]
    assert f"{output / 'submission.csv'}: {COUNTS['test_images']} rows, checked" in _text(notebook)
    predicted = read_predictions(output / "run" / "test.csv").aligned(checked.image_name).probability
    np.testing.assert_allclose(checked.probability, predicted, rtol=1e-12)

    out_of_fold = read_predictions(output / "run" / "oof.csv")
    assert len(out_of_fold) == COUNTS["images"] and set(out_of_fold.fold) == {0, 1}
    for fold in (0, 1):
        assert set(out_of_fold.target[out_of_fold.fold == fold]) == {0, 1}
    assert "1 pairs of duplicates" in _text(notebook) and "out-of-fold AUC " in _text(notebook)
    assert len(_pictures(notebook)) == 1 and (output / "report.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("count", [0, 2])
def test_one_competition_is_expected(count, tmp_path, monkeypatch):
    """None, or a choice that nobody made: an error that names what is there. Only the cell that looks is run."""
    import jupytext

    from melanoma_tf import files
    from melanoma_tf.errors import UserError

    for number in range(count):
        folder = tmp_path / f"competition{number}"
        folder.mkdir()
        for name in ("train.csv", "test.csv", "sample_submission.csv", "train00-1.tfrec", "test00-1.tfrec"):
            (folder / name).touch()
    cells = jupytext.read(NOTEBOOK.with_suffix(".py")).cells
    looks = next(cell.source for cell in cells if "def find_competitions" in cell.source)
    with pytest.raises(UserError, match="competition0, .*competition1" if count else "found: none"):
        exec(looks, {"os": os, "Path": Path, "files": files, "UserError": UserError, "input_root": str(tmp_path)})
