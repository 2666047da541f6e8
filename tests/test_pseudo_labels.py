"""Test images that train with an earlier run's predictions: which labels, for which images, in which fold."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("tensorflow")

from melanoma_tf import folds as folding
from melanoma_tf.data.image_set import join_image_sets, load_image_set
from melanoma_tf.data.pipeline import train_dataset
from melanoma_tf.errors import UserError
from melanoma_tf.predictions import Predictions, read_predictions
from melanoma_tf.train.plan import ALL, plan_folds
from melanoma_tf.train.pseudo_labels import PSEUDO, add_pseudo_labels

from .conftest import make_table, settings, write_shards
from .test_train import contents, train_arguments


@pytest.fixture(scope="module")
def sets(competition_original):
    return tuple(
        load_image_set(competition_original, competition_original / f"{name}.csv", name, target=name == "train")
        for name in ("train", "test")
    )


@pytest.fixture
def plan(sets, competition_original, tmp_path):
    fold_of = folding.read_folds(competition_original / "folds.csv", sets[0].table)
    return plan_folds("", fold_of, sets[0], tmp_path)


def said(fold, count):
    """What the earlier run's model of a fold says: other numbers in each."""
    return np.linspace(0.1, 0.4, count) + 0.5 * fold


@pytest.fixture
def earlier(sets, plan, tmp_path):
    """Folder of a finished run of the same folds, its test predictions in another order than the table's."""
    train, test = sets
    run = tmp_path / "earlier"
    for number, fold in enumerate(plan):
        folder = run / f"fold_{number}"
        folder.mkdir(parents=True)
        rows = fold.valid_rows
        Predictions(train.names[rows], np.full(len(rows), 0.5), train.target[rows]).write(folder / "oof.csv")
        Predictions(test.names[::-1], said(number, len(test))[::-1]).write(folder / "test.csv")
        (folder / "finished.json").write_text("{}")
    Predictions(test.names, said(0.5, len(test))).write(run / "test.csv")
    (run / "config.json").write_text(json.dumps({"train": {"select": "last"}}))
    return run


def test_each_fold_is_labelled_by_the_model_that_held_it_out(sets, plan, earlier):
    train, test = sets
    joined, folds = add_pseudo_labels(train, test, plan, str(earlier))
    assert list(joined.names) == [*train.names, *test.names]
    for number, (before, fold) in enumerate(zip(plan, folds)):
        assert fold.train_rows.tolist() == [*before.train_rows, *range(48, 59)]
        assert fold.valid_rows.tolist() == before.valid_rows.tolist()
        np.testing.assert_array_equal(fold.labels[:48, 0], train.target)
        np.testing.assert_allclose(fold.labels[48:, 0], said(number, 11), rtol=1e-6)


def test_where_nothing_is_held_out_the_runs_mean_labels(sets, earlier, tmp_path):
    whole = plan_folds(ALL, None, sets[0], tmp_path)
    _, (fold,) = add_pseudo_labels(*sets, whole, str(earlier))
    np.testing.assert_allclose(fold.labels[48:, 0], said(0.5, 11), rtol=1e-6)
    assert fold.train_rows.tolist() == list(range(59))


def test_of_a_patient_who_validates_no_test_image_trains(sets, plan, earlier):
    train, test = sets
    patient = train.table["patient_id"].iloc[plan[0].valid_rows[0]]
    shared = dataclasses.replace(test, table=test.table.assign(patient_id=[patient, *test.table["patient_id"][1:]]))
    _, folds = add_pseudo_labels(train, shared, plan, str(earlier))
    assert 48 not in folds[0].train_rows and 49 in folds[0].train_rows and 48 in folds[1].train_rows


def test_a_batch_holds_the_label_beside_its_own_image(sets, plan, earlier):
    joined, folds = add_pseudo_labels(*sets, plan, str(earlier))
    one = dataclasses.replace(joined, labels=folds[1].labels)
    options = {"image_size": 32, "batch_size": 1, "seed": 1, "epoch": 0}
    alone = {}
    for images in sets:
        for batch in train_dataset(images, np.arange(len(images)), **options):
            alone[images.names[int(batch["row"][0])]] = batch["image"].numpy()
    rows = []
    for batch in train_dataset(one, folds[1].train_rows, **options):
        row = int(batch["row"][0])
        rows.append(row)
        np.testing.assert_array_equal(batch["image"], alone[one.names[row]])
        assert float(batch["target"][0, 0]) == folds[1].labels[row, 0]
        np.testing.assert_array_equal(batch["meta"][0], one.meta[row])
    assert sorted(rows) == sorted(folds[1].train_rows.tolist())


