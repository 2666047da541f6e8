"""The picture of all ops: what it shows, of which images, and what is said to a wrong call."""

import numpy as np
import pytest
from PIL import Image

tf = pytest.importorskip("tensorflow")

from melanoma_tf import errors, schema  # noqa: E402
from melanoma_tf.augment import OPS, Op, augment, sheet  # noqa: E402
from melanoma_tf.commands import show_augment  # noqa: E402
from melanoma_tf.config import AugmentConfig  # noqa: E402
from melanoma_tf.data import shards  # noqa: E402
from melanoma_tf.randomness import fold_in  # noqa: E402
from tests.conftest import jpeg, lesion  # noqa: E402

SEED = tf.constant([5, 0])


@pytest.fixture
def few_ops(monkeypatch):
    """The sheet of three ops, as that of all of them takes seconds."""
    ops = {name: OPS[name] for name in ("rotate", "brightness", "ruler")}
    monkeypatch.setattr(sheet, "OPS", ops)
    return ops


def noise(count, size=24):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def cells(page, size, left, count):
    """uint8[count,size,size,3] of the first row of a band, from a column's left edge."""
    top = sheet.HEADING + sheet.LABEL
    step = size + sheet.GAP
    return np.stack([
        np.asarray(page.crop((left + n * step, top, left + n * step + size, top + size))) for n in range(count)
    ])  # fmt: skip


