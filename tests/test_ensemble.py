"""Blends: bounded, monotone, independent of the order of members, and aligned by name."""

import json

import numpy as np
import pytest

from melanoma_tf import __main__, ensemble, metrics
from melanoma_tf.errors import UserError
from melanoma_tf.predictions import Predictions, read_predictions

METHODS = sorted(ensemble.BLENDS)


def _members(count=3, images=40, seed=0):
    generator = np.random.default_rng(seed)
    names = np.array([f"image{number:02d}" for number in range(images)], object)
    target = (np.arange(images) % 4 == 0).astype(int)
    members = []
    for _ in range(count):
        order = generator.permutation(images)
        probability = 1 / (1 + np.exp(-generator.normal(2 * target - 2)))
        members.append(Predictions(names[order], probability[order], target[order]))
    return members


@pytest.mark.parametrize("method", METHODS)
def test_every_blend_is_bounded_and_ignores_the_order_of_members(method):
    members = _members()
    blended = ensemble.blend(members, method, [1, 2, 3])
    assert ((blended.probability >= 0) & (blended.probability <= 1)).all()
    turned = ensemble.blend(members[::-1], method, [3, 2, 1]).aligned(blended.image_name)
    np.testing.assert_allclose(turned.probability, blended.probability, rtol=1e-9)
    assert metrics.roc_auc(blended.target, blended.probability) > 0.8


@pytest.mark.parametrize("method", METHODS)
def test_one_member_keeps_its_order(method):
    member = _members(1)[0]
    blended = ensemble.blend([member], method)
    assert blended.probability.argsort().tolist() == member.probability.argsort().tolist()
    if method != "rank":
        np.testing.assert_allclose(blended.probability, member.probability, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_zero_and_one_are_taken(method):
    scores = np.array([[0.0, 1.0, 0.5], [0.0, 1.0, 0.25]])
    blended = ensemble.BLENDS[method](scores, np.array([0.5, 0.5]))
    assert np.isfinite(blended).all()
    assert blended[0] < blended[2] < blended[1]


def test_golden_values():
    scores, weights = np.array([[0.2], [0.8]]), np.array([1.0, 3.0])
    assert ensemble.mean(scores, weights) == pytest.approx((0.2 + 3 * 0.8) / 4)
    assert ensemble.geometric(scores, weights) == pytest.approx((0.2 * 0.8**3) ** (1 / 4))
    assert ensemble.power(scores, weights) == pytest.approx(((0.2**4 + 3 * 0.8**4) / 4) ** (1 / 4))
    odds = (0.2 / 0.8) ** (1 / 4) * (0.8 / 0.2) ** (3 / 4)
    assert ensemble.log_odds(scores, weights) == pytest.approx(odds / (1 + odds))
    ranks = ensemble.rank(np.array([[0.1, 0.9, 0.9, 0.2]]), np.array([1.0]))
    assert ranks.tolist() == [0.5 / 4, 3.0 / 4, 3.0 / 4, 1.5 / 4]


def test_ranks_go_over_the_whole_set_not_over_a_fold():
    first = Predictions(list("abcd"), [0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], [0, 0, 1, 1])
    blended = ensemble.blend([first, first], "rank")
    assert blended.probability.tolist() == [0.5 / 4, 1.5 / 4, 2.5 / 4, 3.5 / 4]
    assert blended.fold.tolist() == [0, 0, 1, 1]


def test_folds_that_differ_are_dropped_and_a_known_target_is_kept():
    first = Predictions(["a", "b"], [0.1, 0.2], None, [0, 1])
    second = Predictions(["b", "a"], [0.1, 0.2], [1, 0], [0, 1])
    blended = ensemble.blend([first, second], "mean")
    assert blended.fold is None
    assert blended.target.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("weights", "words"),
    [([1], "1 weights for 2 members"), ([1, -1], "must be 0 or more"), ([0, 0], "not all 0"), ([1, np.nan], "nan")],
)
def test_bad_weights(weights, words):
    with pytest.raises(UserError, match=words):
        ensemble.blend(_members(2), "mean", weights)


