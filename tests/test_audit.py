"""The audit on tables: each planted fault is found, and only it; a sound set has none."""

import json

import numpy as np
import pandas as pd
import pytest

from melanoma_tf import audit, folds, metrics, tables
from melanoma_tf.audit import printing
from melanoma_tf.audit.pool import Tables

from .conftest import make_table

PATIENTS = 60


def sound(count=600, patients=PATIENTS, seed=0):
    """A training table without a fault, every patient with equally many images and one sex, and its folds."""
    table = make_table(count, patients)
    patient = np.arange(count) % patients
    table["sex"] = np.where(patient % 2, "male", "female")
    table["age_approx"] = 40.0 + patient % 5 * 5
    table["target"] = (np.random.default_rng(seed).random(count) < 0.2).astype(np.int8)
    table["diagnosis"] = np.where(table["target"] == 1, "melanoma", "nevus")
    table["benign_malignant"] = np.where(table["target"] == 1, "malignant", "benign")
    return table, folds.make_folds(table, 5)


def run(table, fold=None, test=None, external=None, **more):
    """Findings by check, and section where a check is in several."""
    audited = audit.audit(Tables(table, fold, test, external or {}), **more)
    return {f"{finding.section}: {finding.check}": finding for finding in audited.findings}


def verdicts(found, verdict):
    return {name.split(": ")[1]: finding.examples for name, finding in found.items() if finding.verdict == verdict}


def a_test_table(table):
    """Other patients, other images."""
    return make_table(100, 20, first=5000)[list(table.columns[:5])].assign(sex="male", age_approx=50.0)


def test_a_sound_set_has_no_finding():
    table, fold = sound()
    found = run(table, fold, a_test_table(table), {"2019.csv": make_table(50, 50, first=8000)}, known=[])
    assert verdicts(found, audit.LEAK) == verdicts(found, audit.WARNING) == {}
    assert verdicts(found, audit.OK).keys() >= {
        "patients in several folds",
        "pairs over folds",
        "patients of both sexes",
    }


def test_a_patient_over_folds():
    table, fold = sound()
    rows = np.flatnonzero(table["patient_id"] == "IP_0000007")
    fold[rows[0]] = (fold[rows[1]] + 1) % 5
    leak = verdicts(run(table, fold), audit.LEAK)
    numbers = sorted({fold[rows[0]], fold[rows[1]]})
    assert leak == {"patients in several folds": (f"IP_0000007 (folds {numbers[0]}, {numbers[1]})",)}
    fold[rows[0]] = -1  # in no fold
    assert verdicts(run(table, fold), audit.LEAK) == {}


def test_patients_and_images_in_train_and_test():
    table, fold = sound()
    test = a_test_table(table)
    test.loc[3, "patient_id"] = "IP_0000011"
    test.loc[4, "image_name"] = "ISIC_0000099"
    leak = verdicts(run(table, fold, test), audit.LEAK)
    assert leak == {"patients in train and test": ("IP_0000011",), "images in train and test": ("ISIC_0000099",)}


def test_external_names_even_of_shrunk_images():
    table, fold = sound()
    test, external = a_test_table(table), make_table(50, 50, first=8000)
    external.loc[[0, 1], "image_name"] = ["ISIC_0005003_downsampled", "ISIC_0000042"]
    leak = verdicts(run(table, fold, test, {"2019.csv": external}), audit.LEAK)
    assert leak == {
        "test images in external sets, by name": ("ISIC_0005003 (2019.csv)",),
        "train images in external sets, by name": ("ISIC_0000042 (2019.csv)",),
    }


def _one_of_each_fold(table, fold):
    """Two images of the folds 0 and 1 with the same target."""
    benign = table["target"] == 0
    return [table["image_name"][benign & (fold == number)].iloc[0] for number in (0, 1)]


def test_known_duplicates_over_folds():
    table, fold = sound()
    a, b = _one_of_each_fold(table, fold)
    found = run(table, fold, known=[(a, b), ("ISIC_0000000", "ISIC_0000060"), (a, "elsewhere")])
    assert verdicts(found, audit.LEAK) == {"pairs over folds": (f"{a} (fold 0) = {b} (fold 1)",)}
    number = found["known duplicates: pairs"]
    assert (number.count, number.note) == (2, "1 of two patients; 1 more with an image in no table")
    fold[table["image_name"] == a] = -1
    assert verdicts(run(table, fold, known=[(a, b)]), audit.LEAK) == {}
    mended = folds.make_folds(table, 5, duplicates=[(a, b)])
    assert verdicts(run(table, mended, known=[(a, b)]), audit.LEAK) == {}


