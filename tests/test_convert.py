"""Conversion: pixels against Pillow's full decode, rejects, resuming, and the promise of equal bytes."""

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from melanoma_tf import errors, files, schema
from melanoma_tf.data import shards
from tfrecord_tools import __main__ as program
from tfrecord_tools import images, manifest, records
from tfrecord_tools.convert import convert
from tfrecord_tools.settings import Settings

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 200, 30), (30, 30, 220), (220, 220, 30)


def smooth_image(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[:height, :width] / max(width, height)
    channels = [np.sin(25 * x + 9 * y), np.sin(14 * y - 11 * x + 1), np.sin(19 * (x + y) + 2)]
    return Image.fromarray((127 + 90 * np.stack(channels, axis=-1)).astype(np.uint8))


def corner_image(width: int, height: int) -> Image.Image:
    """Four flat quadrants: red, green above; blue, yellow below."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    image.paste(YELLOW, (width // 2, height // 2, width, height))
    return image


def encoded(image: Image.Image, format: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **({"quality": 95} if format == "JPEG" else {}) | options)
    return buffer.getvalue()


def decoded(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(float)


def rendered(source: bytes, size: int, fit: str = "crop", quality: int = 95) -> np.ndarray:
    return decoded(images.render(source, images.Rendering(size, fit, quality)).jpeg)


def psnr(left: np.ndarray, right: np.ndarray) -> float:
    return 10 * np.log10(255**2 / max(np.mean((left - np.asarray(right, float)) ** 2), 1e-9))


def is_colour(pixel: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel - colour).max() < 12)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty smooth JPEGs in `jpeg/`, and `train.csv`."""
    (tmp_path / "jpeg").mkdir()
    names = [f"ISIC_{number:07}" for number in range(20)]
    for number, name in enumerate(names):
        (tmp_path / "jpeg" / f"{name}.jpg").write_bytes(encoded(smooth_image(90 + number, 70)))
    table = pd.DataFrame({"image_name": names, "age_approx": ["55.0", ""] * 10, "target": [0, 1, 0, 0] * 5})
    table.to_csv(tmp_path / "train.csv", index=False)
    return tmp_path


def run_convert(monkeypatch: pytest.MonkeyPatch, folder: Path, *more: str) -> int:
    arguments = [f"--images={folder}/jpeg", f"--csv={folder}/train.csv", f"--out={folder}/out", "--size=32",
                 "--shards=3", "--workers=1", *more]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["tfrecord-tools", "convert", *arguments])
    return program.main()


def shard_bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.tfrec"))}


def read_all(out: Path, prefix: str = "train") -> dict[str, dict]:
    paths = shards.list_shards(out, prefix)
    found = [schema.decode_record(data) for path in paths for _, data in shards.read_records(path)]
    return {record["image_name"]: record for record in found}


# Pixels


