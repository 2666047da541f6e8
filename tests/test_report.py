"""The report: one page that needs nothing from outside, says what it rests on, and is the same every time."""

import json
import re

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_curve

from melanoma_tf import __main__, config, report, schema
from melanoma_tf.data import shards
from melanoma_tf.predictions import Predictions
from melanoma_tf.report import statistics
from tests.report_making import IMAGES, PATIENTS, make_picture, make_table, write_run


@pytest.fixture
def run(tmp_path):
    table = make_table()
    table.to_csv(tmp_path / "train.csv", index=False)
    records = [schema.encode_record(make_picture("brown"), name, int(target))
               for name, target in zip(table["image_name"], table["target"])]  # fmt: skip
    (tmp_path / "shards").mkdir()
    shards.write_shard(tmp_path / "shards" / f"train00-{IMAGES}.tfrec", records)
    return write_run(tmp_path / "run", table)


def _command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["melanoma-tf", "report", *map(str, arguments)])
    code = __main__.main()
    return code, *capsys.readouterr()


def _require_self_contained(page):
    assert not re.findall(r"<(?:script|link|iframe|a)\b", page)
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"url\(|@import", page)


def test_page_is_self_contained_and_complete(run, monkeypatch, capsys):
    train = f"--train_csv={run.parent / 'train.csv'}"
    code, printed, _ = _command(monkeypatch, capsys, f"--runs={run}", train, f"--data_dir={run.parent / 'shards'}")
    assert code == 0
    assert str(run / "report.html") in printed
    page = (run / "report.html").read_text()
    _require_self_contained(page)
    assert len(page) < 1_500_000
    evaluation = report.evaluate(report.read_run(run).oof, make_table(), "run")
    assert f'<p class="value">{evaluation.auc.value:.3f}</p>' in page
    assert f"<dd>{IMAGES}</dd>" in page
    assert "No patient has images in more than one fold" in page
    assert page.count('class="absent"') == 0
    for words in ("No medical device", "Discrimination", "What the model saw", "Folds and learning", "CC BY-NC 4.0",
                  "https://doi.org/10.34970/2020-ds01", "Shortcuts in the data", "train.learning_rate"):  # fmt: skip
        assert words in page


def test_same_bytes_from_the_same_input(run):
    table, first = make_table(), report.read_run(run)
    pictures = {"ISIC_0000": make_picture("red")}
    assert report.build_report([first], table, pictures) == report.build_report([report.read_run(run)], table, pictures)


def test_text_from_outside_is_escaped(run):
    evil = "<script>alert('x')</script>\""
    table = make_table()
    table["anatom_site_general_challenge"] = evil
    (run / "config.json").write_text(json.dumps(config.to_json(config.Config(name=evil))))
    page = report.build_report([report.read_run(run)], table)
    _require_self_contained(page)
    assert "&lt;script&gt;" in page
    assert "--data_dir=&lt;here&gt;" in page


def test_a_run_on_all_images_has_no_headline_number(tmp_path):
    folder = write_run(tmp_path / "run", make_table(), ("all",))
    page = report.build_report([report.read_run(folder)], make_table())
    assert "No held-out images" in page
    assert 'class="value"' not in page
    assert "Folds and learning" in page
    assert "Discrimination" not in page


def test_leaking_folds_are_told(run):
    oof = report.read_run(run).oof
    Predictions(oof.image_name, oof.probability, oof.target, np.arange(IMAGES) % 7).write(run / "oof.csv")
    page = report.build_report([report.read_run(run)], make_table())
    assert f"{PATIENTS} patients have images in more than one fold" in page


def test_runs_side_by_side_and_blend(run, monkeypatch, capsys):
    other = write_run(run.parent / "other", make_table(), name="second", seed=2)
    train, out = f"--train_csv={run.parent / 'train.csv'}", run.parent / "blend"
    monkeypatch.setattr("sys.argv", ["melanoma-tf", "blend", f"--members={run},{other}", train, f"--out={out}",
                                     "--method=mean"])  # fmt: skip
    assert __main__.main() == 0
    assert _command(monkeypatch, capsys, f"--runs={out},{other}", train)[0] == 0
    page = (out / "report.html").read_text()
    for words in ("Runs side by side", "Members", "blend (mean)", "second", "0.500"):
        assert words in page
    assert "without --data_dir" in page


def test_one_class_and_unreadable_pictures_do_not_stop_it(run):
    table = make_table()
    broken = {name: b"no image" for name in table["image_name"]}
    assert "not readable" in report.build_report([report.read_run(run)], table, broken)
    oof = report.read_run(run).oof
    benign = table["target"].to_numpy() == 0
    few = Predictions(oof.image_name[benign], oof.probability[benign], oof.target[benign], oof.fold[benign])
    few.write(run / "oof.csv")
    assert "are of one class" in report.build_report([report.read_run(run)], table)


