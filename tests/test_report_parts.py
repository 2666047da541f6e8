"""Parts of the report: charts, gaps between groups, context, plain files, and records that are damaged."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melanoma_tf import __main__, metrics, report
from melanoma_tf.errors import UserError
from melanoma_tf.predictions import Predictions
from melanoma_tf.report import chart, figures, groups, records
from tests.report_making import IMAGES, context_record, make_table, write_run


@given(st.lists(st.floats(0, 100), min_size=1, max_size=7))
def test_names_are_moved_apart_in_their_order(wanted):
    placed = chart.apart(wanted, 0, 110)
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(np.array(placed)[order]) >= chart.LINE - 1 - 1e-9).all()
    assert max(placed) <= 110 + 1e-9
    if len(wanted) == 1:
        assert placed == wanted


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0, 1], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([0.31, 0.69], ["0.3", "0.4", "0.5", "0.6", "0.7"]),
        ([3, 17], ["0", "5", "10", "15", "20"]),
        ([5, 5], ["5.0000", "5.0002"]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(values, ticks):
    axis = chart.nice_axis("x", np.array(values, float))
    assert [text for _, text in axis.ticks][: len(ticks)] == ticks
    assert axis.low <= min(values) and max(values) <= axis.high


def test_a_line_is_where_its_values_are():
    axis = chart.share_axis("x")
    drawn = chart.Chart("t", axis, axis)
    drawn.line([0, 1, np.nan], [0, 1, 0.5], "s0")
    right, bottom = chart.WIDTH - chart.RIGHT, chart.HEIGHT - chart.BOTTOM
    assert f'd="M{chart.LEFT}.0 {bottom}.0L{right}.0 {chart.TOP}.0"' in drawn.svg()


def test_marks_share_a_scale():
    found = metrics.Interval(0.75, 0.5, 1.0, 10, 5, 10)
    width = figures.MARK_WIDTH
    assert f'd="M3.0 7.0H{width - 3}.0"' in figures.mark(found, 0.5, 1)
    assert f'cx="{width / 2}"' in figures.mark(found, 0.5, 1)


def _evaluation(kind, score_of, patients=None, images=4000, seed=0):
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({
        "image_name": [f"ISIC_{number}" for number in range(images)], "age_approx": np.nan, "sex": None,
        "anatom_site_general_challenge": None, "target": (generator.random(images) < 0.2).astype(int),
    })  # fmt: skip
    table["patient_id"] = np.arange(images).astype(str) if patients is None else patients
    table["sex"] = np.where(np.arange(images) % 2, "male", "female")
    noise = generator.normal(size=images)
    score = 1 / (1 + np.exp(-score_of(table["target"].to_numpy(), np.arange(images) % 2 == 1, noise)))
    return report.evaluate(Predictions(table["image_name"], score), table, kind)


def test_gap_of_independent_groups_is_the_difference_of_their_aucs():
    evaluation = _evaluation("gap", lambda target, male, noise: (0.5 + 1.0 * male) * target + noise)
    (gap,) = groups.find_gaps(evaluation, groups.find_groups(evaluation))
    male, female = gap.better.auc, gap.worse.auc
    assert (gap.better.name, gap.worse.name, gap.pairs) == ("male", "female", 1)
    assert gap.value == pytest.approx(male.value - female.value)
    deviation = np.hypot(*(_deviation(auc) for auc in (male, female)))
    assert (gap.high - gap.low) / (2 * 1.959964) == pytest.approx(deviation, rel=0.02)
    assert gap.certain


def _deviation(auc):
    logit = lambda value: np.log(value / (1 - value))  # noqa: E731
    return (logit(auc.high) - logit(auc.low)) / (2 * 1.959964) * auc.value * (1 - auc.value)


def test_gap_of_patients_with_images_in_both_groups_agrees_with_the_bootstrap():
    patients = (np.arange(4000) // 8).astype(str)
    luck = np.repeat(np.random.default_rng(9).normal(size=500), 8)
    evaluation = _evaluation("gap", lambda target, male, noise: target + noise + luck, patients)
    (gap,) = groups.find_gaps(evaluation, groups.find_groups(evaluation))
    generator, rows = np.random.default_rng(1), np.arange(4000).reshape(500, 8)
    drawn = []
    for _ in range(400):
        taken = rows[generator.integers(0, 500, 500)].ravel()
        target, score, male = evaluation.target[taken], evaluation.score[taken], taken % 2 == 1
        drawn.append(metrics.roc_auc(target[male], score[male]) - metrics.roc_auc(target[~male], score[~male]))
    assert (gap.high - gap.low) / (2 * 1.959964) == pytest.approx(np.std(drawn), rel=0.12)


def test_gaps_of_nothing_are_rarely_certain():
    certain = [
        groups.find_gaps(evaluation, groups.find_groups(evaluation))[0].certain
        for evaluation in (_evaluation("gap", lambda t, male, noise: t + noise, images=600, seed=k) for k in range(100))
    ]
    assert sum(certain) <= 12  # 5 of 100 are expected, more than 12 with a probability of 0.15 %


def test_context_section_tells_before_after_and_the_warning(tmp_path):
    table = make_table()
    folder = write_run(tmp_path / "context", table)
    (folder / "run.json").unlink()
    record = context_record(table)
    (folder / "context.json").write_text(json.dumps(record))
    page = report.build_report([report.read_run(folder)], table)
    difference = record["difference"]
    for words in ("Scores in patient context", "Before: the score of the image", "Warning: ", "alone 0.72"):
        assert words in page
    assert f"{difference['value']:+.4f} [{difference['low']:+.4f}," in page
    assert f"{record['auc']['context']['value']:.3f}" in page
    assert ">nan<" not in page


def _run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["melanoma-tf", "report", *map(str, arguments)])
    return __main__.main(), *capsys.readouterr()


def test_runs_without_a_flag_and_the_table_of_the_run(tmp_path, monkeypatch, capsys):
    table = make_table()
    table.to_csv(tmp_path / "train.csv", index=False)
    write_run(tmp_path / "a", table), write_run(tmp_path / "b", table, seed=5)
    monkeypatch.chdir(tmp_path)
    code, _, complaint = _run(monkeypatch, capsys, "a", "b", "--out=page.html")
    assert (code, complaint) == (0, "")
    page = (tmp_path / "page.html").read_text()
    assert "tiny (a)" in page and "tiny (b)" in page
    assert "melanoma-tf report a b</pre>" in page
    assert _run(monkeypatch, capsys, "--runs=a", "b", "--out=two.html")[0] == 0
    (tmp_path / "train.csv").unlink()
    code, _, complaint = _run(monkeypatch, capsys, "a", "--out=three.html")
    assert code == 2 and "the table of a, train.csv, is not there; give --train_csv" in complaint


def test_a_plain_file_is_reported_on(tmp_path, monkeypatch, capsys):
    table = make_table()
    table.to_csv(tmp_path / "train.csv", index=False)
    score = np.random.default_rng(0).random(IMAGES)
    pd.DataFrame({"image": table["image_name"] + ".jpg", "score": score}).to_csv(tmp_path / "mine.csv", index=False)
    given = (tmp_path / "mine.csv", f"--train_csv={tmp_path / 'train.csv'}")
    assert _run(monkeypatch, capsys, *given, f"--out={tmp_path / 'page.html'}")[0] == 0
    page = (tmp_path / "page.html").read_text()
    assert f"{tmp_path.name}/mine.csv" in page and f"{metrics.roc_auc(table['target'], score):.3f}" in page
    code, _, complaint = _run(monkeypatch, capsys, *given)
    assert code == 2 and "--out is needed for the file" in complaint
    pd.DataFrame({"image_name": ["ISIC_9"], "target": [0.5]}).to_csv(tmp_path / "mine.csv", index=False)
    code, _, complaint = _run(monkeypatch, capsys, *given, f"--out={tmp_path / 'other.html'}")
    assert (code, complaint.count("\n")) == (2, 1) and "none of its images is in the table" in complaint
    assert not (tmp_path / "other.html").exists()


BROKEN = {
    "auc": (3, "auc must be an object"), "auc.single": (None, "auc.single is missing"),
    "auc.input": ({"value": 1}, "auc.input is no interval"), "difference": (None, "difference is missing"),
    "auc.context.low": ("x", "auc.context must hold numbers"), "matched": ([1], "matched must be an object of numbers"),
    "shortcuts": (7, "shortcuts must be an object or null"), "apparent": ("high", "apparent is no interval"),
    "shortcuts.alone": ({"a": "b"}, "shortcuts.alone must hold numbers"),
}  # fmt: skip


@pytest.mark.parametrize(("place", "value", "words"), [(place, *rest) for place, rest in BROKEN.items()])
def test_damaged_context_is_named(tmp_path, place, value, words):
    record = copy.deepcopy(context_record(make_table()))
    *way, last = place.split(".")
    inner = record
    for step in way:
        inner = inner[step]
    inner[last] = value
    with pytest.raises(UserError, match=f"context.json is damaged: .*{words}"):
        records.check_context(record, tmp_path / "context.json")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({}, "'members' must be a list of objects"),
        ({"members": ["a"]}, "'members' must be a list of objects"),
        ({"members": [{"path": "a", "weight": "much"}]}, "weight must be a number"),
        ({"members": [{"path": "a", "auc": 0.9}]}, "auc is no interval"),
        ({"members": [{"path": "a"}], "context": []}, "auc must be an object"),
    ],
)
def test_damaged_blend_is_named(tmp_path, record, words):
    (tmp_path / "blend.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=f"blend.json is damaged: .*{words}"):
        report.read_run(tmp_path)


def test_benign_images_of_one_patient_make_a_page_too(tmp_path, monkeypatch, capsys):
    table = make_table()
    target = table["target"].to_numpy()
    table["patient_id"] = np.where(target == 1, [f"IP_{number}" for number in range(IMAGES)], "IP_one")
    table.to_csv(tmp_path / "train.csv", index=False)
    scores = np.random.default_rng(0).random(IMAGES)
    Predictions(table["image_name"].to_numpy(object), scores, target).write(tmp_path / "oof.csv")
    page = tmp_path / "report.html"
    _run(monkeypatch, capsys, str(tmp_path / "oof.csv"), f"--train_csv={tmp_path / 'train.csv'}", f"--out={page}")
    assert "Number of images of the patient" in page.read_text()
    assert "Sex, age and site alone" not in page.read_text()
