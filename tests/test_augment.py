"""Augmentation against OpenCV, Pillow and its own promises; every op of the table is taken in by itself."""

import dataclasses

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
cv2 = pytest.importorskip("cv2")

from melanoma_tf.augment import OPS, VIEWS, augment, groups, mix, views  # noqa: E402
from melanoma_tf.augment.policy import strengths  # noqa: E402
from melanoma_tf.augment.resample import BORDERS, INTERPOLATIONS, recolor, warp  # noqa: E402
from melanoma_tf.config import CHOICES, VIEW_COUNTS, AugmentConfig, Config, override  # noqa: E402
from melanoma_tf.errors import UserError  # noqa: E402

SEED = tf.constant([3, 14])
OFF = AugmentConfig(**dict.fromkeys(OPS, 0.0))
FULL = AugmentConfig(**{name: 1.0 for name in OPS})
COMPOSED = AugmentConfig(**{name: float(op.kind != "pixel") for name, op in OPS.items()})  # quick to compile


def noise(batch=4, size=33, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, size, size, 3), np.uint8)


def smooth(batch=4, size=48):
    small = noise(batch, 6).astype(np.float32)
    return np.stack([cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC) for image in small]).clip(0, 255)


def only(name, strength=1.0):
    return dataclasses.replace(OFF, **{name: strength})


def of_kind(*kinds):
    return [name for name, op in OPS.items() if op.kind in kinds]


def test_the_table_and_the_settings_name_the_same_ops():
    assert list(OPS) == [field.name for field in dataclasses.fields(AugmentConfig)][: len(OPS)]


def test_the_settings_know_the_ways_to_resample():
    assert set(CHOICES["augment.interpolation"]) == set(INTERPOLATIONS)
    assert set(CHOICES["augment.border"]) == set(BORDERS)


@pytest.mark.parametrize("setting, named", [
    ("rotate=1.5", "augment.rotate is 1.5; valid is 0 to 1"), ("rotat=1", "did you mean 'augment.rotate'"),
    ("border=mirror", "augment.border is 'mirror'; valid: reflect"), ("randaugment_n=-1", "augment.randaugment_n"),
])  # fmt: skip
def test_bad_settings_are_named(setting, named):
    with pytest.raises(UserError, match=named.replace("(", "[(]")):
        override(Config(), [f"augment.{setting}"])


@pytest.mark.parametrize("size", [1, 16, 33])
@pytest.mark.parametrize("name", OPS)
def test_strength_zero_is_the_identity(name, size):
    op = OPS[name]
    images = tf.constant(noise(5, size).astype(np.float32) / 255)
    for strength in (0.0, tf.zeros([5])):
        np.testing.assert_allclose(op.apply(images, op.sample(SEED, 5, strength)), images, atol=2e-5)


@pytest.mark.parametrize("name", OPS)
def test_strength_may_differ_from_image_to_image(name):
    op, images = OPS[name], tf.constant(smooth(6).astype(np.float32) / 255)
    each = op.apply(images, op.sample(SEED, 6, tf.constant([0.0, 1.0] * 3))).numpy()
    full = op.apply(images, op.sample(SEED, 6, 1.0)).numpy()
    np.testing.assert_allclose(each[::2], images[::2], atol=2e-5)
    np.testing.assert_allclose(each[1::2], full[1::2], atol=1e-5)


def test_no_op_leaves_the_pixels_alone():
    np.testing.assert_array_equal(augment(tf.constant(noise()), SEED, OFF), noise().astype(np.float32) / 255)


@pytest.mark.parametrize("name", OPS)
def test_same_seed_same_images_other_seed_other_images(name):
    images = tf.constant(noise(16))
    first = augment(images, SEED, only(name)).numpy()
    np.testing.assert_array_equal(first, augment(images, SEED, only(name)))
    assert (first != augment(images, SEED + 1, only(name)).numpy()).any()


