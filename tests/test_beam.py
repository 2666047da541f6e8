"""Conversion on Apache Beam: the bytes of the local conversion, whatever runs twice, fails, is killed or far away."""

import errno
import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from melanoma_tf import errors, files
from tfrecord_tools import __main__ as program
from tfrecord_tools import beam, folders, manifest, records, staging
from tfrecord_tools import convert as local
from tfrecord_tools import job as jobs
from tfrecord_tools.convert import convert
from tfrecord_tools.settings import Settings

from .conftest import jpeg, lesion, make_table

ROOT = Path(__file__).parent.parent
COUNT, PATIENTS = 30, 7
SETTINGS = Settings(size=24, shards=4)
REJECTED = {"ISIC_0000003": "not_an_image", "ISIC_0000004": "missing", "ISIC_0000005": "truncated",
            "ISIC_0000006": "empty", "../ISIC_0000029": "bad_name"}  # fmt: skip
THREADS = ("--direct_num_workers=2", "--direct_running_mode=multi_threading")
PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")


def write_dicom(path, name):
    from melanoma_tf import dicom

    picture = jpeg(lesion(name, 0, 32), subsampling="4:2:2")
    dicom.write_photograph(path, picture, rows=32, columns=32, image_name=name, patient_id="p", sex="male", age=50.0,
                           site="torso")  # fmt: skip


@pytest.fixture(scope="session")
def mixed(tmp_path_factory):
    """`images/` with JPEG, PNG, DICOM and five that cannot be used, and `train.csv` with odd cells; never changed."""
    pytest.importorskip("apache_beam", reason="needs melanoma_tf[beam]")
    pytest.importorskip("pydicom", reason="needs melanoma_tf[dicom]")
    folder = tmp_path_factory.mktemp("mixed")
    table = make_table(COUNT, PATIENTS)
    table["diagnosis"], table["remark"] = ["nevus", "melanoma", "odd"] * 10, "private"
    table["target"] = (table["diagnosis"] == "melanoma").astype(int)
    images = folder / "images"
    images.mkdir()
    for number, name in enumerate(table["image_name"]):
        if number % 5 == 1:
            write_dicom(images / f"{name}.dcm", name)
        elif number % 5 == 2:
            Image.fromarray(lesion(name, 1, 40)).save(images / f"{name}.png")
        else:
            (images / f"{name}.jpg").write_bytes(jpeg(lesion(name, 0, 48)))
    (images / "ISIC_0000003.jpg").write_text("a text")
    (images / "ISIC_0000004.jpg").unlink()
    whole = (images / "ISIC_0000005.jpg").read_bytes()
    (images / "ISIC_0000005.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "ISIC_0000006.dcm").write_bytes(b"")
    (images / "ISIC_0000100.jpg").write_bytes(whole)
    table["age_approx"] = table["age_approx"].astype(object)
    table.loc[8, "age_approx"] = "unborn"
    table.loc[29, "image_name"] = "../ISIC_0000029"
    table.to_csv(folder / "train.csv", index=False)
    return folder


@pytest.fixture
def folder(mixed, tmp_path):
    """A copy that the test may damage."""
    return shutil.copytree(mixed, tmp_path / "copy")


@pytest.fixture(scope="session")
def expected(mixed):
    """Contents of the folder that `convert` makes, by settings."""
    made = {}

    def contents_of(settings=SETTINGS):
        if settings not in made:
            out = mixed / f"out{len(made)}"
            convert(mixed / "images", mixed / "train.csv", out, settings, workers=1)
            made[settings] = contents(out)
        return made[settings]

    return contents_of


def contents(out):
    return {path.name: path.read_bytes() if path.is_file() else None for path in out.iterdir()}


def converted(folder, settings=SETTINGS, *arguments, out="out", **options):
    return beam.convert_with_beam(
        folder / "images", folder / "train.csv", folder / out, settings, pipeline_arguments=arguments, **options
    )


def shard(folder, number=2):
    (found,) = (folder / "out").glob(f"train{number:02}-*.tfrec")
    return found


# Equal bytes


@pytest.mark.parametrize("arguments", [(), THREADS, PROCESSES, ("--direct_runner_bundle_repeat=1",)],
                         ids=["alone", "threads", "processes", "every bundle twice"])  # fmt: skip
def test_shards_table_rejects_notes_and_manifest_are_those_of_convert(folder, expected, arguments):
    summary = converted(folder, SETTINGS, *arguments)
    found = contents(folder / "out")
    assert found == expected()
    assert {"train.rejects.csv", "train.notes.csv", "train.csv", "train.manifest.json"} < set(found)
    assert {reject.image_name: reject.code for reject in summary.rejects} == REJECTED
    assert (summary.images, summary.made, summary.left_out) == (COUNT - len(REJECTED), 4, ("remark",))


@pytest.mark.parametrize("settings", [
    Settings(size=24, shards=3, group_by_patient=True), Settings(size=16, shards=2, dialect="official"),
    Settings(size=0, shards=5, dialect="remade", salt=b"eight or more"), Settings(size=16, shards=40, prefix="test"),
], ids=["grouped", "official", "remade", "one image a shard"])  # fmt: skip
def test_so_they_are_with_other_settings(folder, expected, settings):
    converted(folder, settings)
    assert contents(folder / "out") == expected(settings)


def test_counters_tell_the_runner_what_went_through(folder):
    seen = []
    original = beam._run_pipeline

    def kept(*arguments):
        seen.append(original(*arguments))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beam, "_run_pipeline", kept)
        summary = converted(folder)
    found = {counter.key.metric.name: counter.committed for counter in seen[0].metrics().query()["counters"]
             if counter.key.metric.namespace == "tfrecord_tools"}  # fmt: skip
    assert found == {"images": COUNT, "rejects": len(REJECTED), "bytes": summary.bytes_read}