def test_members_must_be_of_the_same_data():
    first = Predictions(["a", "b"], [0.1, 0.2], [0, 1])
    for other, words in (
        (Predictions(["a", "c"], [0.1, 0.2]), "run2: no prediction for b"),
        (Predictions(["a", "b", "c"], [0.1, 0.2, 0.3]), "run2: c is not expected"),
        (Predictions(["a", "b"], [0.1, 0.2], [1, 1]), "target of a differs between run1 and run2"),
    ):
        with pytest.raises(UserError, match=words):
            ensemble.blend([first, other], "mean", sources=["run1", "run2"])
    with pytest.raises(UserError, match="did you mean 'mean'"):
        ensemble.blend([first], "meen")
    with pytest.raises(UserError, match="at least one"):
        ensemble.blend([], "mean")


@pytest.fixture
def runs(tmp_path):
    """Two run folders with out-of-fold and test predictions, and a training table with 10 patients."""
    for number, member in enumerate(_members(2), start=1):
        (tmp_path / f"run{number}").mkdir()
        member.write(tmp_path / f"run{number}" / "oof.csv")
        Predictions(["t1", "t2"], [0.1 * number, 0.5]).write(tmp_path / f"run{number}" / "test.csv")
    rows = [f"{n},p{i % 10},{t}" for i, (n, t) in enumerate(zip(member.image_name, member.target))]
    (tmp_path / "train.csv").write_text("image_name,patient_id,target\n" + "\n".join(rows))
    return tmp_path


def _command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["melanoma-tf", "blend", *map(str, arguments)])
    code = __main__.main()
    return code, *capsys.readouterr()


def test_command(runs, monkeypatch, capsys):
    members = f"--members={runs / 'run1'},{runs / 'run2'}"
    out = runs / "blend"
    arguments = (members, "--weights=1,3", f"--train_csv={runs / 'train.csv'}", f"--out={out}")
    code, printed, _ = _command(monkeypatch, capsys, *arguments)
    assert code == 0
    assert len(printed.splitlines()) == 2 + 1 + 1
    assert printed.count("40, 10 melanoma, 10 patients") == 3
    np.testing.assert_allclose(read_predictions(out / "test.csv").probability, [(0.1 + 3 * 0.2) / 4, 0.5])
    record = json.loads((out / "blend.json").read_text())
    blended = read_predictions(out / "oof.csv")
    assert record["auc"]["value"] == metrics.roc_auc(blended.target, blended.probability)
    assert [member["weight"] for member in record["members"]] == [1 / 4, 3 / 4]
    assert set(record["members"][0]["sha256"]) == {"oof", "test"}
    before = (out / "oof.csv").read_bytes()
    code, _, complaint = _command(monkeypatch, capsys, *arguments, "--method=rank")
    assert (code, complaint.count("\n"), (out / "oof.csv").read_bytes()) == (2, 1, before)
    assert _command(monkeypatch, capsys, *arguments, "--method=rank", "--overwrite")[0] == 0
    assert (out / "oof.csv").read_bytes() != before


def test_a_single_csv_is_a_member_and_missing_kinds_are_left_out(runs, monkeypatch, capsys):
    out = runs / "blend"
    (runs / "run1" / "oof.csv").unlink()
    members = f"--members={runs / 'run1'},{runs / 'run2' / 'test.csv'}"
    code, printed, _ = _command(monkeypatch, capsys, members, f"--out={out}")
    assert code == 0
    assert "no truth known" in printed
    assert sorted(path.name for path in out.iterdir()) == ["blend.json", "test.csv"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--members=absent"], "no table at absent"),
        (["--members=run1", "--method=median"], "no blend 'median'"),
        (["--members=run1,run2", "--weights=1"], "1 weights for 2 members"),
        (["--members=run1,run2", "--weights=1,x"], "must be numbers"),
        (["--members=run1/oof.csv,run2/test.csv"], "nothing in common"),
        (["--members=empty"], "neither oof.csv nor test.csv"),
        (["--members=run1", "--train_csv=other.csv"], "is not in the table"),
        ([], "members"),
    ],
)
def test_command_with_bad_input_writes_nothing(runs, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(runs)
    (runs / "empty").mkdir()
    (runs / "other.csv").write_text("image_name,target\nx,0\n")
    code, printed, complaint = _command(monkeypatch, capsys, *arguments, "--out=blend")
    assert (code, printed, complaint.count("\n")) == (2, "", 1)
    assert words in complaint
    assert not (runs / "blend").exists()
