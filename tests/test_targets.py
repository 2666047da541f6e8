"""Diagnosis as the target: the tables' spellings, what contradicts, and that melanoma is what comes out."""

import numpy as np
import pandas as pd
import pytest

from melanoma_tf.errors import UserError
from melanoma_tf.predictions import read_predictions
from melanoma_tf.targets import TARGETS, class_labels

from .conftest import settings

# Every spelling of the 2020 table, of HAM10000's in the competition's layout, and the codes of 2018 and 2019.
TABLES = {
    "2020": ["unknown", "nevus", "melanoma", "seborrheic keratosis", "lentigo NOS", "lichenoid keratosis",
             "solar lentigo", "cafe-au-lait macule", "atypical melanocytic proliferation"],
    "HAM10000": ["nevus", "melanoma", "benign keratosis", "basal cell carcinoma", "actinic keratosis",
                 "vascular lesion", "dermatofibroma"],
    "2018": ["nv", "mel", "bkl", "bcc", "akiec", "vasc", "df"],
    "2019": ["NV", "MEL", "BKL", "BCC", "AK", "VASC", "DF", "SCC", "UNK"],
}  # fmt: skip


def make(diagnosis, target=None):
    is_melanoma = [str(one).lower() in ("mel", "melanoma") for one in diagnosis]
    names = [f"ISIC_{number}" for number in range(len(diagnosis))]
    return pd.DataFrame({"image_name": names, "diagnosis": diagnosis, "target": np.int8(target or is_melanoma)})


def named(diagnosis, target):
    labels = class_labels(make(diagnosis), target)
    assert labels.dtype == np.float32 and (labels.sum(axis=1) == 1).all()
    return [TARGETS[target][column] for column in labels.argmax(axis=1)]


def test_the_winners_nine_classes_of_every_table():
    unknown, bkl = "unknown", "BKL"
    assert named(TABLES["2020"], "diagnosis9") == [unknown, "nevus", "melanoma", bkl, bkl, bkl, bkl, unknown, unknown]
    lesions = ["nevus", "melanoma", "BKL", "BCC", "AK", "VASC", "DF"]
    assert named(TABLES["HAM10000"], "diagnosis9") == lesions
    assert named(TABLES["2018"], "diagnosis9") == lesions
    assert named(TABLES["2019"], "diagnosis9") == [*lesions, "SCC", unknown]


def test_fewer_classes():
    assert named(TABLES["2019"], "diagnosis4") == ["nevus", "melanoma", "BKL"] + ["unknown"] * 6
    assert named(TABLES["2019"], "diagnosis3") == ["nevus", "melanoma"] + ["other"] * 7
    assert class_labels(make(TABLES["2019"]), "binary") is None


def test_melanoma_comes_first_everywhere():
    assert {names[0] for names in TARGETS.values()} == {"melanoma"}
    assert {name: len(names) for name, names in TARGETS.items() if name != "binary"} == {
        f"diagnosis{count}": count for count in (3, 4, 9)
    }


def test_blank_case_and_missing_are_taken():
    assert named([" Nevus ", "", np.nan, "MELANOMA"], "diagnosis9") == ["nevus", "unknown", "unknown", "melanoma"]
    labels = class_labels(make([np.nan, "unknown", "nevus"], target=[1, 1, 0]), "diagnosis3")
    np.testing.assert_array_equal(labels, [[1, 0, 0], [1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize(
    "table, target, words",
    [
        (make(["nevus", "neuvs"]), "diagnosis9", "a.csv: unknown diagnosis 'neuvs'; known: actinic keratosis, ak"),
        (make(["nevus", "melanoma"], [1, 1]), "diagnosis3", "a.csv: ISIC_0 has target 1 and diagnosis nevus"),
        (make(["nevus", "melanoma"], [0, 0]), "diagnosis3", "a.csv: ISIC_1 has target 0 and diagnosis melanoma"),
        (make(["nevus"]).drop(columns="diagnosis"), "diagnosis4", "a.csv has no column 'diagnosis'"),
        (make(["nevus"]), "diagnosis5", "did you mean 'diagnosis"),
    ],
)
def test_bad_diagnoses_are_named(table, target, words):
    with pytest.raises(UserError) as caught:
        class_labels(table, target, "a.csv")
    assert words in str(caught.value)


@pytest.fixture
def diagnosed(competition):
    """The tiny competition with diagnoses."""
    table = pd.read_csv(competition / "train.csv")
    other = np.array(["nevus", "unknown", "seborrheic keratosis", "BCC"])[np.arange(len(table)) % 4]
    table["diagnosis"] = np.where(table["target"] == 1, "melanoma", other)
    table.to_csv(competition / "train.csv", index=False)
    return competition


MORE = ["model.target=diagnosis9", "train.loss=categorical_cross_entropy", "augment.mixup=0.5", "augment.cutmix=0.5"]


def test_nine_classes_end_to_end(diagnosed, run_command, tmp_path):
    """Train, validate and predict; redness tells melanoma, and its probability is what comes out."""
    pytest.importorskip("tensorflow")
    run = tmp_path / "run"
    more = settings("train.epochs=12", "train.warmup_epochs=1", *MORE[:2])
    arguments = [f"--data_dir={diagnosed}", f"--work_dir={run}", "--fold=0", *more]
    code, _, err = run_command("train", "--config=demo", *arguments)
    assert code == 0, err
    oof, test = (read_predictions(run / f"{name}.csv") for name in ("oof", "test"))
    assert pd.read_csv(run / "fold_0" / "history.csv")["val_auc"].iloc[-1] > 0.9
    assert oof.probability[oof.target == 1].mean() > oof.probability[oof.target == 0].mean()
    out = tmp_path / "again.csv"
    code, _, err = run_command("predict", f"--run={run}", f"--data_dir={diagnosed}", "--prefix=test", f"--out={out}")
    assert code == 0, err
    again = read_predictions(out).aligned(test.image_name)
    np.testing.assert_allclose(again.probability, test.probability, atol=1e-6)


def test_another_diagnosis_is_another_run(diagnosed, run_command, tmp_path):
    pytest.importorskip("tensorflow")
    arguments = ["train", "--config=demo", f"--data_dir={diagnosed}", f"--work_dir={tmp_path / 'run'}", "--fold=0"]
    arguments += settings("train.epochs=1", *MORE)
    assert run_command(*arguments)[0] == 0
    table = pd.read_csv(diagnosed / "train.csv")
    table["diagnosis"] = table["diagnosis"].replace("unknown", "nevus")
    table.to_csv(diagnosed / "train.csv", index=False)
    code, _, err = run_command(*arguments)
    assert code == 2 and "is a run on other images" in "\n".join(err), err


def test_a_loss_that_does_not_suit_the_target_writes_nothing(diagnosed, run_command, tmp_path):
    pytest.importorskip("tensorflow")
    run = tmp_path / "run"
    arguments = [f"--data_dir={diagnosed}", f"--work_dir={run}", *settings("model.target=diagnosis4")]
    code, _, err = run_command("train", "--config=demo", *arguments)
    assert code == 2 and "binary_cross_entropy, which is not for 4 classes" in err[-1] and not run.exists()