@pytest.mark.parametrize("config", [FULL, *map(only, OPS)], ids=["all", *OPS])
@pytest.mark.parametrize("pixels", [0, 255])
def test_range_dtype_and_flat_images(config, pixels):
    images = np.full((3, 17, 17, 3), pixels, np.uint8)
    got = augment(tf.constant(images), SEED, config)
    assert got.dtype == tf.float32 and got.shape == images.shape
    assert float(tf.reduce_min(got)) >= 0 and float(tf.reduce_max(got)) <= 1
    if all(OPS[name].kind != "pixel" or not getattr(config, name) for name in OPS):
        assert np.ptp(got.numpy(), axis=(1, 2)).max() < 1e-5  # geometry and colour keep a flat image flat


@pytest.mark.parametrize("name", [None, *OPS])
def test_everything_compiles_for_a_tpu(name):
    config = only(name) if name else FULL
    images = tf.constant(noise(2, 24))
    compiled = tf.function(lambda x, s: augment(x, s, config), jit_compile=True)(images, SEED)
    np.testing.assert_allclose(compiled, augment(images, SEED, config), atol=0.02)


@pytest.mark.parametrize("name", of_kind("geometry"))
def test_geometry_equals_opencv(name):
    images = smooth(6)
    size = images.shape[1]
    matrix = OPS[name].sample(SEED, 6, 1.0).numpy()
    # from [-1, 1] over the image to OpenCV's pixel centres
    to_unit = np.array([[2 / size, 0, 1 / size - 1], [0, 2 / size, 1 / size - 1], [0, 0, 1]])
    for image, got, one in zip(images, warp(tf.constant(images), matrix).numpy(), matrix):
        in_pixels = np.linalg.inv(to_unit) @ one @ to_unit
        want = cv2.warpPerspective(image, in_pixels, (size, size), borderMode=cv2.BORDER_REFLECT,
                                   flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)  # fmt: skip
        # OpenCV rounds positions to 1/32 pixel
        assert np.abs(got - want).mean() < 0.5 and np.abs(got - want).max() < 12


BORDERS_OF_OPENCV = {"reflect": cv2.BORDER_REFLECT, "edge": cv2.BORDER_REPLICATE, "constant": cv2.BORDER_CONSTANT}


@pytest.mark.parametrize("border", BORDERS_OF_OPENCV)
@pytest.mark.parametrize("interpolation, flag", [("bilinear", cv2.INTER_LINEAR), ("bicubic", cv2.INTER_CUBIC)])
@pytest.mark.parametrize("name", of_kind("displacement"))
def test_displacements_equal_opencv(name, interpolation, flag, border):
    images = smooth(3)
    size, op = images.shape[1], OPS[name]
    parameters = op.sample(SEED, 3, 1.0)
    centre = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
    x, y = (np.broadcast_to(axis.ravel(), (3, size * size)) for axis in np.meshgrid(centre, centre))
    x, y = (value.numpy().reshape(3, size, size) for value in op.move(tf.constant(x), tf.constant(y), parameters))
    got = warp(tf.constant(images), None, [(op.move, parameters)], interpolation=interpolation, border=border).numpy()
    for image, one, across, down in zip(images, got, x, y):
        positions = [((value + 1) * size / 2 - 0.5).astype(np.float32) for value in (across, down)]
        want = cv2.remap(image, *positions, flag, borderMode=BORDERS_OF_OPENCV[border])
        assert np.abs(one - want).mean() < 0.5 and np.abs(one - want).max() < 12