# Far away


@functools.cache  # Beam looks a file system up among all classes that there are
def shelf_class():
    from apache_beam.io.filesystem import FileMetadata
    from apache_beam.io.localfilesystem import LocalFileSystem

    class Shelf(LocalFileSystem):
        """`shelf://x` is `root`/x: a file system that Beam alone knows, and that renames as HDFS does."""

        root = None

        @classmethod
        def scheme(cls):
            return "shelf"

        def _path(self, url):  # or a path: the methods of the base call each other
            return os.path.join(self.root, url.removeprefix("shelf://"))

        def _list(self, url):
            for file in super()._list(self._path(url)):
                yield FileMetadata(f"shelf://{os.path.relpath(file.path, self.root)}", file.size_in_bytes)

        def metadata(self, url):
            return FileMetadata(url, super().metadata(self._path(url)).size_in_bytes)

        def mkdirs(self, url):
            super().mkdirs(self._path(url))

        def create(self, url, *more, **options):
            return super().create(self._path(url), *more, **options)

        def open(self, url, *more, **options):
            return super().open(self._path(url), *more, **options)

        def exists(self, url):
            return super().exists(self._path(url))

        def rename(self, source_file_names, destination_file_names):
            for source, target in zip(source_file_names, destination_file_names):
                if self.exists(target):
                    raise OSError(f"{target} exists")
                os.rename(self._path(source), self._path(target))

        def delete(self, paths):
            super().delete([self._path(path) for path in paths])

    return Shelf


@pytest.fixture
def shelf(folder, monkeypatch):
    monkeypatch.setattr(shelf_class(), "root", folder)
    return shelf_class()


def converted_afar(**options):
    return beam.convert_with_beam("shelf://images", "shelf://train.csv", "shelf://out", SETTINGS, **options)


def test_images_table_and_shards_may_be_remote(folder, expected, shelf):
    converted_afar()
    assert contents(folder / "out") == expected()
    shard(folder).write_bytes(b"damaged")
    assert converted_afar().made == 1
    assert contents(folder / "out") == expected()