def test_known_duplicates_of_two_patients_without_folds_are_a_warning():
    table, _ = sound()
    table["target"] = 0
    table.loc[:5, "target"] = 1
    pair = ("ISIC_0000010", "ISIC_0000011")
    found = run(table.drop(columns=["diagnosis", "benign_malignant"]), known=[pair])
    assert verdicts(found, audit.WARNING) == {"pairs": ("ISIC_0000010 = ISIC_0000011",)}


def test_known_duplicates_between_sets_and_with_two_targets():
    table, fold = sound()
    test, external = a_test_table(table), make_table(50, 50, first=8000)
    melanoma, benign = (table["image_name"][(table["target"] == target) & (fold == 0)].iloc[0] for target in (1, 0))
    pairs = [(melanoma, "ISIC_0005001"), ("ISIC_0008001", "ISIC_0005002"), ("ISIC_0008002", benign), (melanoma, benign)]
    found = run(table, fold, test, {"2019.csv": external}, known=pairs)
    assert verdicts(found, audit.LEAK) == {
        "pairs between train and test": (f"{melanoma} (fold 0) = ISIC_0005001 (test)",),
        "pairs between test and external": ("ISIC_0008001 (2019.csv) = ISIC_0005002 (test)",),
        "pairs between train and external": (f"ISIC_0008002 (2019.csv) = {benign} (fold 0)",),
    }
    assert verdicts(found, audit.WARNING) == {"pairs with two targets": (f"{melanoma} (1) = {benign} (0)",)}


def test_metadata_that_contradict_themselves():
    table, fold = sound()
    table.loc[0, "sex"] = "male"  # of IP_0000000, a woman
    table.loc[1, "age_approx"] = 90.0
    rows = {target: table.index[table["target"] == target][-1] for target in (0, 1)}
    table.loc[rows[1], "diagnosis"] = "melanocytic nevus"
    table.loc[rows[0], "benign_malignant"] = "malignant"
    table.loc[rows[0], "diagnosis"] = "unknown"
    warnings = verdicts(run(table, fold), audit.WARNING)
    names = {target: table["image_name"][row] for target, row in rows.items()}
    assert warnings == {
        "patients of both sexes": ("IP_0000000 (train)",),
        "patients whose ages differ by more than 20 years": ("IP_0000001: 45 to 90 (train)",),
        "target against diagnosis": (f"{names[1]} (target 1, melanocytic nevus)",),
        "target against benign_malignant": (f"{names[0]} (target 0, malignant)",),
    }


@pytest.mark.parametrize(
    ("diagnosis", "malignancy", "target", "wrong"),
    [
        ("Melanoma", "malignant", 1, 0),
        ("mel", "malignant", 0, 1),
        ("melanoma in situ", "", 1, 0),
        ("atypical melanocytic proliferation", "benign", 0, 0),
        ("basal cell carcinoma", "malignant", 0, 0),
        ("unknown", "benign", 1, 1),
        ("", "", 1, 0),
    ],
)
def test_what_a_diagnosis_says_of_the_target(diagnosis, malignancy, target, wrong):
    table, _ = sound()
    row = table.index[table["target"] == target][0]
    table.loc[row, ["diagnosis", "benign_malignant"]] = [diagnosis, malignancy]
    found = run(table)
    assert (
        sum(found[f"metadata: target against {column}"].count for column in ("diagnosis", "benign_malignant")) == wrong
    )