def test_displacements_do_not_fold():
    """Neighbouring positions keep their order along both axes."""
    size = 64
    centre = tf.constant((2 * np.arange(size, dtype=np.float32) + 1) / size - 1)
    x, y = (tf.broadcast_to(tf.reshape(axis, [-1]), [50, size * size]) for axis in tf.meshgrid(centre, centre))
    for name in of_kind("displacement"):
        moved = OPS[name].move(x, y, OPS[name].sample(SEED, 50, 1.0))
        across, down = (value.numpy().reshape(50, size, size) for value in moved)
        jacobian = np.diff(across, axis=2)[:, 1:] * np.diff(down, axis=1)[:, :, 1:] - (
            np.diff(across, axis=1)[:, :, 1:] * np.diff(down, axis=2)[:, 1:]
        )
        assert (jacobian > 0).mean() > 0.999, name


def test_large_batches_go_in_parts_and_come_out_the_same(monkeypatch):
    images = tf.constant(noise(7, 16))
    whole = augment(images, SEED, FULL).numpy()
    monkeypatch.setattr("melanoma_tf.augment.resample.CHUNK_PIXELS", 3 * 16 * 16)
    np.testing.assert_array_equal(augment(images, SEED, FULL), whole)


def test_a_quarter_turn_moves_pixels_without_changing_them():
    images = noise()
    # Output (x, y) shows input (-y, x): what was at the right is now at the top, a turn to the left.
    quarter = np.array([[[0, -1, 0], [1, 0, 0], [0, 0, 1]]], np.float32).repeat(4, 0)
    got = warp(tf.constant(images), tf.constant(quarter)).numpy()
    np.testing.assert_allclose(got, np.rot90(images, 1, (1, 2)), atol=0.1)


def test_composed_geometry_equals_one_after_another_within_the_resampling():
    images = smooth(8)
    rotate, zoom = (OPS[name].sample(SEED, 8, 0.3) for name in ("rotate", "zoom"))
    move = (OPS["elastic"].move, OPS["elastic"].sample(SEED, 8, 1.0))
    once = warp(tf.constant(images), tf.matmul(rotate, zoom), [move]).numpy()
    twice = warp(warp(warp(tf.constant(images), None, [move]), rotate), zoom).numpy()
    inner = np.s_[:, 12:-12, 12:-12]
    assert np.abs(once[inner] - twice[inner]).mean() < 1.5
    other_way = warp(warp(warp(tf.constant(images), rotate), zoom), None, [move]).numpy()
    assert np.abs(once[inner] - twice[inner]).mean() < 0.5 * np.abs(once[inner] - other_way[inner]).mean()


def test_colour_ops_are_their_formulas():
    images = tf.constant(noise(4).astype(np.float32) / 255 * 0.4 + 0.3)  # away from the clipping
    grey = tf.image.rgb_to_grayscale(images)
    saturation = OPS["saturation"].sample(SEED, 4, 0.5)
    factor = (saturation[:, 0, 0] - 0.299) / (1 - 0.299)
    want = grey + (images - grey) * tf.reshape(factor, [4, 1, 1, 1])
    np.testing.assert_allclose(recolor(images, saturation), want, atol=2e-3)
    contrast = OPS["contrast"].sample(SEED, 4, 0.5)
    want = (images - 0.5) * tf.reshape(contrast[:, 0, 0], [4, 1, 1, 1]) + 0.5
    np.testing.assert_allclose(recolor(images, contrast), want, atol=1e-6)
    hue = OPS["hue"].sample(SEED, 4, 1.0)[:, :, :3]
    np.testing.assert_allclose(tf.matmul(hue, hue, transpose_b=True), np.broadcast_to(np.eye(3), (4, 3, 3)), atol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(hue, 2), np.ones((4, 3)), atol=1e-6)  # grey stays grey


@pytest.mark.parametrize("kinds", [("geometry", "displacement", "color"), ("pixel",)], ids="/".join)
def test_parameters_do_not_depend_on_the_number_of_replicas(kinds):
    images, config = noise(8), AugmentConfig(**{name: float(OPS[name].kind in kinds) for name in OPS})
    whole = augment(tf.constant(images), SEED, config).numpy()
    parts = [augment(tf.constant(images[2 * r : 2 * r + 2]), SEED, config, r, 4).numpy() for r in range(4)]
    difference = np.abs(np.concatenate(parts) - whole)
    # Rounding differs with the size of a batch; quantised coefficients of blockiness may fall to the other side.
    assert difference.max() < (0.02 if "pixel" in kinds else 1e-5) and np.median(difference) < 1e-5