def test_a_remote_image_that_cannot_be_read_is_named_and_tried_again(folder, expected, shelf, monkeypatch):
    original = shelf.open

    def sometimes(self, url, *more, **options):
        if url.endswith("ISIC_0000009.jpg"):
            raise ConnectionError("not now")
        return original(self, url, *more, **options)

    with monkeypatch.context() as patch:
        patch.setattr(shelf, "open", sometimes)
        rejects = converted_afar().rejects
    assert ("ISIC_0000009", "unreadable") in {(reject.image_name, reject.code) for reject in rejects}
    assert converted_afar().made == 1 and contents(folder / "out") == expected()


def test_messages_name_the_remote_files(folder, shelf):
    (folder / "bare.csv").write_text("name\nx\n")
    for images, csv, named in [("shelf://nothing", "shelf://train.csv", "shelf://nothing holds none"),
                               ("shelf://images", "shelf://bare.csv", "shelf://bare.csv has no column 'image_name'"),
                               ("shelf://images", "shelf://gone.csv", "cannot read shelf://gone.csv"),
                               ("nowhere://images", "shelf://train.csv", "cannot list nowhere://images")]:  # fmt: skip
        with pytest.raises(errors.UserError, match=named):
            beam.convert_with_beam(images, csv, "shelf://out", SETTINGS)
    converted_afar()
    with pytest.raises(errors.UserError, match="choose another --out"):
        beam.convert_with_beam("shelf://images", "shelf://out/train.csv", "shelf://out", SETTINGS)
    with pytest.raises(errors.UserError, match="shelf://out holds shards made with size=24, now it is 32"):
        beam.convert_with_beam("shelf://images", "shelf://train.csv", "shelf://out", Settings(size=32, shards=4))


# Failing, and going on


@pytest.fixture
def seen(monkeypatch):
    """Names of the images that were converted."""
    names, original = [], records.make_outcome

    def noted(item, *more):
        names.append(item.row.image_name)
        return original(item, *more)

    monkeypatch.setattr(records, "make_outcome", noted)
    return names


def test_a_full_disk_is_one_line_and_whole_shards_are_kept(folder, expected, monkeypatch, seen):
    from apache_beam.io.localfilesystem import LocalFileSystem

    written, create = [], LocalFileSystem.create

    def full_at_the_third(self, path, *more):
        written.append(path)
        if sum(path.endswith(".tfrec") for path in written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return create(self, path, *more)

    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "create", full_at_the_third)
        with pytest.raises(errors.UserError, match=r"^cannot write .*\.tfrec: No space left on device$"):
            converted(folder)
    assert [path.name for path in (folder / "out").iterdir()] == [".train.entries"]
    seen.clear()
    assert converted(folder).made == 2 and len(seen) < COUNT
    assert contents(folder / "out") == expected()


@pytest.mark.parametrize(("error", "told"), [
    (errors.UserError("cannot write x [while running 'write']"), "cannot write x"),
    (RuntimeError("...\nmelanoma_tf.errors.UserError: cannot write x [while running 'write']\n\n"), "cannot write x"),
    (RuntimeError("Pipeline failed: melanoma_tf.errors.UserError: cannot write x\n  more"), "cannot write x"),
    (ValueError("Unknown environment type: X"), "--beam: Unknown environment type: X"),
    (ValueError("a bug [while running 'convert']"), None), (KeyError("a bug"), None),
])  # fmt: skip
def test_what_runners_raise(error, told):
    found = beam._as_user_error(error)
    assert told == (found and str(found))


class Killed(BaseException):
    """Nothing cleans up after it."""


def killed_at(number, function):
    """Whether the function came to its n-th change of a folder, and died before it or half-way through it."""
    done = 0

    def dying(name, original):
        def change(self, *arguments):
            nonlocal done
            done += 1
            if done == number:
                if name == "write":
                    original(self, arguments[0], [b"half"])
                raise Killed
            return original(self, *arguments)

        return change

    with pytest.MonkeyPatch.context() as patch:
        for name in ("write", "rename", "remove"):
            patch.setattr(folders.Folder, name, dying(name, getattr(folders.Folder, name)))
        try:
            function()
        except Killed:
            return True
    return False


def die(*arguments):
    raise Killed