def test_they_are_a_source_of_their_own(sets, plan, earlier):
    """So that `data.source_weights=pseudo=0.5` finds them; a table that has sources keeps its own."""
    joined, _ = add_pseudo_labels(*sets, plan, str(earlier))
    assert joined.table["source"].tolist() == [""] * 48 + [PSEUDO] * 11
    train = dataclasses.replace(sets[0], table=sets[0].table.assign(source="2020"))
    joined, _ = add_pseudo_labels(train, sets[1], plan, str(earlier))
    assert joined.table["source"].tolist() == ["2020"] * 48 + [PSEUDO] * 11


def forget(path):
    return lambda run: (run / path).unlink()


def write(path, text):
    return lambda run: (run / path).write_text(text)


@pytest.mark.parametrize("change, message", [
    (forget("config.json"), "no run there"),
    (write("config.json", "[]"), "is not the config.json of a run"),
    (write("config.json", '{"train": {"select": "best"}}'), "chosen by the images held out .train.select=best"),
    (forget("fold_1/finished.json"), "its fold 1 is not finished"),
    (forget("fold_1/oof.csv"), "oof.csv"),
    (forget("fold_0/test.csv"), "test.csv"),
    (write("fold_0/test.csv", "image_name,probability\nISIC_0000500,0.5\n"), "fold 0: no prediction for ISIC_0000501"),
    (write("fold_0/test.csv", "image_name,probability\nISIC_0000500,1.5\n"), "not probabilities"),
])  # fmt: skip
def test_runs_that_cannot_label(sets, plan, earlier, change, message):
    change(earlier)
    with pytest.raises(UserError, match=message):
        add_pseudo_labels(*sets, plan, str(earlier))


def test_a_model_that_has_seen_what_is_held_out_does_not_label(sets, plan, earlier):
    oof = read_predictions(earlier / "fold_0" / "oof.csv")
    Predictions(oof.image_name[1:], oof.probability[1:]).write(earlier / "fold_0" / "oof.csv")
    with pytest.raises(UserError, match=f"its fold 0 trained on {oof.image_name[0]}, which is held out here"):
        add_pseudo_labels(*sets, plan, str(earlier))


def test_sets_that_cannot_be_labelled(sets, plan, earlier):
    train, test = sets
    with pytest.raises(UserError, match="there are no test images to label"):
        add_pseudo_labels(train, None, plan, str(earlier))
    with pytest.raises(UserError, match=r"model\.target must be binary"):
        labels = np.zeros((48, 3), np.float32)
        add_pseudo_labels(dataclasses.replace(train, labels=labels), test, plan, str(earlier))


def test_an_image_in_both_sets_is_named(sets, tmp_path):
    table = make_table(3, 2)
    table.to_csv(tmp_path / "test.csv", index=False)
    write_shards(tmp_path, "test", table, None)
    again = load_image_set(tmp_path, tmp_path / "test.csv", "test", target=False)
    with pytest.raises(UserError, match="ISIC_0000000 is in the shards twice"):
        join_image_sets(sets[0], again)


def test_end_to_end(competition_original, run_command, tmp_path):
    """A student of a run's predictions: other weights, the same images in its files; other labels, another run."""
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    code, _, err = run_command(*train_arguments(competition_original, teacher))
    assert code == 0, err
    more = [f"--set=data.pseudo_labels={teacher}", "--set=data.source_weights=pseudo=0.5"]
    arguments = train_arguments(competition_original, student, *more)
    code, _, err = run_command(*arguments)
    assert code == 0, err
    for name in ("oof.csv", "test.csv"):
        ours, theirs = (pd.read_csv(run / name) for run in (student, teacher))
        assert ours["image_name"].tolist() == theirs["image_name"].tolist()
        assert not np.allclose(ours["probability"], theirs["probability"], atol=1e-4)
    before = contents(student)
    assert run_command(*arguments)[0] == 0 and contents(student) == before
    path = teacher / "fold_0" / "test.csv"
    path.write_text(path.read_text().replace("ISIC_0000500,0.", "ISIC_0000500,0.0"))
    code, _, err = run_command(*arguments)
    assert code == 2 and "is a run on other images" in err[-1]


def test_the_command_says_what_is_wrong_in_one_line(competition_original, run_command, tmp_path):
    run = tmp_path / "run"
    code, _, err = run_command("train", "--config=demo", f"--data_dir={competition_original}", f"--work_dir={run}",
                               *settings(f"data.pseudo_labels={tmp_path}/none"))  # fmt: skip
    assert code == 2 and len(err) == 1 and "no run there" in err[0] and not run.exists()