def test_shortcuts_are_exact_and_cross_fitted():
    """Melanoma at twice the width; a source of many melanoma; nothing else tells."""
    table, _ = sound(1200)
    generator = np.random.default_rng(3)
    melanoma = table["target"] == 1
    table["width"] = np.where(melanoma, 2000, 1000) + generator.integers(0, 9, len(table))
    table["height"] = 750
    table["source"] = np.where(generator.random(len(table)) < np.where(melanoma, 0.8, 0.2), "a", "b")
    found = run(table)
    size, source = (found[f"shortcuts, each alone: {name}"] for name in ("original image size", "source"))
    assert (size.verdict, size.auc.value) == (audit.WARNING, 1.0)
    assert source.verdict == audit.WARNING
    # folds differ a little in both rates
    assert source.auc.value == pytest.approx(metrics.roc_auc(melanoma, table["source"] == "a"), abs=0.02)
    assert (source.auc.images, source.auc.clusters) == (1200, PATIENTS)
    assert found["shortcuts, each alone: images of the patient"].note == "the same for all images, or not known"
    table["width"], table["source"] = generator.integers(0, 9, len(table)), generator.choice(["a", "b"], len(table))
    assert verdicts(run(table), audit.WARNING) == {}


def test_images_of_the_patient_need_not_be_monotone():
    table, _ = sound(1200)
    order = np.repeat(np.arange(PATIENTS), np.resize([4, 20, 36], PATIENTS))
    table["patient_id"] = [f"p{patient}" for patient in order]
    table["target"] = ((order % 3 == 1) & (np.arange(1200) % 2 == 0)).astype(int)
    found = run(table[["image_name", "patient_id", "target", "sex", "age_approx"]])
    assert found["shortcuts, each alone: images of the patient"].auc.value > 0.8


def test_groups_of_one_class():
    table, fold = sound()
    table["source"] = "mixed"
    benign = table.index[table["target"] == 0]
    table.loc[benign[:60], "source"] = "clinic"  # 12 melanoma expected
    table.loc[benign[:60], "anatom_site_general_challenge"] = "palms/soles"
    table.loc[benign[60:70], "anatom_site_general_challenge"] = "oral/genital"  # 2 expected: chance
    found = run(table, fold)
    assert found["groups of one class: sources"].examples == ("clinic: no melanoma among 60",)
    assert found["groups of one class: sites"].examples == ("palms/soles: no melanoma among 60",)


def test_a_table_for_a_person():
    table, fold = sound()
    a, b = _one_of_each_fold(table, fold)
    findings = audit.audit(Tables(table, fold, None, {}), known=[(a, b)] + [(b, a)] * 9).findings
    text = printing.describe(findings)
    assert max(map(len, text.splitlines())) <= printing.WIDTH
    assert f"{a} (fold 0) = {b} (fold 1)" in text and ", ..." in text
    verdict_at = {line.index("  ok") for line in text.splitlines() if line.endswith("  ok")}
    assert len(verdict_at) == 1 and "\x1b" not in text
    assert text.splitlines()[-1].startswith("1 LEAK, ")
    assert "\x1b[1;31mLEAK" in printing.describe(findings, colour=True)
    assert printing.total([]) == "no leak"


def _write(folder, table, fold):
    table.to_csv(folder / "train.csv", index=False)
    pd.DataFrame({"image_name": table["image_name"], "fold": fold}).to_csv(folder / "folds.csv", index=False)
    return f"--train_csv={folder / 'train.csv'}", f"--folds={folder / 'folds.csv'}"