@pytest.mark.parametrize("size", [256, 200, 100, 40])
@pytest.mark.parametrize("fit", images.FITS)
def test_pixels_are_those_of_a_full_decode(size: int, fit: str) -> None:
    source = encoded(smooth_image(901, 603), subsampling="4:2:2")
    full = Image.open(io.BytesIO(source)).convert("RGB")
    box = (149, 0, 752, 603) if fit == "crop" else (0, 0, 901, 603)
    target = (size, round(size * 603 / 901)) if fit == "pad" else (size, size)
    expected = full.resize(target, Image.Resampling.LANCZOS, box=box)
    top = (size - target[1]) // 2
    inner = rendered(source, size, fit)[top : top + target[1]]
    assert psnr(inner, expected) >= 38
    # A picture off by 2 % of its width must not pass.
    assert psnr(inner, np.roll(np.asarray(expected), max(1, size // 50), axis=1)) < 35


def test_crop_keeps_the_centre() -> None:
    source = corner_image(400, 100)
    source.paste((255, 255, 255), (0, 0, 140, 100))  # outside of the central square from 150 to 250
    pixels = rendered(encoded(source), 64)
    assert is_colour(pixels[2, 2], RED) and is_colour(pixels[2, -3], GREEN)
    assert is_colour(pixels[-3, 2], BLUE) and is_colour(pixels[-3, -3], YELLOW)


def test_squash_keeps_every_corner() -> None:
    source = corner_image(400, 100)
    source.paste((255, 255, 255), (0, 0, 40, 100))  # a tenth of the width
    pixels = rendered(encoded(source), 100, "squash")
    assert is_colour(pixels[5, 4], (255, 255, 255)) and is_colour(pixels[5, 16], RED)
    assert is_colour(pixels[-3, -3], YELLOW)


def test_pad_keeps_the_shape_on_black() -> None:
    pixels = rendered(encoded(corner_image(400, 100)), 80, "pad")
    assert pixels.shape == (80, 80, 3)
    assert is_colour(pixels[24, 40], (0, 0, 0)) and is_colour(pixels[55, 40], (0, 0, 0))
    assert is_colour(pixels[34, 4], RED) and is_colour(pixels[45, 75], YELLOW)


def test_small_originals_are_scaled_up() -> None:
    pixels = rendered(encoded(corner_image(20, 16)), 64)
    assert pixels.shape == (64, 64, 3)
    assert is_colour(pixels[4, 4], RED) and is_colour(pixels[-5, -5], YELLOW)


@pytest.mark.parametrize("fit", images.FITS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, fit: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = encoded(corner_image(160, 120), exif=exif)
    upright = {1: (RED, GREEN), 2: (GREEN, RED), 3: (YELLOW, BLUE), 4: (BLUE, YELLOW),
               5: (RED, BLUE), 6: (BLUE, RED), 7: (YELLOW, GREEN), 8: (GREEN, YELLOW)}[orientation]  # fmt: skip
    result = images.render(source, images.Rendering(60, fit))
    pixels = decoded(result.jpeg)
    assert is_colour(pixels[20, 20], upright[0]) and is_colour(pixels[20, 40], upright[1])
    assert result.original_size == ((160, 120) if orientation < 5 else (120, 160))
    assert not Image.open(io.BytesIO(result.jpeg)).getexif()


@pytest.mark.parametrize(("mode", "format"), [("L", "JPEG"), ("CMYK", "JPEG"), ("L", "PNG"), ("RGB", "PNG"),
                                              ("RGBA", "PNG"), ("P", "PNG"), ("LA", "PNG")])  # fmt: skip
def test_every_mode_becomes_rgb(mode: str, format: str) -> None:
    original = corner_image(64, 64).convert(mode)
    jpeg = images.render(encoded(original, format), images.Rendering(64)).jpeg
    assert Image.open(io.BytesIO(jpeg)).mode == "RGB"
    assert psnr(decoded(jpeg), np.asarray(original.convert("RGB"))) > 30


def test_transparent_parts_are_black() -> None:
    source = Image.new("RGBA", (64, 64), (255, 255, 255, 0))
    source.paste((*RED, 255), (32, 0, 64, 64))
    pixels = rendered(encoded(source, "PNG"), 32)
    assert is_colour(pixels[16, 4], (0, 0, 0)) and is_colour(pixels[16, 28], RED)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    source = Image.fromarray(np.full((40, 40), 100 * 256, np.uint16))
    assert is_colour(rendered(encoded(source, "PNG"), 32)[16, 16], (100, 100, 100))


@pytest.mark.parametrize(("quality", "luma"), [(95, (1, 1)), (90, (1, 1)), (89, (2, 2))])
def test_chroma_is_kept_from_quality_90_on(quality: int, luma: tuple[int, int]) -> None:
    jpeg = images.render(encoded(smooth_image(64, 64)), images.Rendering(32, quality=quality)).jpeg
    assert Image.open(io.BytesIO(jpeg)).layer[0][1:3] == luma


# Rejects


def test_every_cut_of_a_jpeg_is_rejected() -> None:
    source = encoded(smooth_image(64, 48), comment=b"an end marker as thumbnails have, \xff\xd9")
    for size in (0, 32):
        for length in [*range(4, len(source), 97), len(source) - 2, len(source) - 1]:
            with pytest.raises(errors.RejectError) as caught:
                images.render(source[:length], images.Rendering(size))
            assert caught.value.code in ("truncated", "undecodable")


def test_a_lacking_end_marker_is_always_noticed() -> None:
    # Pillow alone takes about one in twelve of these, depending on the last bits of the scan.
    for seed in range(60):
        pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        for size in (0, 32):
            with pytest.raises(errors.RejectError, match="truncated"):
                images.render(encoded(Image.fromarray(pixels), quality=90)[:-2], images.Rendering(size))


@pytest.mark.parametrize(("source", "code"), [
    (b"", "empty"), (b"GIF89a" + bytes(200), "not_an_image"), (b"\x89PNG\r\n\x1a\n" + bytes(50), "undecodable"),
    (encoded(Image.effect_noise((40, 40), 50), "PNG")[:800], "truncated"),
])  # fmt: skip
def test_what_is_no_image_is_rejected(source: bytes, code: str) -> None:
    with pytest.raises(errors.RejectError) as caught:
        images.render(source, images.Rendering(32))
    assert caught.value.code == code


def test_rejects_are_reported_and_leave_shards_and_table_in_agreement(folder, monkeypatch, capsys) -> None:
    jpeg = folder / "jpeg"
    whole = (jpeg / "ISIC_0000004.jpg").read_bytes()
    (jpeg / "ISIC_0000004.jpg").write_bytes(whole[: len(whole) // 2])
    (jpeg / "ISIC_0000005.jpg").unlink()
    (jpeg / "ISIC_0000006.jpg").write_text("not an image")
    (folder / "ISIC_outside.jpg").write_bytes(whole)
    with open(folder / "train.csv", "a") as file:
        file.write("../ISIC_outside,,0\n")
    assert run_convert(monkeypatch, folder) == errors.EXIT_REJECTS
    rejects = pd.read_csv(folder / "out/train.rejects.csv").set_index("image_name")["code"].to_dict()
    assert rejects == {"ISIC_0000004": "truncated", "ISIC_0000005": "missing", "ISIC_0000006": "not_an_image",
                       "../ISIC_outside": "bad_name"}  # fmt: skip
    kept = [line for line in (folder / "train.csv").read_text().splitlines() if line.split(",")[0] not in rejects]
    assert (folder / "out/train.csv").read_text().splitlines() == kept
    assert set(read_all(folder / "out")) == {line.split(",")[0] for line in kept[1:]}
    assert sorted(shard_bytes(folder / "out")) == ["train00-6.tfrec", "train01-6.tfrec", "train02-5.tfrec"]
    assert "4 rejects" in capsys.readouterr().out


def test_max_rejects_stops_the_work(folder, monkeypatch, capsys) -> None:
    (folder / "jpeg/ISIC_0000007.jpg").write_bytes(b"x")
    assert run_convert(monkeypatch, folder, "--max_rejects=0") == errors.EXIT_USER
    assert "ISIC_0000007" in capsys.readouterr().err
    assert not (folder / "out/train.manifest.json").exists()
    assert run_convert(monkeypatch, folder, "--max_rejects=1") == errors.EXIT_REJECTS


# Shards


def test_shards_table_and_manifest(folder, monkeypatch) -> None:
    assert run_convert(monkeypatch, folder) == errors.EXIT_DONE
    out = folder / "out"
    assert sorted(shard_bytes(out)) == ["train00-7.tfrec", "train01-7.tfrec", "train02-6.tfrec"]
    assert (out / "train.csv").read_bytes() == (folder / "train.csv").read_bytes()
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*shard_bytes(out), "train.csv", "train.manifest.json"]
    )
    manifest = json.loads((out / "train.manifest.json").read_text())
    for entry in manifest["shards"].values():
        assert hashlib.sha256((out / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
        assert len(entry["names"]) == entry["count"]
    assert manifest["shards"]["1"]["names"][:2] == ["ISIC_0000001", "ISIC_0000004"]
    found = read_all(out)
    truth = pd.read_csv(folder / "train.csv").set_index("image_name")["target"].to_dict()
    assert {name: record["target"] for name, record in found.items()} == truth
    assert decoded(found["ISIC_0000003"]["image"]).shape == (32, 32, 3)
    assert (found["ISIC_0000003"]["fields"]["width"], found["ISIC_0000003"]["fields"]["height"]) == ([93], [70])


def test_size_0_copies_the_bitstream(folder, monkeypatch) -> None:
    assert run_convert(monkeypatch, folder, "--size=0") == errors.EXIT_DONE
    for name, record in read_all(folder / "out").items():
        assert record["image"] == (folder / "jpeg" / f"{name}.jpg").read_bytes()


def test_test_set_carries_no_target_and_shares_the_folder(folder, monkeypatch) -> None:
    assert run_convert(monkeypatch, folder) == errors.EXIT_DONE
    before = shard_bytes(folder / "out")
    pd.read_csv(folder / "train.csv").drop(columns="target").to_csv(folder / "test.csv", index=False)
    convert(folder / "jpeg", folder / "test.csv", folder / "out", Settings(32, shards=2), workers=1)
    assert {record["target"] for record in read_all(folder / "out", "test").values()} == {None}
    assert {name: data for name, data in shard_bytes(folder / "out").items() if "train" in name} == before


def test_dicom_gives_the_pixels_of_its_jpeg(folder) -> None:
    dicom = pytest.importorskip("melanoma_tf.dicom")
    pytest.importorskip("pydicom")
    jpeg = encoded(smooth_image(120, 80), subsampling="4:2:2")
    path = folder / "one.dcm"
    dicom.write_photograph(path, jpeg, image_name="one", rows=80, columns=120, patient_id="p", sex="male", age=50.0,
                           site="torso")  # fmt: skip
    rendering = images.Rendering(48)
    assert images.render(path.read_bytes(), rendering) == images.render(jpeg, rendering)
    assert images.render(path.read_bytes(), images.Rendering(0)).jpeg == jpeg


def test_tensorflow_reads_our_records(folder, monkeypatch) -> None:
    tf = pytest.importorskip("tensorflow")
    assert run_convert(monkeypatch, folder) == errors.EXIT_DONE
    spec = schema.feature_spec() | {"target": tf.io.FixedLenFeature([], tf.int64)}
    dataset = tf.data.TFRecordDataset(shards.list_shards(folder / "out", "train"))
    found = read_all(folder / "out")
    parsed = [tf.io.parse_single_example(record, spec) for record in dataset]
    assert len(parsed) == len(found) == 20
    for record in parsed:
        own = found[record["image_name"].numpy().decode()]
        assert (record["image"].numpy(), int(record["target"])) == (own["image"], own["target"])
        assert tf.io.decode_jpeg(record["image"], channels=3).shape == (32, 32, 3)


# Resuming, and equal bytes


def test_any_number_of_workers_gives_the_same_bytes(folder, monkeypatch) -> None:
    monkeypatch.setattr(records, "CHUNK_IMAGES", 1)  # more chunks than may wait at once
    arguments = (folder / "jpeg", folder / "train.csv")
    convert(*arguments, folder / "one", Settings(32, shards=2), workers=1)
    convert(*arguments, folder / "two", Settings(32, shards=2), workers=2)
    assert shard_bytes(folder / "one") == shard_bytes(folder / "two")
    assert (folder / "one/train.manifest.json").read_bytes() == (folder / "two/train.manifest.json").read_bytes()


@pytest.mark.parametrize("damage", ["deleted", "flipped", "cut"])
def test_resuming_keeps_whole_shards_and_remakes_the_others(folder, monkeypatch, damage: str) -> None:
    assert run_convert(monkeypatch, folder) == errors.EXIT_DONE
    out, victim = folder / "out", folder / "out/train01-7.tfrec"
    before = shard_bytes(out)
    written = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tfrec")}
    flipped = bytearray(before[victim.name])
    flipped[500] ^= 1
    victim.write_bytes({"deleted": b"", "flipped": bytes(flipped), "cut": before[victim.name][:-9]}[damage])
    if damage == "deleted":
        victim.unlink()
    summary = convert(folder / "jpeg", folder / "train.csv", out, Settings(32, shards=3), workers=1)
    assert summary.made == 1 and shard_bytes(out) == before
    kept = {path.name for path in out.glob("*.tfrec") if path.stat().st_mtime_ns == written[path.name]}
    assert kept == set(before) - {victim.name}


def test_an_interrupted_run_continues(folder, monkeypatch) -> None:
    assert run_convert(monkeypatch, folder) == errors.EXIT_DONE
    whole = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
    real, seen = images.render, []

    def interrupted(source, rendering):
        seen.append(source)
        if len(seen) == 12:  # within the second shard
            raise KeyboardInterrupt
        return real(source, rendering)

    monkeypatch.setattr(images, "render", interrupted)
    again = folder / "again"
    assert run_convert(monkeypatch, folder, f"--out={again}") == errors.EXIT_INTERRUPTED
    assert {path.name for path in again.iterdir()} == {"train00-7.tfrec", ".train.progress.json"}
    (again / ".train01.building.123.part").write_bytes(b"what a killed process leaves")
    assert run_convert(monkeypatch, folder, f"--out={again}") == errors.EXIT_DONE
    assert len(seen) == 12 + 13
    assert {path.name: path.read_bytes() for path in again.iterdir()} == whole


@pytest.mark.parametrize("moment", range(1, 9))
def test_a_repair_that_is_cut_anywhere_continues(folder, monkeypatch, moment: int) -> None:
    """Stopped at the n-th change of the folder while stale shards are replaced."""
    assert run_convert(monkeypatch, folder) == errors.EXIT_DONE
    out = folder / "out"
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    for name in ("train00-7.tfrec", "train01-7.tfrec"):
        (out / name).write_bytes(whole[name][:-9])
    changes = []
    for function in ("unlink", "replace"):
        real = getattr(os, function)

        def counted(*arguments, real=real, **options):
            changes.append(arguments)
            if len(changes) == moment:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        monkeypatch.setattr(os, function, counted)
    assert run_convert(monkeypatch, folder) == errors.EXIT_INTERRUPTED
    changes.extend([()] * 1000)
    assert run_convert(monkeypatch, folder) == errors.EXIT_DONE
    assert {path.name: path.read_bytes() for path in out.iterdir()} == whole


def test_what_a_kill_leaves_of_any_file_is_cleared(folder, monkeypatch) -> None:
    """Half-written files get their names from `files.open_whole`; every one of them must be found again."""
    assert run_convert(monkeypatch, folder) == errors.EXIT_DONE
    out = folder / "out"
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    with monkeypatch.context() as patched:  # as if killed before each renaming
        patched.setattr(os, "replace", lambda source, target: None)
        patched.setattr(Path, "unlink", lambda path, missing_ok=False: None)
        for name in (*whole, ".train.progress.json", "train00.building"):
            files.write_whole(out / name, b"half")
    for path in out.glob("*.part"):
        path.rename(path.with_name(path.name.replace(str(os.getpid()), "1")))
    (out / "train00-7.tfrec").unlink()
    assert len(list(out.iterdir())) > len(whole) + 5
    assert run_convert(monkeypatch, folder) == errors.EXIT_DONE
    assert {path.name: path.read_bytes() for path in out.iterdir()} == whole


def test_a_mended_source_is_taken_in(folder, monkeypatch) -> None:
    path = folder / "jpeg/ISIC_0000002.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    assert run_convert(monkeypatch, folder) == errors.EXIT_REJECTS
    path.write_bytes(whole)
    assert run_convert(monkeypatch, folder) == errors.EXIT_DONE
    assert sorted(shard_bytes(folder / "out")) == ["train00-7.tfrec", "train01-7.tfrec", "train02-6.tfrec"]
    assert not (folder / "out/train.rejects.csv").exists() and "ISIC_0000002" in read_all(folder / "out")


def test_other_settings_are_refused_and_nothing_changes(folder, monkeypatch, capsys) -> None:
    assert run_convert(monkeypatch, folder) == errors.EXIT_DONE
    before = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
    assert run_convert(monkeypatch, folder, "--size=48") == errors.EXIT_USER
    message = capsys.readouterr().err
    assert "size=32" in message and "48" in message and "--overwrite" in message and message.count("\n") == 1
    assert {path.name: path.read_bytes() for path in (folder / "out").iterdir()} == before
    assert run_convert(monkeypatch, folder, "--size=48", "--overwrite", "--shards=2") == errors.EXIT_DONE
    assert sorted(shard_bytes(folder / "out")) == ["train00-10.tfrec", "train01-10.tfrec"]


def test_shards_of_unknown_origin_are_not_touched(folder, monkeypatch, capsys) -> None:
    (folder / "out").mkdir()
    (folder / "out/train00-2071.tfrec").write_bytes(b"precious")
    assert run_convert(monkeypatch, folder) == errors.EXIT_USER
    assert "train00-2071.tfrec" in capsys.readouterr().err
    assert [path.name for path in (folder / "out").iterdir()] == ["train00-2071.tfrec"]


@pytest.mark.parametrize(("flag", "named"), [
    ("--size=5", "--size"), ("--fit=stretch", "fit"), ("--quality=0", "--quality"), ("--shards=0", "--shards"),
    ("--images=/nowhere", "/nowhere"), ("--csv=/nowhere.csv", "/nowhere.csv"), ("--workers=-2", "--workers"),
    ("--prefix=valid", "prefix"),
])  # fmt: skip
def test_bad_arguments_are_named_in_one_line(folder, monkeypatch, capsys, flag: str, named: str) -> None:
    assert run_convert(monkeypatch, folder, flag) == errors.EXIT_USER
    message = capsys.readouterr().err
    assert named in message and message.count("\n") == 1
    assert not (folder / "out").exists()


def test_the_table_itself_is_never_replaced(folder, monkeypatch, capsys) -> None:
    before = (folder / "train.csv").read_bytes()
    assert run_convert(monkeypatch, folder, f"--out={folder}") == errors.EXIT_USER
    assert (folder / "train.csv").read_bytes() == before and "choose another --out" in capsys.readouterr().err


def test_console_in_a_process_of_its_own(folder) -> None:
    arguments = [f"--images={folder}/jpeg", f"--csv={folder}/train.csv", f"--out={folder}/out", "--size=32"]
    command = [sys.executable, "-m", "tfrecord_tools", "convert", *arguments, "--shards=2", "--workers=2"]
    (folder / "jpeg/ISIC_0000003.jpg").unlink()
    root = Path(program.__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == errors.EXIT_REJECTS, done.stderr
    assert done.stdout.startswith("train: 19 images in 2 shards") and done.stderr == ""


def test_what_needs_a_decoder_is_tried_again(folder, monkeypatch) -> None:
    """Rejects of the surroundings are not in the bytes of the file: installed since, the decoder is used."""
    from tfrecord_tools.manifest import DECODERS, versions

    whole = images.render
    for code, done in (("missing_decoder", errors.EXIT_REJECTS), ("decoder_crashed", errors.EXIT_REJECTS), ("", 0)):

        def render(source, *more, code=code):
            if code and len(source) == (folder / "jpeg/ISIC_0000002.jpg").stat().st_size:
                raise errors.RejectError(code, "not now")
            return whole(source, *more)

        monkeypatch.setattr(images, "render", render)
        assert run_convert(monkeypatch, folder) == done
    assert set(versions()) & set(DECODERS)
    assert manifest.other_version({name: one for name, one in versions().items() if name not in DECODERS}) is None
    assert manifest.other_version(versions() | {DECODERS[0]: "1.0"}) == DECODERS[0]
    assert manifest.other_version(versions() | {DECODERS[0]: "1.0"}, dicom=False) is None


def test_shards_that_are_kept_keep_the_versions_that_made_them(folder, monkeypatch, capsys) -> None:
    assert run_convert(monkeypatch, folder) == errors.EXIT_DONE
    path = folder / "out/train.manifest.json"
    before = path.read_bytes()
    made = manifest.versions()
    monkeypatch.setattr(manifest, "versions", lambda: made | {"pillow": "99.0"})
    assert run_convert(monkeypatch, folder) == errors.EXIT_DONE and path.read_bytes() == before
    (folder / "out/train01-7.tfrec").unlink()
    capsys.readouterr()
    assert run_convert(monkeypatch, folder) == errors.EXIT_USER
    assert f"made with pillow {made['pillow']}, now it is 99.0" in capsys.readouterr().err


def test_the_folder_one_is_in_is_resumed_like_any_other(folder, monkeypatch) -> None:
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")
    for _ in range(2):
        assert run_convert(monkeypatch, folder, "--out=.") == errors.EXIT_DONE


def test_a_salt_that_is_not_there_is_no_absent_one(folder, monkeypatch, capsys) -> None:
    assert run_convert(monkeypatch, folder, "--salt_file=") == errors.EXIT_USER
    assert len(capsys.readouterr().err.strip().splitlines()) == 1 and not (folder / "out").exists()
