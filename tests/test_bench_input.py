"""The parts of the input are timed on what they say they do, and the verdict follows from the figures."""

import json

import pytest

from melanoma_tf.commands import bench_input
from melanoma_tf.data.shards import list_shards

pytest.importorskip("tensorflow")


def bench(run_command, folder, *more):
    settings = ["--set=data.image_size=16", "--set=train.batch_size=8", "--images=20", "--rounds=1"]
    return run_command("bench_input", f"--data_dir={folder}", *settings, *more)


def test_every_part_is_timed(run_command, competition_original):
    code, out, _ = bench(run_command, competition_original, "--json")
    report = json.loads(out)
    assert code == 0 and (report["images"], report["images_in_all"]) == (24, 48)  # the first of two shards is enough
    assert list(report["images_per_second"]) == ["disk", "records", "decode", "pipeline", "memory cache"]
    assert all(rate > 0 for rate in report["images_per_second"].values())
    assert report["decoded_bytes"] == 48 * 16 * 16 * 3


def test_the_training_step_is_timed_when_asked_for(run_command, competition_original):
    code, out, _ = bench(run_command, competition_original, "--step", "--set=model.backbone=tiny")
    assert code == 0 and "training step" in out and "an epoch of all 48 images" in out
    assert out.splitlines()[-1].startswith("the training step ")


def test_each_stage_does_its_work_on_every_image(competition_original, monkeypatch):
    from melanoma_tf.data import speed

    images, _ = speed.sample_shards(str(competition_original), "train", 48)
    stages = speed.stages(images, 16, 8)
    decoded, read = [], []
    real_decode, real_open = speed.tf.io.decode_jpeg, speed.files.open_read
    monkeypatch.setattr(speed.tf.io, "decode_jpeg", lambda *a, **k: decoded.append(k["ratio"]) or real_decode(*a, **k))
    monkeypatch.setattr(speed.files, "open_read", lambda path: read.append(path) or real_open(path))
    stages["decode"]()
    assert decoded == [2] * 48  # 32 px to 16 px
    stages["disk"]()
    assert sorted(read) == list_shards(competition_original, "train")


RATES = {"disk": 900.0, "records": 800.0, "decode": 100.0, "pipeline": 95.0}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "slowest is decoding: more cores"),
        ({"records": 50.0, "pipeline": 49.0}, "slowest is reading records"),
        ({"disk": 20.0, "pipeline": 19.0}, "slowest is the disk"),
        ({"training step": 38.0}, "the training step is slowest: the input brings 2.5 times what it takes"),
        ({"training step": 190.0}, "the training step waits: the input brings 50% of what it takes; slowest is decod"),
    ],
)
def test_the_verdict(more, said):
    report = {"images": 24, "images_in_all": None, "bytes_per_image": 1000, "image_size": 16, "cores": 2}
    assert bench_input.describe(report | {"images_per_second": RATES | more})[-1].startswith(said)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--images=0", "--images=0: valid is 1 to 100000"),
        ("--prefix=valid", "no valid*.tfrec"),
        ("--set=train.batch_size=64", "train.batch_size is 64 and the first shards hold 24 images"),
    ],
)
def test_what_cannot_be_measured_is_said(run_command, competition_original, argument, said):
    code, _, lines = bench(run_command, competition_original, argument)
    assert code == 2 and said in lines[-1], lines


def test_images_that_do_not_fit_into_memory_are_not_held(competition_original):
    from melanoma_tf.data import speed

    images, _ = speed.sample_shards(str(competition_original), "train", 48)
    assert "memory cache" in speed.stages(images, 64, 8, memory_mb=1)
    assert "memory cache" not in speed.stages(images, 128, 8, memory_mb=1)