def stage(folder, monkeypatch, settings=SETTINGS):
    """Leaves a run that ended just before it published anything; the hidden folder."""
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(staging.Staging, "publish", die)
        converted(folder, settings)
    return folder / "out" / ".train.entries"


def restore(folder, state):
    shutil.rmtree(folder / "out")
    shutil.copytree(folder / state, folder / "out")


def shards_of(out):
    return {path.name: path.read_bytes() for path in out.glob("*.tfrec")}


def test_a_kill_anywhere_while_publishing_changes_nothing_about_the_end(folder, monkeypatch, seen):
    """An earlier set is replaced in part: a shard is damaged, an image of another has come, a stray file lies about."""
    converted(folder)
    shard(folder, 1).write_bytes(b"damaged")
    late = folder / "images" / "ISIC_0000004.jpg"
    late.write_bytes((folder / "images" / "ISIC_0000100.jpg").read_bytes())
    (folder / "out" / ".train00.building.77.part").write_bytes(b"stray")
    stage(folder, monkeypatch)
    shutil.copytree(folder / "out", folder / "before")
    seen.clear()
    converted(folder)
    wanted = contents(shutil.copytree(folder / "out", folder / "wanted"))
    kills = 0
    while True:
        restore(folder, "before")
        if not killed_at(kills + 1, lambda: converted(folder)):
            break
        kills += 1
        if (folder / "out" / "train.manifest.json").exists():  # then the set is as it was, or whole
            assert shards_of(folder / "out") in (shards_of(folder / "before"), shards_of(folder / "wanted"))
        converted(folder)
        assert contents(folder / "out") == wanted, f"killed at change {kills}"
    assert contents(folder / "out") == wanted and kills > 10
    assert seen == []  # what was whole at the first kill was never made again
    convert(folder / "images", folder / "train.csv", folder / "local", SETTINGS, workers=1)
    assert contents(folder / "local") == wanted


def test_only_whole_shards_of_these_settings_are_taken_up(folder, expected, monkeypatch, seen):
    hidden = stage(folder, monkeypatch)
    first, second, third, _ = sorted(hidden.glob("*.json"))
    first.write_bytes(first.read_bytes()[:-40])
    data = bytearray(second.with_suffix(".tfrec").read_bytes())
    data[200] ^= 1
    second.with_suffix(".tfrec").write_bytes(data)
    third.write_text(third.read_text().replace(f'"pillow": "{manifest.versions()["pillow"]}"', '"pillow": "1.0"'))
    seen.clear()
    assert converted(folder).made == 3 and contents(folder / "out") == expected()


def test_what_an_attempt_made_of_other_files_is_missed(folder, monkeypatch):
    stage(folder, monkeypatch)
    (folder / "images" / "ISIC_0000010.jpg").write_bytes(jpeg(lesion("ISIC_0000010", 1, 64)))
    job = jobs.plan(folder / "images", folder / "train.csv", SETTINGS)
    with pytest.raises(errors.UserError, match="1 of 4 shards are not in"):
        staging.Staging(job, folders.Folder(str(folder / "out"), beam._read_options(())[1])).find_made()


def test_what_a_run_with_other_settings_staged_is_dropped(folder, expected, monkeypatch):
    stage(folder, monkeypatch, Settings(size=16, shards=4))
    assert converted(folder).made == 4 and contents(folder / "out") == expected()


def test_each_of_the_two_continues_what_the_other_left(folder, expected, monkeypatch, seen):
    images, table, out = folder / "images", folder / "train.csv", folder / "out"
    converted(folder)
    seen.clear()
    assert convert(images, table, out, SETTINGS, workers=1).made == 0 and not seen
    shutil.rmtree(out)
    made = []

    def interrupted(self, number, *more):
        if number == 2:
            raise KeyboardInterrupt
        made.append(number)
        return make_shard(self, number, *more)

    make_shard = local._Conversion._make_shard
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(local._Conversion, "_make_shard", interrupted)
        convert(images, table, out, SETTINGS, workers=1)
    assert made == [0, 1]
    assert converted(folder).made == 2 and contents(out) == expected()