def test_curves_equal_sklearn():
    generator = np.random.default_rng(2)
    target = (generator.random(300) < 0.2).astype(int)
    score = np.round(generator.normal(target), 1)
    curves = statistics.curves(target, score)
    rate, sensitivity, _ = roc_curve(target, score, drop_intermediate=False)
    np.testing.assert_allclose(curves.false_positive_rate, rate)
    np.testing.assert_allclose(curves.sensitivity, sensitivity)
    assert curves.average_precision == pytest.approx(average_precision_score(target, score))


def test_band_encloses_the_curve(run):
    evaluation = report.evaluate(report.read_run(run).oof, make_table(), "run")
    band = statistics.roc_band(evaluation, repeats=100)
    curves = statistics.curves(evaluation.target, evaluation.score)
    sensitivity = np.interp(statistics.GRID, curves.false_positive_rate, curves.sensitivity)
    inside = (band[0] <= sensitivity + 1e-9) & (sensitivity <= band[1] + 1e-9)
    assert inside.mean() > 0.95
    assert band[1].mean() - band[0].mean() > 0.02


def test_shortcuts_are_found_where_there_are_some():
    table = make_table()
    table["patient_id"] = np.where(table["target"] == 1, "many", "p" + table.index.astype(str))
    score = np.random.default_rng(0).random(IMAGES)
    evaluation = report.evaluate(Predictions(table["image_name"], score), table, "run")
    name, auc = statistics.shortcuts(evaluation)[0]
    assert "more images, more melanoma" in name
    assert auc.value == 1.0


def test_examples_are_the_extremes_and_of_distinct_patients():
    table = make_table()
    score = np.linspace(0, 1, IMAGES)
    evaluation = report.evaluate(Predictions(table["image_name"], score), table, "run")
    highest, lowest, alarms = report.choose_examples(evaluation)
    melanoma = np.flatnonzero(table["target"] == 1)
    assert (highest.rows[0], lowest.rows[0]) == (melanoma[-1], melanoma[0])
    assert alarms.rows[0] == np.flatnonzero(table["target"] == 0)[-1]
    for examples in (highest, lowest, alarms):
        assert len(set(evaluation.patients[examples.rows])) == len(examples.rows) == 6


def _damage(run, what):
    if what == "no run":
        (run / "run.json").unlink()
    elif what == "unfinished":
        (run / "oof.csv").unlink()
    elif what == "fold":
        (run / "fold_2" / "history.csv").unlink()
    elif what == "json":
        (run / "run.json").write_text("{")
    elif what == "json kind":
        (run / "config.json").write_text("[]")
    elif what == "fold names":
        (run / "run.json").write_text('{"fold_names": 3}')
    elif what == "history":
        (run / "fold_1" / "history.csv").write_text("epoch,loss,val_auc\n1,?,0.5\n")
    elif what == "target":
        oof = report.read_run(run).oof
        Predictions(oof.image_name, oof.probability, 1 - oof.target, oof.fold).write(run / "oof.csv")
    elif what == "table":
        make_table().iloc[1:].to_csv(run.parent / "train.csv", index=False)


@pytest.mark.parametrize(
    ("what", "arguments", "words"),
    [
        ("no run", [], "is no run folder"),
        ("unfinished", [], "is not finished: no oof.csv"),
        ("fold", [], "is not finished: no fold_2/history.csv"),
        ("json", [], "run.json is damaged"),
        ("target", [], "target of ISIC_0000 is not that of the table"),
        ("table", [], "ISIC_0000 is not in the table"),
        ("", ["--runs=absent"], "no run folder at absent"),
        ("json kind", [], "config.json is damaged: it holds no JSON object"),
        ("fold names", [], "names no folds"),
        ("history", [], "history.csv is damaged: epoch and loss must be numbers"),
        ("", ["--grad_cam"], "--grad_cam needs --data_dir"),
        ("", ["--table=train.csv"], "give one of them"),
        ("", ["--data_dir=absent"], "no such folder"),
        ("", ["--train_csv=absent.csv"], "no table at absent.csv"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(run, monkeypatch, capsys, what, arguments, words):
    monkeypatch.chdir(run.parent)
    _damage(run, what)
    out = run.parent / "made" / "report.html"
    given = ("--runs=run", "--train_csv=train.csv", *arguments, f"--out={out}")
    code, printed, complaint = _command(monkeypatch, capsys, *given)
    assert (code, printed, complaint.count("\n")) == (2, "", 1)
    assert words in complaint
    assert not out.parent.exists()


def test_an_existing_page_is_kept_without_overwrite(run, monkeypatch, capsys):
    out = run.parent / "mine.html"
    out.write_text("mine")
    arguments = (f"--runs={run}", f"--train_csv={run.parent / 'train.csv'}", f"--out={out}")
    assert _command(monkeypatch, capsys, *arguments)[0] == 2
    assert out.read_text() == "mine"
    assert _command(monkeypatch, capsys, *arguments, "--overwrite")[0] == 0
    assert out.read_text() != "mine"