def views_of(images, *settings):
    return views(tf.constant(images), override(Config(), settings))


def test_eight_views_are_the_dihedral_group():
    image = noise(1, 5)
    got = {view.numpy().tobytes() for view in views_of(image, "predict.views=8")}
    want = {np.rot90(x, k, (1, 2)).tobytes() for x in (image, image[:, :, ::-1]) for k in range(4)}
    assert got == want


@pytest.mark.parametrize("kind", VIEWS)
def test_the_first_view_is_the_image_itself(kind):
    images = noise(3, 16).astype(np.float32) / 255
    for count in VIEW_COUNTS[kind][:4]:
        found = views_of(images, f"predict.view_kind={kind}", f"predict.views={count}")
        assert len(found) == count and {view.shape for view in found} == {images.shape}
        np.testing.assert_array_equal(found[0], images)
        assert len({view.numpy().tobytes() for view in found}) == count


def test_crops_are_corners_scaled_up():
    image = np.zeros((1, 64, 64, 3), np.float32)
    image[:, :8, 56:] = 1  # the corner at the top right
    found = views_of(image, "predict.view_kind=crops", "predict.views=10")
    seen = [float(tf.reduce_mean(view)) for view in found[:5]]
    whole = 1 / 64
    assert (
        seen[0] == whole and seen[2] == pytest.approx(whole * (8 / 7) ** 2, rel=0.05) and max(seen[1], seen[3]) < 2e-4
    )
    for crop, mirrored in zip(found[:5], found[5:]):
        np.testing.assert_array_equal(crop[:, :, ::-1], mirrored)


def test_random_views_do_not_depend_on_the_batch():
    images = noise(5, 24).astype(np.float32) / 255
    settings = ("predict.view_kind=random", "predict.views=3", "augment.rotate=1", "augment.hue=1")
    for whole, alone in zip(views_of(images, *settings), views_of(images[3:4], *settings)):
        np.testing.assert_allclose(whole[3:4], alone, atol=1e-5)


@pytest.mark.parametrize("kind, count", [("dihedral", 3), ("crops", 2), ("random", 65)])
def test_a_number_of_views_that_the_kind_lacks_is_refused(kind, count):
    with pytest.raises(UserError, match=f"predict.views is {count}; valid for {kind} views: 1"):
        override(Config(), [f"predict.view_kind={kind}", f"predict.views={count}"])


# Policies and mixing


def test_randaugment_raises_n_ops_of_each_image():
    config = dataclasses.replace(OFF, rotate=0.2, randaugment_n=2, randaugment_m=0.7)
    found = strengths(SEED, config, 4000)
    assert set(found) == set(of_kind("geometry", "displacement", "color"))
    values = np.stack([tf.convert_to_tensor(value).numpy() for value in found.values()])
    rotate = values[list(found).index("rotate")]
    assert set(np.unique(rotate)) == {np.float32(0.2), np.float32(0.7)}
    raised = (values == np.float32(0.7)).sum(0)
    assert set(raised) == {1, 2}  # drawn with replacement
    share = (values == np.float32(0.7)).mean(1)
    expected = 1 - (1 - 1 / len(found)) ** 2
    assert np.abs(share - expected).max() < 5 * np.sqrt(expected / 4000)


