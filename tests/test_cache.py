"""Decoded images held in memory or in a file: the same batches, and no file is believed that is not whole."""

import dataclasses
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from melanoma_tf.config import DataConfig
from melanoma_tf.errors import Interrupted, UserError

from .conftest import SIZE

pytest.importorskip("tensorflow")


@pytest.fixture
def images(competition):
    from melanoma_tf.data.image_set import load_image_set

    return load_image_set(competition, competition / "train.csv", "train", target=True)


def hold(images, folder, size=SIZE, stop_requested=lambda: False, **options):
    from melanoma_tf.data.cache import hold_decoded

    hold_decoded(images, size, DataConfig(**options), folder, stop_requested)
    return images.pixels.get(size)


def fresh(images):
    return dataclasses.replace(images, pixels={})


def batches(images, size=SIZE):
    from melanoma_tf.data.pipeline import eval_dataset, train_dataset

    rows = np.arange(1, 48)
    repeats = np.where(images.target[rows] > 0, 3, 1)
    options = {"image_size": size, "batch_size": 8}
    sets = [
        train_dataset(images, rows, **options, seed=1, epoch=2, start_step=1),
        train_dataset(images, rows, **options, seed=1, epoch=2, repeats=repeats),
        eval_dataset(images, rows, **options),
    ]
    return [batch for one in sets for batch in one.as_numpy_iterator()]


@pytest.mark.parametrize("kind", ["memory", "disk"])
@pytest.mark.parametrize("size", [SIZE, 24])
def test_batches_are_those_without_a_cache(images, tmp_path, kind, size):
    plain, held = batches(images, size), fresh(images)
    assert hold(held, tmp_path, size, cache=kind) is not None
    got = batches(held, size)
    assert len(got) == len(plain)
    for mine, theirs in zip(got, plain):
        assert mine.keys() == theirs.keys()
        for key in mine:
            np.testing.assert_array_equal(mine[key], theirs[key])


def cache_file(folder):
    (path,) = folder.glob("decoded-*.uint8")
    return path


def test_a_file_is_used_again_and_holds_bytes_alone(images, tmp_path):
    pixels = hold(images, tmp_path, cache="disk")
    path = cache_file(tmp_path)
    assert path.stat().st_size == 49 * SIZE * SIZE * 3 == pixels.size  # one more, black, for padding
    assert not pixels[-1].any()
    written = path.stat().st_mtime_ns
    np.testing.assert_array_equal(hold(fresh(images), tmp_path, cache="disk"), pixels)
    assert path.stat().st_mtime_ns == written


def cut(path):
    os.truncate(path, path.stat().st_size - 100)


def flip_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def lose_sidecar(path):
    path.with_suffix(".json").unlink()


def spoil_sidecar(path):
    path.with_suffix(".json").write_text("[]")


@pytest.mark.parametrize("damage", [cut, flip_bit, lose_sidecar, spoil_sidecar])
def test_a_damaged_file_is_made_anew(images, tmp_path, capfd, damage):
    pixels = hold(images, tmp_path, cache="disk").copy()
    damage(cache_file(tmp_path))
    np.testing.assert_array_equal(hold(fresh(images), tmp_path, cache="disk"), pixels)
    assert "it is made anew" in capfd.readouterr().err


def test_the_file_of_other_images_is_not_used(images, competition, tmp_path):
    from melanoma_tf.data.image_set import load_image_set
    from melanoma_tf.data.shards import read_records, write_shard

    hold(images, tmp_path, cache="disk")
    path = sorted(competition.glob("train*.tfrec"))[0]
    records = [data for _, data in read_records(path)]
    write_shard(path, records[::-1])
    turned = load_image_set(competition, competition / "train.csv", "train", target=True)
    pixels = hold(turned, tmp_path, cache="disk")
    np.testing.assert_array_equal(pixels[0], images.pixels[SIZE][len(records) - 1])
    assert len(list(tmp_path.glob("decoded-*.uint8"))) == 2


@pytest.mark.skipif(os.name != "posix", reason="needs a shell's file size limit")
def test_a_disk_that_fills_up_leaves_nothing(images, competition, tmp_path):
    """The limit comes from the system and hits in the middle of writing, as a full disk does."""
    script = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
