"""Where the images come from: folders, zips, lists, and what is in them besides photographs."""

import json
import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from melanoma_tf import errors, files
from tfrecord_tools import records, sources
from tfrecord_tools.convert import convert
from tfrecord_tools.settings import Settings

from .conftest import jpeg, lesion

ROOT = Path(__file__).parent.parent
NAMES = [f"ISIC_{number:07d}" for number in range(12)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "jpeg").mkdir()
    for name in NAMES:
        (tmp_path / "jpeg" / f"{name}.jpg").write_bytes(jpeg(lesion(name, 0, 24)))
    pd.DataFrame({"image_name": NAMES, "target": [0, 1] * 6}).to_csv(tmp_path / "train.csv", index=False)
    return tmp_path


def converted(folder, images="jpeg", out="out", workers=1):
    return convert(folder / images, folder / "train.csv", folder / out, Settings(16, shards=2), workers=workers)


def contents(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_folder_zip_and_list_give_the_same_bytes(folder):
    with zipfile.ZipFile(folder / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("train")
        for name in reversed(NAMES):
            archive.write(folder / "jpeg" / f"{name}.jpg", f"train/{name}.jpg")
    lines = [
        f"jpeg/{name}.jpg" if number % 2 else str(folder / f"jpeg/{name}.jpg") for number, name in enumerate(NAMES)
    ]
    (folder / "list.txt").write_text("\n".join(lines) + "\n\n")
    for images in ("jpeg", "images.zip", "list.txt"):
        converted(folder, images, f"of_{images}", workers=2)
    assert contents(folder / "of_jpeg") == contents(folder / "of_images.zip") == contents(folder / "of_list.txt")


def codes(folder, images="jpeg"):
    return {reject.image_name: reject.code for reject in converted(folder, images).rejects}


def test_what_is_no_plain_file_is_named(folder):
    for name in NAMES[:5]:
        (folder / "jpeg" / f"{name}.jpg").unlink()
    (folder / "jpeg" / f"{NAMES[0]}.jpg").mkdir()
    os.mkfifo(folder / "jpeg" / f"{NAMES[1]}.jpg")
    (folder / "jpeg" / f"{NAMES[2]}.jpg").symlink_to(f"{NAMES[2]}.jpg")
    (folder / "jpeg" / f"{NAMES[3]}.jpg").symlink_to("/dev/zero")
    (folder / "jpeg" / f"{NAMES[4]}.JPG".replace("ISIC", "isic")).write_bytes(b"of another name: case counts")
    assert codes(folder) == dict(zip(NAMES, ["not_a_file", "not_a_file", "unreadable", "not_a_file", "missing"]))


def test_no_permission_is_named(folder):
    """In a process that gives up being root, as root may read everything."""
    (folder / "jpeg" / f"{NAMES[3]}.jpg").chmod(0)
    folder.chmod(0o755)
    code = (
        "import os, sys\n"
        "from melanoma_tf.errors import RejectError\n"
        "from tfrecord_tools import sources\n"
        "os.chdir(sys.argv[1]); os.geteuid() or os.setuid(65534)\n"
        "found, _ = sources.find_sources('jpeg', [sys.argv[2]])\n"
        "try: sources.read_source(found[0])\n"
        "except RejectError as error: print(error.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, folder, NAMES[3]], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "unreadable", done.stderr


def test_zip_members_that_cannot_be_read_are_named(folder, monkeypatch):
    path = folder / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in NAMES[:3]:
            archive.write(folder / "jpeg" / f"{name}.jpg", f"{name}.jpg")
        archive.writestr(f"{NAMES[3]}.jpg", bytes(200_000), zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    data[data.find(b"\xff\xda") + 20] ^= 1  # in the first member: its CRC fails
    path.write_bytes(data)
    monkeypatch.setattr(sources, "MAX_SOURCE_BYTES", 100_000)
    found = codes(folder, "images.zip")
    assert [found.get(name) for name in NAMES[:5]] == ["unreadable", None, None, "too_large", "missing"]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a\\b", "a/../../b"])
def test_a_name_never_becomes_a_path(folder, name):
    (folder / "x.jpg").write_bytes((folder / "jpeg" / f"{NAMES[0]}.jpg").read_bytes())
    pd.DataFrame({"image_name": [*NAMES, name], "target": 0}).to_csv(folder / "train.csv", index=False)
    assert codes(folder) == {name: "bad_name"}


@pytest.mark.parametrize(
    ("content", "named"), [(b"\xff\xfe\x00binary", "no folder, no zip"), (b"", "none of the table's")]
)
def test_images_that_are_no_list_are_refused(folder, content, named):
    (folder / "list.txt").write_bytes(content)
    with pytest.raises(errors.UserError, match=named):
        converted(folder, "list.txt")


def abort_over_one(chunk):
    """`records.make_outcomes`, with a decoder that takes its process with it over one image."""
    if NAMES[5] in (item.row.image_name for item in chunk.items):
        os.abort()
    return _make_outcomes(chunk)


_make_outcomes = records.make_outcomes


def test_a_decoder_that_kills_its_process_costs_one_image(folder, monkeypatch):
    monkeypatch.setattr(records, "make_outcomes", abort_over_one)
    summary = converted(folder, workers=2)
    assert [(reject.image_name, reject.code) for reject in summary.rejects] == [(NAMES[5], "decoder_crashed")]
    assert summary.images == len(NAMES) - 1


def command(folder, *more):
    arguments = [f"--images={folder}/jpeg", f"--csv={folder}/train.csv", f"--out={folder}/out", "--size=1024"]
    return [sys.executable, "-m", "tfrecord_tools", "convert", *arguments, "--shards=2", "--workers=1", *more]


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(folder):
    done = subprocess.run(
        command(folder), cwd=ROOT, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)),
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "cannot write" in done.stderr
    assert [path.name for path in (folder / "out").iterdir()] == [".train.progress.json"]
    assert subprocess.run(command(folder), cwd=ROOT, capture_output=True).returncode == 0
    assert len(list((folder / "out").glob("*.tfrec"))) == 2


def test_a_second_converter_on_the_folder_is_refused(folder):
    (folder / "out").mkdir()
    with files.locked(folder / "out" / ".train.lock", "ours"):
        done = subprocess.run(command(folder), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "another tfrecord-tools convert is writing train" in done.stderr
    assert not list((folder / "out").iterdir())


def test_the_summary_as_json(folder):
    (folder / "jpeg" / f"{NAMES[2]}.jpg").write_bytes(b"")
    done = subprocess.run(command(folder, "--json"), cwd=ROOT, capture_output=True, text=True)
    summary = json.loads(done.stdout)
    assert done.returncode == errors.EXIT_REJECTS and done.stderr == ""
    assert summary["images"] == 11 and summary["rejects"] == {"empty": 1} and summary["notes"] == {}
    assert summary["shards"] == ["train00-5.tfrec", "train01-6.tfrec"] and summary["bytes_read"] > 0


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_members_that_unpack_at_once_are_not_unpacked(folder, method):
    path = folder / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(NAMES):
            archive.write(folder / "jpeg" / f"{name}.jpg", f"{name}.jpg", zipfile.ZIP_STORED if number else method)
    assert codes(folder, "images.zip") == {NAMES[0]: "unreadable"}


def test_two_files_for_one_image_are_refused(folder):
    path = folder / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in NAMES:
            archive.write(folder / "jpeg" / f"{name}.jpg", f"train/{name}.jpg")
        archive.write(folder / "jpeg" / f"{NAMES[1]}.jpg", f"test/{NAMES[0]}.jpg")
        archive.writestr("test/unasked.jpg", b"1")
        archive.writestr("train/unasked.jpg", b"2")
    with pytest.raises(errors.UserError, match=rf"holds \w+/{NAMES[0]}\.jpg and \w+/{NAMES[0]}\.jpg, two files"):
        converted(folder, "images.zip")


def test_locks_say_what_is_wrong_with_them(tmp_path, monkeypatch):
    import errno
    import fcntl

    from melanoma_tf import files

    def refused(number):
        def flock(*_):
            raise OSError(number, "said")

        return flock

    lock = tmp_path / "lock"
    with files.locked(lock, "another"), pytest.raises(errors.UserError, match="another"), files.locked(lock, "another"):
        pass
    assert not lock.exists()
    monkeypatch.setattr(fcntl, "flock", refused(errno.ENOLCK))
    with files.locked(lock, "another"):  # a file system without locks
        assert lock.exists()
    monkeypatch.setattr(fcntl, "flock", refused(errno.EIO))
    with pytest.raises(errors.UserError, match=r"cannot lock .*: said"), files.locked(lock, "another"):
        pass
    lock.unlink()
    lock.mkdir()
    with pytest.raises(errors.UserError, match=r"cannot write .*lock"), files.locked(lock, "another"):
        pass
