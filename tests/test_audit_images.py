"""Near duplicates: copies of an image are found in whatever form, other images are not; embeddings likewise."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter

from melanoma_tf import audit, schema
from melanoma_tf.audit import neighbours, sketches
from melanoma_tf.audit.pool import Tables
from melanoma_tf.data.shards import write_shard
from melanoma_tf.embeddings import read_embeddings
from melanoma_tf.errors import UserError

from .test_audit import run, sound, verdicts


def drawing(seed, width=240, height=180):
    """A dark spot in the middle of skin, with structure of its own."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    texture = sum(gaussian_filter(random.normal(size=(height, width)), sigma) * sigma for sigma in (2, 5, 12))
    spot = 1 / (1 + np.exp(12 * (np.hypot(x, y) - 0.4 + 0.1 * texture)))
    skin = np.array([220, 170, 150]) + 12 * texture[..., None]
    return Image.fromarray((skin - 120 * spot[..., None]).clip(0, 255).astype(np.uint8))


def encode(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 90} if kind == "JPEG" and not options else options))
    return buffer.getvalue()


def square(image):
    return ImageOps.fit(image, (min(image.size),) * 2)


COPIES = {
    "the same": encode,
    "quality 30": lambda image: encode(image, quality=30),
    "half": lambda image: encode(image.resize((120, 90))),
    "twice": lambda image: encode(image.resize((480, 360))),
    "squeezed to a square": lambda image: encode(image.resize((128, 128))),
    "cut to a square": lambda image: encode(square(image)),
    "PNG": lambda image: encode(image, "PNG"),
    "grey": lambda image: encode(image.convert("L")),
    "brighter": lambda image: encode(ImageEnhance.Brightness(image).enhance(1.1)),
    "contrast": lambda image: encode(ImageEnhance.Contrast(image).enhance(1.2)),
    "mirrored": lambda image: encode(ImageOps.mirror(image)),
    "upside down": lambda image: encode(ImageOps.flip(image)),
    "turned by 90": lambda image: encode(image.transpose(Image.Transpose.ROTATE_90)),
    "turned by 180": lambda image: encode(image.transpose(Image.Transpose.ROTATE_180)),
    "turned by 270, cut": lambda image: encode(square(image).transpose(Image.Transpose.ROTATE_270)),
    "transposed": lambda image: encode(image.transpose(Image.Transpose.TRANSPOSE)),
}


def look(images):
    return sketches.look([(name, image, None) for name, image in images.items()], len(images))


@pytest.fixture(scope="module")
def others():
    return {f"other{seed}": encode(drawing(seed)) for seed in range(1000, 1060)}


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_is_found_and_nothing_else(others, copy):
    originals = {f"original{seed}": drawing(seed) for seed in range(5)}
    copies = {f"copy{seed}": COPIES[copy](drawing(seed)) for seed in range(5)}
    seen = look({name: encode(image) for name, image in originals.items()} | others | copies)
    found = neighbours.near_duplicates(seen.names, seen.sketches)
    assert [pair[:2] for pair in found] == [(f"original{seed}", f"copy{seed}") for seed in range(5)]
    assert all(neighbours.MIN_CORRELATION <= alike <= 1.0001 for _, _, alike in found)


def test_an_orientation_of_the_sketch_is_the_sketch_of_the_orientation():
    grey = np.asarray(drawing(1, 64, 64).convert("L"))
    turned = [array if across is None else array[:, ::-1]
              for base in (grey, grey.T) for array in (base, base[::-1]) for across in (None, 1)]  # fmt: skip
    wanted = [sketches.sketch(encode(Image.fromarray(np.ascontiguousarray(one)), "PNG"))[0][0] for one in turned]
    made = list(neighbours._orientations(sketches.sketch(encode(Image.fromarray(grey), "PNG"))[0][:1]))
    for one, other in zip(wanted, made, strict=True):
        np.testing.assert_allclose(one, other[0], atol=1e-2)