from melanoma_tf.config import DataConfig
from melanoma_tf.data.cache import hold_decoded
from melanoma_tf.data.image_set import load_image_set
from melanoma_tf.errors import UserError
images = load_image_set({str(competition)!r}, {str(competition / "train.csv")!r}, "train", target=True)
try:
    hold_decoded(images, {SIZE}, DataConfig(cache="disk"), {str(tmp_path / "cache")!r})
except (UserError, OSError) as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("UserError") and str(tmp_path / "cache") in done.stdout, done.stdout
    assert not list((tmp_path / "cache").glob("*.uint8")) and not list((tmp_path / "cache").glob("*.part"))


def test_a_disk_that_is_too_small_is_told_before_anything_is_decoded(images, tmp_path, monkeypatch):
    from melanoma_tf.data import cache

    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match=r"has 0\.0 MB free and the decoded images need 0\.2 MB; set data\.cache_dir"):
        hold(images, tmp_path, cache="disk")
    assert not list(tmp_path.glob("decoded-*.uint8"))
    assert cache.choose(DataConfig(cache_memory_mb=1, cache_dir=str(tmp_path)), 2 << 20, tmp_path) == "none"


def test_what_fits_decides(tmp_path):
    from melanoma_tf.data.cache import choose

    megabyte = 1 << 20
    assert choose(DataConfig(cache_memory_mb=2), 2 * megabyte, tmp_path) == "memory"
    assert choose(DataConfig(cache_memory_mb=2), 2 * megabyte + 1, tmp_path) == "none"
    on_disk = DataConfig(cache_memory_mb=2, cache_dir=str(tmp_path / "not" / "there"))
    assert choose(on_disk, 3 * megabyte, on_disk.cache_dir) == "disk"
    assert choose(DataConfig(cache="none", cache_memory_mb=2), 1, tmp_path) == "none"
    with pytest.raises(UserError, match=r"data\.cache=memory: the decoded images need 3\.1 MB but may take 2\.1 MB"):
        choose(DataConfig(cache="memory", cache_memory_mb=2), 3 * megabyte, tmp_path)


def test_memory_is_half_of_what_the_container_allows(tmp_path, monkeypatch):
    from melanoma_tf.data import cache

    limit = tmp_path / "memory.max"
    monkeypatch.setattr(cache, "CONTAINER_LIMITS", (str(limit),))
    limit.write_text("1000000\n")
    assert cache.memory_budget(DataConfig()) == 500_000
    limit.write_text("max\n")
    assert cache.memory_budget(DataConfig()) > 500_000


def test_a_stop_leaves_no_file(images, tmp_path):
    with pytest.raises(Interrupted):
        hold(images, tmp_path, cache="disk", stop_requested=lambda: True)
    assert not list(tmp_path.glob("decoded-*.uint8")) and not list(tmp_path.glob("*.part"))


def test_a_kill_leaves_nothing_that_is_believed(images, competition, tmp_path):
    script = f"""
import os, signal
from melanoma_tf.config import DataConfig
from melanoma_tf.data.cache import hold_decoded
from melanoma_tf.data.image_set import load_image_set
images = load_image_set({str(competition)!r}, {str(competition / "train.csv")!r}, "train", target=True)
calls = iter(range(9))
stop = lambda: next(calls) == 2 and os.kill(os.getpid(), signal.SIGKILL)
hold_decoded(images, {SIZE}, DataConfig(cache="disk"), {str(tmp_path)!r}, stop)
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert not list(tmp_path.glob("decoded-*.uint8")) and list(tmp_path.glob(".decoded-*.part"))
    hold(images, tmp_path, cache="disk")
    assert not list(tmp_path.glob(".decoded-*.part"))
    np.testing.assert_array_equal(images.pixels[SIZE], hold(fresh(images), tmp_path, cache="memory"))


def test_two_processes_do_not_make_the_same_file(images, tmp_path):
    from melanoma_tf import files
    from melanoma_tf.data.cache import _fingerprint

    name = f"decoded-{SIZE}px-{_fingerprint(images, SIZE)[:16]}.uint8"
    with files.locked(f"{tmp_path / name}.lock", "the first"), pytest.raises(UserError, match="another process is mak"):
        hold(images, tmp_path, cache="disk")
    assert hold(images, tmp_path, cache="disk") is not None


def test_a_folder_far_away_cannot_hold_them(images):
    with pytest.raises(UserError, match=r"gs://bucket/cache cannot hold decoded images; data\.cache_dir must be a loc"):
        hold(images, "unused", cache="disk", cache_dir="gs://bucket/cache")
