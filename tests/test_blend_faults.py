"""A catalogue of malformed prediction files: each gives one line that names it, exit code 2, no output."""

import numpy as np
import pytest

ROWS = 60
NAMES = [f"ISIC_{number:07d}" for number in range(ROWS)]
TARGET = [int(number % 6 == 0) for number in range(ROWS)]
SCORE = [round(0.05 + 0.4 * (number % 6 == 0) + number / 200, 4) for number in range(ROWS)]


def _csv(columns, *rows):
    return "\n".join([columns, *(",".join(map(str, row)) for row in zip(*rows))]) + "\n"


def _with(values, position, value):
    return [*values[:position], value, *values[position + 1 :]]


def _file(score=SCORE, target=TARGET, names=NAMES, columns="image_name,target,probability"):
    return _csv(columns, names, target, score)


GOOD = _file()
FAULTS = {  # what is in b.csv, and what the one line must tell
    "empty": ("", "not a CSV table"),
    "header_only": ("image_name,target,probability\n", "no rows"),
    "binary": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff\xfe\x00", "not a CSV table"),
    "numpy_array": (b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'}" + bytes(range(256)), "not a CSV table"),
    "ragged": (GOOD + "a,b,c,d,e\n", "not a CSV table"),
    "semicolons": (GOOD.replace(",", ";"), "no column with the names of the images"),
    "no_names": (_csv("target,probability", TARGET, SCORE), "no column with the names of the images"),
    "no_header": (GOOD.split("\n", 1)[1], "no column with the names of the images"),
    "two_names": (_csv("image,filename,target,pred", NAMES, NAMES, TARGET, SCORE), "image, filename could all be"),
    "no_prediction": (_csv("image_name,age", NAMES, range(ROWS)), "no prediction column"),
    "truth_alone": (_csv("image_name,target", NAMES, TARGET), "no prediction column: target holds only 0 and 1"),
    "two_predictions": (_csv("image_name,target,pred,score", NAMES, TARGET, SCORE, SCORE), "pred, score could all be"),
    "same_column_twice": (_csv("image_name,target,pred,pred", NAMES, TARGET, SCORE, SCORE), "column 'pred' twice"),
    "two_truths": (_csv("image_name,target,label,pred", NAMES, TARGET, TARGET, SCORE), "could all be the truth"),
    "folds_with_gaps": (
        _csv("image_name,pred_0,pred_1,pred_2", NAMES, SCORE, SCORE, _with(SCORE, 7, "")), "has 2 of the 3 numbers"),
    "empty_name": (_file(names=_with(NAMES, 3, "")), "line 5: empty image_name"),
    "doubled_id": (_file(names=_with(NAMES, 3, NAMES[2])), "names ISIC_0000002 more than once"),
    "doubled_by_ending": (_file(names=_with(NAMES, 3, f"{NAMES[2]}.jpg")), "names ISIC_0000002 more than once"),
    "passes_that_contradict": (GOOD + _file(target=_with(TARGET, 4, 1)).split("\n", 1)[1], "differs from row to row"),
    "nan": (_file(_with(SCORE, 5, "")), "ISIC_0000005 is nan (1 of 60)"),
    "nan_as_text": (_file(_with(SCORE, 5, "NaN")), "ISIC_0000005 is nan"),
    "infinite": (_file(_with(SCORE, 5, "inf")), "ISIC_0000005 is inf"),
    "text_in_numbers": (_file(_with(SCORE, 5, "high")), "ISIC_0000005 is 'high' (1 of 60)"),
    "decimal_comma": (_file([f'"{score}"'.replace(".", ",") for score in SCORE]), "numbers with a point"),
    "constant": (_file([0.5] * ROWS), "0.5 for all 60 images; a constant"),
    "percent": (_file([100 * score for score in SCORE]), "divide percentages by 100"),
    "slightly_negative": (_file(_with(SCORE, 5, -0.001)), "ISIC_0000005 is -0.001 (1 of 60)"),
    "few_logits": (_file([score if number % 3 else -3 for number, score in enumerate(SCORE)]), "logits need a sigmoid"),
    "swapped_name": (_csv("image_name,target,probability", SCORE, TARGET, NAMES), "as if swapped"),
    "swapped_truth": (_csv("image_name,target,probability", NAMES, SCORE, TARGET), "as if swapped"),
    "truth_of_three": (_file(target=_with(TARGET, 5, 2)), "target of ISIC_0000005 is 2"),
    "truth_as_text": (_file(target=_with(TARGET, 5, "benign")), "target of ISIC_0000005 is benign"),
    "truth_with_gap": (_file(target=_with(TARGET, 5, "")), "target of ISIC_0000005 is nan"),
    "truth_contradicts": (_file(target=_with(TARGET, 5, 1)), "target of ISIC_0000005"),
    "fold_of_a_half": (_csv("image_name,target,pred,fold", NAMES, TARGET, SCORE, [0.5] * ROWS), "fold of ISIC_0000000"),
    "other_folds": (
        _csv("image_name,target,pred,fold", NAMES, TARGET, SCORE, np.arange(ROWS) // 7 % 3), "other folds than"),
    "an_image_too_few": (GOOD.rsplit("\n", 2)[0] + "\n", "60 in a.csv, 59 in b.csv"),
    "an_image_too_many": (GOOD + "ISIC_9999999,0,0.5\n", "60 in a.csv, 61 in b.csv"),
    "other_ids": (_file(names=[f"x{name}" for name in NAMES]), "share no oof image"),
    "not_utf8": (GOOD.replace("ISIC_0000001", "\xe9").encode("latin-1"), "not a CSV table"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fold = np.arange(ROWS) // 5 % 3
    (tmp_path / "a.csv").write_text(_csv("image_name,target,probability,fold", NAMES, TARGET, SCORE, fold))
    patients = [f"p{number // 2}" for number in range(ROWS)]
    (tmp_path / "train.csv").write_text(_csv("image_name,patient_id,target", NAMES, patients, TARGET))
    return tmp_path


def _refused(run_command, folder, *arguments):
    code, printed, complaint = run_command("blend", "--out=blend", *arguments)
    assert (code, printed, len(complaint)) == (2, "", 1), (code, printed, complaint)
    assert not (folder / "blend").exists()
    return complaint[0]


def test_the_catalogue_is_large_enough():
    assert len(FAULTS) >= 24


def test_the_file_that_the_faults_are_planted_in_is_blended(folder, run_command):
    (folder / "b.csv").write_text(GOOD)
    code, printed, _ = run_command("blend", "--out=blend", "--members=a.csv,b.csv", "--table=train.csv")
    assert code == 0, printed
    assert sorted(path.name for path in (folder / "blend").iterdir()) == ["blend.json", "oof.csv"]


@pytest.mark.parametrize("fault", FAULTS)
def test_malformed_file_is_named_and_nothing_is_written(folder, run_command, fault):
    content, words = FAULTS[fault]
    (folder / "b.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    complaint = _refused(run_command, folder, "--members=a.csv,b.csv")
    assert words in complaint
    assert "b.csv" in complaint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--members=a.csv,a.csv"], "a.csv is given twice"),
        (["--members=a.csv,absent.csv"], "no table at absent.csv"),
        (["--members=a.csv", "--method=staking"], "did you mean 'stacking'"),
        (["--members=a.csv,g.csv", "--method=stacking", "--weights=1,2"], "learns its weights"),
        (["--members=a.csv,g.csv", "--method=stacking"], "too few to learn from"),
        (["--members=a.csv", "--table=train.csv", "--train_csv=train.csv"], "two names of the same table"),
        (["--members=a.csv", "--table=few.csv"], "a.csv: ISIC_0000001 is not in the table (59 of 60"),
        (["--members=a.csv", "--table=other.csv"], "target of ISIC_0000000 is not that of the table"),
        (["--members=some.csv", "--table=train.csv"], "some.csv: t1 is not in the table (1 of 2"),
        (["--members=one.csv"], "one.csv: no melanoma among 2 images"),
        (["--members=a.csv,g.csv", "--test_members=t.csv"], "1 test files for 2 members"),
        (["--members=a.csv", "--test_members=g.csv"], "g.csv: ISIC_0000000 is an image of the training (60 are)"),
        (["--members=a.csv,t.csv"], "nothing in common"),
    ],
)
def test_bad_combination_is_named_and_nothing_is_written(folder, run_command, arguments, words):
    (folder / "g.csv").write_text(GOOD)
    (folder / "t.csv").write_text("image_name,target\nt1,0.5\nt2,0.25\n")
    (folder / "some.csv").write_text("image_name,pred\nISIC_0000001,0.5\nt1,0.25\n")
    (folder / "one.csv").write_text("image_name,target,pred\na,0,0.5\nb,0,0.1\n")
    (folder / "few.csv").write_text(_csv("image_name,target", NAMES[:1], TARGET[:1]))
    (folder / "other.csv").write_text(_csv("image_name,target", NAMES, [1 - value for value in TARGET]))
    assert words in _refused(run_command, folder, *arguments)


def test_enough_to_learn_from_but_no_patients(folder, run_command):
    names, target = [f"i{number}" for number in range(200)], [number % 5 == 0 for number in range(200)]
    for member in "cd":
        scores = np.random.default_rng(ord(member)).random(200)
        (folder / f"{member}.csv").write_text(_csv("image_name,target,pred", names, map(int, target), scores))
    complaint = _refused(run_command, folder, "--members=c.csv,d.csv")
    assert "no patients are known" in complaint
    assert "--table=train.csv" in complaint
    assert run_command("blend", "--out=blend", "--members=c.csv,d.csv", "--method=mean")[0] == 0


@pytest.mark.parametrize("flag, fault", [("--any_folds", "other_folds"), ("--shared", "an_image_too_many")])
def test_the_way_out_that_the_line_names_is_one(folder, run_command, flag, fault):
    (folder / "b.csv").write_text(FAULTS[fault][0])
    assert flag in _refused(run_command, folder, "--members=a.csv,b.csv")
    code, printed, _ = run_command("blend", "--out=blend", "--members=a.csv,b.csv", flag)
    assert code == 0
    assert printed.count("note: ") == 2
    assert ("trained on other folds" if fault == "other_folds" else "left out 1 of b.csv") in printed
