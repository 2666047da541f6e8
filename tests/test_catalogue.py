"""The catalogue of bad input, through the command line: nothing silent, nothing unnamed, and no personal data."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from melanoma_tf.errors import EXIT_REJECTS, RejectError
from tfrecord_tools import images

from . import catalogue

pytest.importorskip("pydicom")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """(expected codes, rejects by name, names in the copied table) of one conversion of everything."""
    folder = tmp_path_factory.mktemp("catalogue")
    (folder / "images").mkdir()
    expected = catalogue.build(folder / "images")
    pd.DataFrame({"image_name": list(expected)}).to_csv(folder / "test.csv", index=False)
    arguments = [
        f"--images={folder}/images",
        f"--csv={folder}/test.csv",
        f"--out={folder}/out",
        "--size=64",
        "--shards=3",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tfrecord_tools", "convert", *arguments, "--workers=2"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == EXIT_REJECTS and done.stderr == "", done.stderr
    rejects = pd.read_csv(folder / "out" / "test.rejects.csv").set_index("image_name")
    return expected, rejects, set(pd.read_csv(folder / "out" / "test.csv")["image_name"])


@pytest.mark.parametrize("name", [*catalogue.FILES, *catalogue.SPECIAL, *catalogue.NAMES])
def test_bad_input_gets_its_reason(outcome, name):
    expected, rejects, kept = outcome
    assert name not in kept, "converted without a word"
    assert rejects["code"].get(name) in expected[name]
    assert 10 < len(rejects["detail"][name]) < 200


def test_sound_files_are_converted(outcome):
    assert outcome[2] == set(catalogue.SOUND)


@pytest.mark.parametrize("make", [catalogue.dicom_file, lambda: catalogue.dicom_file(change=catalogue.native)])
def test_a_dicom_cut_at_any_64th_byte_is_rejected(make):
    whole = make()
    for length in range(0, len(whole), 64):
        with pytest.raises(RejectError):
            images.render(whole[:length], images.Rendering(32))