def test_plain_images_are_not_compared_and_damage_is_told():
    images = {f"plain{level}": encode(Image.new("RGB", (80, 60), (level,) * 3)) for level in range(100, 130)}
    whole = encode(drawing(3))
    seen = look(images | {"cut": whole[: len(whole) // 2], "text": b"no image", "empty": b""})
    assert neighbours.near_duplicates(seen.names, seen.sketches) == []
    assert seen.unreadable == ("cut", "text", "empty")
    assert seen.facts.loc["plain100"].tolist() == [80, 60, len(images["plain100"])]


def test_the_same_image_everywhere_is_refused_not_listed():
    seen = look({f"same{number}": encode(drawing(1)) for number in range(400)})
    with pytest.raises(UserError, match="pairs of 400 images are alike, such as same0 and same1"):
        neighbours.near_duplicates(seen.names, seen.sketches)


def test_blocks_miss_no_pair(monkeypatch, others):
    seen = look(others | {f"again{seed}": encode(drawing(seed), quality=60) for seed in range(1000, 1060, 7)})
    whole = neighbours.near_duplicates(seen.names, seen.sketches)
    monkeypatch.setattr(neighbours, "BLOCK", 16)
    assert neighbours.near_duplicates(seen.names, seen.sketches) == whole
    assert len(whole) == 9


def test_embeddings():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(200, 32)) + 50  # all alike until their mean is taken off
    vectors[150] = vectors[20] + 0.01 * random.normal(size=32)
    names = [f"n{number}" for number in range(200)]
    found = neighbours.embedding_neighbours(names, vectors)
    assert [pair[:2] for pair in found] == [("n20", "n150")]
    centred = vectors - vectors.mean(0)
    cosine = centred[20] @ centred[150] / np.linalg.norm(centred[20]) / np.linalg.norm(centred[150])
    assert found[0][2] == pytest.approx(cosine, abs=1e-3)


def _planted(tmp_path):
    """A sound set whose image of fold 0 is copied into fold 1, into the test set and into an external set."""
    table, fold = sound(120, 40)
    benign = table["target"] == 0
    a, b = (table["image_name"][benign & (fold == number)].iloc[0] for number in (0, 1))
    test = pd.DataFrame({"image_name": ["t0", "t1"], "patient_id": ["x", "y"]})
    external = pd.DataFrame({"image_name": ["e0", "e1"]})
    pictures = {name: drawing(number) for number, name in enumerate([*table["image_name"], "t0", "t1", "e0", "e1"])}
    pictures[b] = pictures[a].resize((150, 150))
    pictures["t1"] = ImageOps.mirror(pictures[a])
    pictures["e0"] = square(pictures["t0"])
    for name, part in (("train", table), ("test", test), ("external", external)):
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    pd.DataFrame({"image_name": table["image_name"], "fold": fold}).to_csv(tmp_path / "folds.csv", index=False)
    flags = {"train_csv": "train", "test_csv": "test", "folds": "folds", "external": "external"}
    arguments = [f"--{flag}={tmp_path}/{name}.csv" for flag, name in flags.items()]
    return arguments, {name: encode(picture) for name, picture in pictures.items()}, (a, b)


def test_command_over_files(tmp_path, run_command):
    arguments, images, (a, b) = _planted(tmp_path)
    for name, image in images.items():
        folder = tmp_path / ("train" if name.startswith("ISIC") else "rest")
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.JPG").write_bytes(image)
    (tmp_path / "rest" / "e1.JPG").write_bytes(b"damaged")
    pairs = tmp_path / "pairs.csv"
    where = f"--images={tmp_path}/train,{tmp_path}/rest"
    code, printed, errors = run_command("audit", *arguments, where, f"--pairs={pairs}")
    assert (code, errors) == (2, [])
    assert "120 of 120 train, 2 of 2 test, 1 of 2 external.csv; 1 unreadable: e1" in " ".join(printed.split())
    found = pd.read_csv(pairs)
    wanted = [{a, b}, {a, "t1"}, {b, "t1"}, {"t0", "e0"}]
    assert set(map(frozenset, found[["image_name_1", "image_name_2"]].to_numpy())) == set(map(frozenset, wanted))
    again = f"--duplicates={pairs}"
    code, printed, _ = run_command("folds", arguments[0], again, f"--out={tmp_path}/better.csv")
    assert code == 0
    better = pd.read_csv(tmp_path / "better.csv").set_index("image_name")["fold"]
    assert better[a] == better[b]


@pytest.mark.parametrize("flag", ["folds", "test_csv", "external"])
def test_command_over_shards_finds_each_planted_copy(tmp_path, run_command, flag):
    arguments, images, _ = _planted(tmp_path)
    records = [schema.encode_record(image, name, size=(6000, 4000)) for name, image in images.items()]
    write_shard(tmp_path / "all00-60.tfrec", records[:60])
    write_shard(tmp_path / f"all01-{len(records) - 60}.tfrec", records[60:])
    given = [arguments[0], *(argument for argument in arguments if argument.startswith((f"--{flag}", "--test_csv")))]
    code, printed, errors = run_command("audit", *given, f"--data_dir={tmp_path}")
    assert (code, errors) == (2, [])
    leaks = {"folds": "pairs over folds", "test_csv": "between train and test", "external": "between test and external"}
    assert any(leaks[flag] in line and "LEAK" in line for line in printed.splitlines())
    assert "image size" in printed and "the same for all images" in printed  # 6000x4000
    path = tmp_path / "all00-60.tfrec"
    path.write_bytes(path.read_bytes()[:-5])
    code, printed, errors = run_command("audit", *given, f"--data_dir={tmp_path}")
    assert (code, printed, len(errors)) == (2, "", 1) and "is cut" in errors[0]


def test_embeddings_over_folds_are_a_warning(tmp_path):
    table, fold = sound()
    vectors = np.random.default_rng(0).normal(size=(len(table), 16))
    a, b = sorted(np.flatnonzero((fold == number) & (table["target"] == 0))[0] for number in (0, 1))
    vectors[b] = vectors[a]
    np.savez(tmp_path / "e.npz", image_name=table["image_name"].to_numpy(str), features=vectors.astype(np.float32))
    found = run(table, fold, embeddings=read_embeddings(tmp_path / "e.npz"))
    names = table["image_name"]
    assert verdicts(found, audit.LEAK) == {}
    assert verdicts(found, audit.WARNING)["pairs over folds"] == (
        f"{names[a]} (fold {fold[a]}) = {names[b]} (fold {fold[b]})",
    )


def test_file_size_as_a_shortcut():
    table, fold = sound()
    melanoma = table["target"].to_numpy(int)
    facts = pd.DataFrame({"width": 640, "height": 480, "bytes": 9000 + 4000 * melanoma}, index=table["image_name"])
    nothing = np.zeros((len(table), 2, sketches.KEPT, sketches.KEPT), np.float32)
    audited = audit.audit(Tables(table, fold, None, {}), seen=sketches.Seen(nothing, facts, ()))
    found = {finding.check: finding for finding in audited.findings}
    assert (found["file size"].verdict, found["file size"].auc.value) == (audit.WARNING, 1.0)