def test_one_of_a_group_is_kept():
    config = dataclasses.replace(OFF, rotate=1.0, shear=0.5, hue=0.3, contrast=0.2, zoom=1.0,
                                 one_of="rotate, shear ,hue; contrast,brightness")  # fmt: skip
    found = {name: np.broadcast_to(value, [3000]) for name, value in strengths(SEED, config, 3000).items()}
    kept = np.stack([found[name] > 0 for name in ("rotate", "shear", "hue")])
    assert (kept.sum(0) == 1).all() and np.abs(kept.mean(1) - 1 / 3).max() < 0.05
    assert set(np.unique(found["shear"])) == {0.0, 0.5} and (found["zoom"] == 1).all()
    assert abs((found["contrast"] > 0).mean() - 0.5) < 0.05 and "brightness" not in found


def test_one_of_names_what_is_no_op():
    with pytest.raises(UserError, match="no op 'rotat'; did you mean 'rotate'"):
        groups("rotat,shear")


@pytest.mark.parametrize("config", [
    dataclasses.replace(COMPOSED, randaugment_n=3, randaugment_m=1.0),
    dataclasses.replace(COMPOSED, one_of="rotate,shear,hue", interpolation="bicubic", border="constant"),
    dataclasses.replace(COMPOSED, mixup=1.0, cutmix=1.0),
], ids=["randaugment", "one_of", "mixed"])  # fmt: skip
def test_policies_compile_and_do_not_depend_on_the_replicas(config):
    images, target = tf.constant(noise(8, 24)), tf.constant(np.eye(8, dtype=np.float32))

    def both(x, y, seed, replica=0, replicas=1):
        return mix(augment(x, seed, config, replica, replicas), y, seed, config, replica, replicas)

    whole = both(images, target, SEED)
    assert float(tf.reduce_min(whole[0])) >= -1e-6 and float(tf.reduce_max(whole[0])) <= 1 + 1e-6
    compiled = tf.function(both, jit_compile=True)(images, target, SEED)
    parts = [both(images[2 * r : 2 * r + 2], target[2 * r : 2 * r + 2], SEED, r, 4) for r in range(4)]
    for number in range(2):
        np.testing.assert_allclose(compiled[number], whole[number], atol=0.02)
        np.testing.assert_allclose(np.concatenate([part[number] for part in parts]), whole[number], atol=1e-5)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixing_gives_truths_the_share_of_the_pixels(name):
    batch, size = 12, 40
    images = tf.constant(
        np.broadcast_to((np.arange(batch) % 2)[:, None, None, None], (batch, size, size, 3)), tf.float32
    )
    target = tf.constant(np.eye(batch, dtype=np.float32))
    config = dataclasses.replace(OFF, **{name: 1.0})
    mixed, truth = mix(images, target, SEED, config)
    np.testing.assert_allclose(tf.reduce_sum(truth, 1), np.ones(batch), atol=1e-6)
    shown = tf.reduce_mean(mixed, axis=[1, 2, 3]).numpy()  # black and white: the mean tells the share of the odd one
    odd = truth.numpy()[:, 1::2].sum(1)
    np.testing.assert_allclose(shown, odd, atol=1e-5)
    own = np.diag(truth.numpy())
    assert (own >= 0.5 - 1e-6).all() and own.min() < 0.8 and np.ptp(own) > 0.1
    neighbours = np.arange(batch) ^ 1
    np.testing.assert_allclose(truth.numpy()[np.arange(batch), neighbours], 1 - own, atol=1e-6)
    if name == "cutmix":
        assert set(np.unique(mixed)) == {0.0, 1.0}
    again = mix(images, target, SEED, dataclasses.replace(OFF, **{name: 0.0}))
    np.testing.assert_array_equal(again[0], images)
    np.testing.assert_array_equal(again[1], target)


def test_the_last_of_an_odd_batch_stays_alone():
    target = tf.constant(np.eye(3, dtype=np.float32))
    mixed, truth = mix(tf.constant(noise(3).astype(np.float32)), target, SEED, dataclasses.replace(OFF, mixup=1.0))
    np.testing.assert_allclose(mixed[2], noise(3)[2], rtol=1e-6)
    np.testing.assert_array_equal(truth[2], [0, 0, 1])