def test_too_many_rejects_leave_nothing_but_what_a_higher_limit_takes_up(folder, expected, seen):
    with pytest.raises(errors.UserError, match="2 images cannot be used, --max_rejects=1"):
        converted(folder, max_rejects=1)
    assert not seen
    with pytest.raises(errors.UserError, match=f"{len(REJECTED)} images cannot be used, --max_rejects=4"):
        converted(folder, max_rejects=4)
    assert [path.name for path in (folder / "out").iterdir()] == [".train.entries"]
    seen.clear()
    assert converted(folder, max_rejects=len(REJECTED)).made == 0
    assert not seen and contents(folder / "out") == expected()


def test_other_settings_and_foreign_shards_are_refused_unless_overwritten(folder, expected):
    converted(folder, Settings(size=16, shards=2))
    (folder / "out" / "train77-1.tfrec").write_bytes(b"precious")
    before = contents(folder / "out")
    cases = (
        (Settings(size=24, shards=2), "size=16, now it is 24"),
        (Settings(size=16, shards=2), "train77-1.tfrec was not"),
    )
    for settings, named in cases:
        with pytest.raises(errors.UserError, match=named):
            converted(folder, settings)
        assert contents(folder / "out") == before
    converted(folder, overwrite=True)
    assert contents(folder / "out") == expected()


def test_two_at_once_are_refused(folder):
    (folder / "out").mkdir()
    with files.locked(folder / "out" / ".train.lock", "ours"):
        with pytest.raises(errors.UserError, match="another tfrecord-tools convert is writing train"):
            converted(folder)


def test_shards_that_cannot_be_seen_from_here_are_missed(folder, monkeypatch):
    monkeypatch.setattr(beam, "stage_shard", lambda *arguments: None)  # as if each worker wrote to a disk of its own
    with pytest.raises(errors.UserError, match=r"4 of 4 shards are not in .* must be a folder that all workers"):
        converted(folder)


def test_a_worker_with_another_decoder_is_refused(folder, monkeypatch):
    versions = manifest.versions() | {"python": "3.99.1"}
    beam._require_versions(tuple(versions.items()))
    with pytest.raises(errors.UserError, match=r"a worker has pillow \S+, the driver 1.0"):
        beam._require_versions(tuple((versions | {"pillow": "1.0"}).items()))


# The command


def command(folder, *more):
    return ["convert_beam", f"--images={folder}/images", f"--csv={folder}/train.csv", f"--out={folder}/out",
            "--size=24", "--shards=4", *more]  # fmt: skip


def test_the_command(folder, expected, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tfrecord-tools", *command(folder, "--json", *(f"--beam={a}" for a in THREADS))])
    assert program.main() == errors.EXIT_REJECTS
    summary = json.loads(capsys.readouterr().out)
    assert summary["images"] == COUNT - len(REJECTED) and contents(folder / "out") == expected()


@pytest.mark.parametrize(("flag", "named"), [
    ("--beam=--runner=Nobody", "Unexpected pipeline runner: Nobody"),
    ("--beam=--direct_num_workers=two", "invalid int value: 'two'"), ("--workers=2", "no flag --workers"),
    ("--max_rejects=-2", "--max_rejects is -2"), ("--out=/tmp/a*b", "/tmp/a*b has a *"), ("--size=5", "--size is 5"),
])  # fmt: skip
def test_bad_arguments_are_named_in_one_line(folder, monkeypatch, capsys, flag, named):
    monkeypatch.setattr(sys, "argv", ["tfrecord-tools", *command(folder, flag)])
    assert program.main() == errors.EXIT_USER
    message = capsys.readouterr().err
    assert named in message and message.count("\n") == 1


def test_without_beam_the_extra_is_named(tmp_path):
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(name, *more):\n"
        "        if name == 'apache_beam': raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent)\n"
        "from tfrecord_tools.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code, *command(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == errors.EXIT_USER and done.stderr.count("\n") == 1
    assert "pip install 'melanoma_tf[beam]'" in done.stderr