def test_command(tmp_path, run_command):
    table, fold = sound()
    arguments = _write(tmp_path, table, fold)
    out = tmp_path / "made" / "audit.json"
    code, printed, errors = run_command("audit", *arguments, f"--json={out}")
    assert (code, errors) == (0, []) and "no leak" in printed and "NOT CHECKED" in printed
    assert printed.splitlines()[0].endswith(f"600 images of 60 patients, {table['target'].sum()} melanoma")
    assert run_command("audit", *arguments, f"--json={out}")[0] == 2  # it is there already
    a, b = _one_of_each_fold(table, fold)
    (tmp_path / "pairs.csv").write_text(f"image_name_1,image_name_2\n{a},{b}\n")
    more = (f"--duplicates={tmp_path / 'pairs.csv'}", f"--json={out}", "--overwrite")
    code, printed, errors = run_command("audit", *arguments, *more)
    assert (code, errors) == (2, []) and "1 LEAK" in printed
    written = json.loads(out.read_text())
    assert written["leaks"] == 1 and written["inputs"]["train_csv"] == str(tmp_path / "train.csv")
    leaks = [found for found in written["findings"] if found["verdict"] == "LEAK"]
    assert [(leak["check"], leak["count"]) for leak in leaks] == [("pairs over folds", 1)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--test_csv=absent.csv"], "no table at absent.csv"),
        (["--duplicates={0}/train.csv"], "no column 'image_name_1'"),
        (["--external={0}/numbers.csv"], "no column 'image_name'"),
        (["--images={0}"], "holds no JPEG or PNG of an image in the tables; it holds"),
        (["--images={0}", "--data_dir={0}"], "give one of them"),
        (["--data_dir={0}"], "no *.tfrec in"),
        (["--data_dir={0}/absent"], "no such folder"),
        (["--pairs={0}/pairs.csv"], "--pairs needs images"),
        (["--embeddings={0}/absent.npz"], "no file"),
        (["--embeddings={0}/numbers.csv"], "is no .npz of plain arrays"),
        (["--embeddings={0}/one.npz"], "it holds a float64[3, 2]"),
        (["--embeddings={0}/nan.npz"], "the embedding of y holds a value that is not finite"),
        (["--embeddings={0}/twice.npz"], "names an image more than once"),
        (["--embeddings={0}/others.npz"], "holds no image of the tables; it holds x, y"),
        (["--embeddings={0}/objects.npz"], "no .npz of plain arrays"),
        (["--imags={0}"], "did you mean '--images'"),
    ],
)
def test_bad_input_is_one_line(tmp_path, run_command, arguments, words):
    train, _ = _write(tmp_path, *sound())
    (tmp_path / "numbers.csv").write_text("a,b\n1,2\n")
    two = np.ones((2, 3))
    np.savez(tmp_path / "one.npz", a=np.ones((3, 2)))
    np.savez(tmp_path / "nan.npz", names=np.array(["x", "y"]), e=np.where(np.eye(2, 3, k=-1), np.nan, two))
    np.savez(tmp_path / "twice.npz", names=np.array(["x", "x"]), e=two)
    np.savez(tmp_path / "others.npz", names=np.array(["x", "y"]), e=two)
    np.savez(tmp_path / "objects.npz", names=np.array(["x", "y"], object), e=two)
    before = sorted(tmp_path.iterdir())
    code, printed, errors = run_command("audit", train, *(text.format(tmp_path) for text in arguments))
    assert (code, printed, len(errors)) == (2, "", 1)
    assert words in errors[0]
    assert sorted(tmp_path.iterdir()) == before


def test_what_a_table_does_not_tell_is_not_ok(tmp_path):
    """A table that names no patients cannot show that none straddles."""
    table, fold = sound()
    table.drop(columns="patient_id").to_csv(tmp_path / "train.csv", index=False)
    read = tables.read_table(tmp_path / "train.csv", target=True)
    read["sex"] = np.nan
    found = run(read, fold, read.assign(image_name="t" + read["image_name"]))
    assert verdicts(found, audit.LEAK) == {}
    assert found["patients and names: patients in several folds"].note == "the table names no patients"
    skipped = {"patients in several folds", "patients of both sexes"}
    assert verdicts(found, audit.SKIPPED).keys() >= skipped


def test_external_tables_of_the_same_file_name_are_both_looked_at(tmp_path, run_command):
    table, fold = sound()
    _write(tmp_path, table, fold)
    for folder, name in (("2018", table["image_name"][3]), ("2019", "ISIC_9999999")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.csv").write_text(f"image_name\n{name}\n")
    external = f"--external={tmp_path / '2018' / 'train.csv'},{tmp_path / '2019' / 'train.csv'}"
    code, printed, _ = run_command("audit", f"--train_csv={tmp_path / 'train.csv'}", external)
    assert code == 2 and table["image_name"][3] in printed


def test_patients_of_numbers_are_the_same_beside_an_empty_cell(tmp_path, run_command):
    (tmp_path / "train.csv").write_text("image_name,patient_id,target\na,12,0\nb,13,1\nc,,0\n")
    (tmp_path / "test.csv").write_text("image_name,patient_id\nd,12\ne,14\n")
    code, printed, _ = run_command("audit", *(f"--{name}_csv={tmp_path / name}.csv" for name in ("train", "test")))
    assert code == 2 and "LEAK" in printed
