"""Bad input of training, through the command line: one line that names the thing, exit 2, nothing half-written."""

import os
import resource
import subprocess
import sys

import pandas as pd
import pytest

from .conftest import settings, write_shards

pytest.importorskip("tensorflow")


def edit(name, change):
    """Damages a table of the competition."""

    def damage(folder):
        table = pd.read_csv(folder / name)
        change(table).to_csv(folder / name, index=False)

    return damage


def rename_first(folder, old, new):
    path = next(folder.glob(old))
    path.rename(path.with_name(new))


def cut_first(folder, keep):
    path = sorted(folder.glob("train*.tfrec"))[0]
    path.write_bytes(path.read_bytes()[:keep])


def flip_bit(folder):
    path = sorted(folder.glob("train*.tfrec"))[1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def only_test_shards(folder):
    for path in folder.glob("train*.tfrec"):
        path.unlink()


def disguise_test_shards(folder):
    only_test_shards(folder)
    for path in list(folder.glob("test*.tfrec")):
        path.rename(path.with_name(path.name.replace("test", "train")))


def empty_folder(folder):
    for path in folder.iterdir():
        if path.suffix == ".tfrec":
            path.unlink()


def one_class_fold(folder):
    table, folds = (pd.read_csv(folder / name) for name in ("train.csv", "folds.csv"))
    folds["fold"] = table["patient_id"].map(dict(table.groupby("patient_id")["target"].max())).to_numpy()
    benign_patient = folds["fold"] == 0
    folds.loc[~benign_patient, "fold"] = 1
    folds.to_csv(folder / "folds.csv", index=False)
    (folder / "folds.json").unlink()


CASES = {
    "no folder": ([], None, "no such folder", "--data_dir=/no/such/folder"),
    "no table": ([], lambda f: (f / "train.csv").unlink(), "no table at"),
    "no shards": ([], empty_folder, "no train*.tfrec in"),
    "only test shards": ([], only_test_shards, "it holds test00-"),
    "test shards as train": ([], disguise_test_shards, "is in the shards of"),
    "no target column": ([], edit("train.csv", lambda t: t.drop(columns="target")), "has no column 'target'"),
    "no name column": ([], edit("train.csv", lambda t: t.drop(columns="image_name")), "has no column 'image_name'"),
    "target of 2": ([], edit("train.csv", lambda t: t.replace({"target": {1: 2}})), "it must be 0 or 1"),
    "doubled name": ([], edit("train.csv", lambda t: pd.concat([t, t[:1]])), "ISIC_0000000 more than once"),
    "table lacks an image": ([], edit("train.csv", lambda t: t[1:]), "ISIC_0000000 is in the shards of"),
    "shards lack an image": (
        [], edit("train.csv", lambda t: pd.concat([t, t[:1].replace("ISIC_0000000", "ISIC_9")])),
        "ISIC_9 is in",
    ),
    "count in the name": ([], lambda f: rename_first(f, "train00*", "train00-99.tfrec"), "its name promises 99"),
    "cut shard": ([], lambda f: cut_first(f, 5000), "is cut"),
    "empty shard": ([], lambda f: cut_first(f, 0), "holds 0 records but its name promises 24"),
    "flipped bit": ([], flip_bit, "is damaged"),
    "not a shard": ([], lambda f: (f / "train02-1.tfrec").write_text("hello, this is no shard at all"), "damaged"),
    "no folds": ([], lambda f: (f / "folds.csv").unlink(), "folds.csv"),
    "folds of other data": ([], edit("folds.csv", lambda t: t.replace("ISIC_0000000", "ISIC_9")), "folds.csv"),
    "one-class fold": ([], one_class_fold, "an AUC needs both classes"),
    "unknown fold": (["--fold=7"], None, "no fold '7'; valid: 0, 1 or all"),
    "unknown recipe": (["--config=dmeo"], None, "did you mean 'demo'"),
    "unknown setting": (["--set=train.epoch=3"], None, "did you mean 'train.epochs'"),
    "setting of another type": (["--set=train.epochs=many"], None, "expected int"),
    "setting out of range": (["--set=augment.rotate=1.5"], None, "augment.rotate is 1.5; valid is 0 to 1"),
    "setting without a value": (["--set=train.epochs"], None, "expected section.key=value"),
    "unknown backbone": (["--set=model.backbone=tyny"], None, "did you mean 'tiny'"),
    "no weights": (["--set=model.weights=/no/such.h5"], None, "no file /no/such.h5"),
    "weights of another topology": (["--set=model.weights={}/other.npz"], None, "weights of another topology"),
    "batch too large": (["--set=train.batch_size=64"], None, "must be at most 24"),
    "work folder below a file": (["--work_dir={}/train.csv/run"], None, "cannot create the folder"),
    "unknown strategy": (["--strategy=mirored"], None, "did you mean 'mirrored'"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_one_line_exit_2_and_nothing_written(case, competition, run_command, tmp_path):
    import numpy as np

    more, damage, message, *replaced = CASES[case]
    np.savez(competition / "other.npz", **{"tiny_conv0/0": np.zeros((3, 3, 3, 5), np.float32)})
    if damage:
        damage(competition)
    run = tmp_path / "run"
    arguments = ["train", "--config=demo", f"--data_dir={competition}", f"--work_dir={run}", *settings()]
    code, _, err = run_command(*arguments, *replaced, *(text.format(competition) for text in more))
    assert code == 2, err
    assert len(err) == 1 and err[0].startswith("melanoma-tf train: ") and message in err[0], err
    assert not run.exists()


def test_bom_and_crlf_are_taken(competition, run_command, tmp_path):
    path = competition / "train.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    arguments = ["train", "--config=demo", f"--data_dir={competition}", f"--work_dir={tmp_path / 'run'}"]
    code, _, err = run_command(*arguments, *settings("train.epochs=1"), "--fold=0")
    assert code == 0, err


def test_another_run_is_not_overwritten(competition, run_command, tmp_path):
    arguments = ["train", "--config=demo", f"--data_dir={competition}", f"--work_dir={tmp_path / 'run'}", "--fold=0"]
    assert run_command(*arguments, *settings("train.epochs=1"))[0] == 0
    before = (tmp_path / "run" / "config.json").read_bytes()
    code, _, err = run_command(*arguments, *settings("train.epochs=1", "seed=3"))
    assert code == 2 and "is a run with seed=2020, not 3" in err[0] and len(err) == 1
    table = pd.read_csv(competition / "train.csv")
    table["target"] = table["target"].to_numpy()[::-1]
    table.to_csv(competition / "train.csv", index=False)
    code, _, err = run_command(*arguments, *settings("train.epochs=1"))
    assert code == 2 and len(err) == 1, err
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    table["target"] = table["target"].to_numpy()[::-1]
    table.assign(age_approx=33.0).to_csv(competition / "train.csv", index=False)
    code, _, err = run_command(*arguments, *settings("train.epochs=1"))
    assert code == 2 and "is a run on other pictures or metadata" in err[0]
    table.to_csv(competition / "train.csv", index=False)
    assert run_command(*arguments, *settings("train.epochs=1", "predict.batch_size=4"))[0] == 0
    for path in competition.glob("train*.tfrec"):  # the same names, truths and counts, other pictures
        path.unlink()
    write_shards(competition, "train", table, 1 - table["target"])
    code, _, err = run_command(*arguments, *settings("train.epochs=1"))
    assert code == 2 and "is a run on other pictures or metadata" in err[0], err
    (tmp_path / "run" / "oof.csv").write_text("of the run before")
    (tmp_path / "run" / "test.csv").write_text("of the run before")
    (competition / "test.csv").unlink()
    assert run_command(*arguments[:-1], "--fold=all", *settings("train.epochs=1"), "--overwrite")[0] == 0
    assert not (tmp_path / "run" / "oof.csv").exists() and not (tmp_path / "run" / "test.csv").exists()


@pytest.mark.parametrize("largest_file", [500, 9_000, 60_000])
def test_a_full_disk_while_training_is_one_line(competition, tmp_path, largest_file):
    """The limit on the size of a file stands for the disk: the system refuses the write in the same way."""
    arguments = ["train", "--config=demo", f"--data_dir={competition}", f"--work_dir={tmp_path / 'run'}", "--fold=0"]
    done = subprocess.run(
        [sys.executable, "-m", "melanoma_tf", *arguments, *settings()],
        capture_output=True, text=True, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file)),
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "cannot" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    whole = {"config.json", "run.json", "history.csv", "augmented.png"}
    assert {path.name for path in (tmp_path / "run").glob("**/*.*") if not path.name.startswith("ckpt")} <= whole


def test_a_loss_that_is_no_number_stops_the_run(competition, run_command, tmp_path, monkeypatch):
    from melanoma_tf import losses

    monkeypatch.setitem(losses.LOSSES, "focal", lambda target, logits, _: logits[:, 0] * float("nan"))
    arguments = ["train", "--config=demo", f"--data_dir={competition}", f"--work_dir={tmp_path / 'run'}", "--fold=0"]
    code, _, err = run_command(*arguments, *settings("train.loss=focal"))
    assert code == 2 and "the loss became nan" in err[-1], err
    assert not (tmp_path / "run" / "oof.csv").exists()