def test_every_op_is_in_the_picture_at_three_strengths(run_command, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(sheet, "_text", lambda text, box, colour: written.append(text) or Image.new("RGB", box))
    code, out, err = run_command("show_augment", f"--out={tmp_path / 'sheet.png'}", "--images=1", "--size=16")
    assert (code, err) == (errors.EXIT_DONE, [])
    page = Image.open(tmp_path / "sheet.png")
    assert f"1 images, {page.width} x {page.height} pixels" in out
    assert [text for text in written if text in OPS] == list(OPS)
    assert written.count("1/3") == written.count("2/3") == written.count("1") == len(OPS)
    assert "the whole recipe" in written and written[-1].startswith("draw ")


def test_cells_are_the_images_then_the_ops_then_the_recipe(few_ops):
    size, images = 24, noise(2)
    page = sheet.draw_sheet(images, ["melanoma", "benign"], AugmentConfig(), 5)
    left = sheet.LABEL
    np.testing.assert_array_equal(cells(page, size, left, 1)[0], images[0])
    left += size + sheet.GAP + sheet.BLOCK_GAP
    for name, op in few_ops.items():
        want = [column[0] for column in sheet.op_columns(images, op, fold_in(SEED, name))]
        np.testing.assert_array_equal(cells(page, size, left, 3), want)
        left += 3 * (size + sheet.GAP) + sheet.BLOCK_GAP
    band = page.crop((0, page.height // 2, page.width, page.height))
    np.testing.assert_array_equal(cells(band, size, sheet.LABEL, 1)[0], images[0])
    drawn = cells(band, size, sheet.LABEL + size + sheet.GAP + sheet.BLOCK_GAP, 2)
    for number in range(2):
        want = augment(tf.constant(images), fold_in(SEED, number), AugmentConfig()).numpy()[0] * 255
        np.testing.assert_array_equal(drawn[number], np.rint(want))


def test_strengths_scale_one_draw():
    images = noise(3)
    third, two_thirds, full = (column.astype(float) - images for column in sheet.op_columns(images, OPS["hair"], SEED))
    assert 0 < np.abs(third).mean() < np.abs(two_thirds).mean() < np.abs(full).mean()


def test_the_draw_that_changes_an_image_most_is_shown():
    """An op that adds its draw: of sixteen, the largest of each image must be found."""
    drawn = np.random.default_rng(3).permutation(3 * sheet.DRAWS).reshape(3, sheet.DRAWS) / 255
    values = tf.constant(drawn.ravel(), tf.float32)
    op = Op("pixel", lambda seed, batch, strength: values * strength, lambda x, added: x + added[:, None, None, None])
    full = sheet.op_columns(np.zeros((3, 16, 16, 3), np.uint8), op, SEED)[-1]
    np.testing.assert_array_equal(full[:, 0, 0, 0], np.rint(drawn.max(1) * 255))


def test_bands_are_no_wider_than_a_page(few_ops):
    page = sheet.draw_sheet(noise(1, 200), ["benign"], AugmentConfig(), 1)
    assert page.width <= sheet.PAGE_WIDTH + 5 * sheet.BLOCK_GAP
    assert page.height == 3 * (sheet.HEADING + sheet.LABEL + 200 + sheet.GAP + sheet.BLOCK_GAP)


def test_the_recipe_may_mix(few_ops):
    images = np.zeros((2, 16, 16, 3), np.uint8)
    images[1] = 255
    off = dict.fromkeys(OPS, 0.0)
    plain, mixed = (
        np.stack(sheet.recipe_columns(images, AugmentConfig(**off, mixup=amount), SEED, 3)) for amount in (0.0, 1.0)
    )
    assert (plain == images).all() and ((mixed > 0) & (mixed < 255)).all(axis=(1, 2, 3, 4)).any()


def test_images_are_melanomas_and_benign_ones_by_turns(competition):
    labels, pixels = show_augment.read_images(str(competition), 6, 32, 1)
    assert labels == ["melanoma", "benign"] * 3 and pixels.shape == (6, 32, 32, 3) and pixels.dtype == np.uint8
    assert (pixels[::2, ..., 0].mean() - pixels[1::2, ..., 0].mean()) > 20  # melanomas were drawn redder
    again, other = (show_augment.read_images(str(competition), 6, 32, seed)[1] for seed in (1, 2))
    np.testing.assert_array_equal(again, pixels)
    assert (other != pixels).any()


@pytest.mark.parametrize("targets, count, want", [
    ([0] * 5, 4, ["benign"] * 4), ([1, 0, 0, 0, 0], 4, ["melanoma", *["benign"] * 3]),
    ([None] * 3, 4, ["no target"] * 3), ([1, 1], 4, ["melanoma"] * 2),
])  # fmt: skip
def test_few_melanomas_few_images_and_no_truth(tmp_path, targets, count, want):
    records = [schema.encode_record(jpeg(lesion(f"ISIC_000000{n}", 0)), f"ISIC_000000{n}", target)
               for n, target in enumerate(targets)]  # fmt: skip
    shards.write_shard(tmp_path / f"train00-{len(records)}.tfrec", records)
    labels, pixels = show_augment.read_images(str(tmp_path), count, 16, 0)
    assert labels == want and len(pixels) == len(want)


def test_it_ends_with_one_line_and_leaves_a_picture(run_command, competition, tmp_path, few_ops):
    out = tmp_path / "new" / "sheet.jpg"
    arguments = [f"--data_dir={competition}", f"--out={out}", "--images=2", "--size=16"]
    code, printed, err = run_command("show_augment", *arguments)
    assert (code, err, len(printed.splitlines())) == (errors.EXIT_DONE, [], 1)
    first = out.read_bytes()
    assert Image.open(out).format == "JPEG" and [path.name for path in out.parent.iterdir()] == ["sheet.jpg"]
    code, _, err = run_command("show_augment", *arguments)
    assert code == errors.EXIT_USER and "exists already; give --overwrite" in err[0] and out.read_bytes() == first
    assert run_command("show_augment", *arguments, "--overwrite")[0] == errors.EXIT_DONE
    assert out.read_bytes() == first
    run_command("show_augment", *arguments, "--overwrite", "--set=augment.brightness=0")
    assert out.read_bytes() != first


@pytest.mark.parametrize("arguments, message", [
    (["--out={0}/sheet.pdf"], "sheet.pdf: the name must end in .png, .jpg, .jpeg"),
    (["--out={0}/a.png", "--size=8"], "--size=8: valid is 16 to 512"),
    (["--out={0}/a.png", "--size=513"], "--size=513: valid is 16 to 512"),
    (["--out={0}/a.png", "--images=0"], "--images=0: valid is 1 to 16"),
    (["--out={0}/a.png", "--seed=-1"], "--seed=-1: valid is 0 to 2147483647"),
    (["--out={0}/a.png", "--config=b0_265"], "no recipe 'b0_265'; did you mean 'b0_256'?"),
    (["--out={0}/a.png", "--set=augment.hiar=1"], "--set augment.hiar: no such setting; did you mean 'augment.hair'?"),
    (["--out={0}/a.png", "--set=augment.hair=2"], "augment.hair is 2.0; valid is 0 to 1"),
    (["--out={0}/a.png", "--data_dir={0}"], "no train*.tfrec in {0}"),
    (["--out={0}/a.png", "--data_dir={0}/none"], "no such folder: {0}/none"),
    (["--out={0}/file/a.png"], "cannot create the folder {0}/file"),
])  # fmt: skip
def test_a_wrong_call_is_one_line_and_leaves_nothing(run_command, tmp_path, few_ops, arguments, message):
    (tmp_path / "file").write_text("")
    folder = str(tmp_path)
    code, out, err = run_command("show_augment", *(argument.format(folder) for argument in arguments))
    assert (code, out, len(err)) == (errors.EXIT_USER, "", 1) and message.format(folder) in err[0]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("record, message", [
    (b"\x0a\x00", "record at byte 0 is not a melanoma record: no field 'image'"),
    (schema.encode_record(b"no JPEG", "ISIC_0000001", 1), "the image of the record at byte 0 cannot be decoded"),
    (None, "hold no images"),
])  # fmt: skip
def test_records_that_are_no_images_are_named(run_command, tmp_path, record, message):
    records = [] if record is None else [record]
    shards.write_shard(tmp_path / f"train00-{len(records)}.tfrec", records)
    code, _, err = run_command("show_augment", f"--out={tmp_path / 'a.png'}", f"--data_dir={tmp_path}")
    assert (code, len(err)) == (errors.EXIT_USER, 1) and message in err[0]
    assert not (tmp_path / "a.png").exists()
