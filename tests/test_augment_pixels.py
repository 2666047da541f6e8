"""Pixel ops against OpenCV, Pillow and golden values."""

import io
import math

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
cv2 = pytest.importorskip("cv2")
Image = pytest.importorskip("PIL.Image")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from melanoma_tf.augment import OPS, augment, filters, noise, tone  # noqa: E402
from melanoma_tf.config import AugmentConfig  # noqa: E402
from melanoma_tf.models.color_constancy import ShadesOfGrey  # noqa: E402

SEED = tf.constant([3, 14])
NAMES = ["color_constancy", "gamma", "equalize", "gaussian_blur", "median_blur", "motion_blur", "sharpen",
         "gaussian_noise", "blockiness"]  # fmt: skip


def rough(batch=3, size=512, seed=0):
    """Noise, float32 in [0, 1]."""
    return np.random.default_rng(seed).random((batch, size, size, 3), np.float32)


def lesions(batch=3, size=512):
    """Dark spots with structure on bright skin, whole levels of 255 as float32 in [0, 1]."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    images = []
    for seed in range(batch):
        random = np.random.default_rng(seed)
        texture = sum(
            cv2.resize(random.normal(size=(side, side, 3)), (size, size), interpolation=cv2.INTER_CUBIC)
            for side in (4, 16, 64)
        )
        spot = 1 / (1 + np.exp(8 * (np.hypot(x + 0.3 * seed - 0.3, y) - 0.5)))
        skin, pigment = np.array([0.85, 0.68, 0.6]), np.array([0.4, 0.38, 0.34])
        images.append(skin - spot[..., None] * pigment + 0.03 * texture * (1 + spot[..., None]))
    return np.round(np.clip(images, 0, 1) * 255).astype(np.float32) / 255


def psnr(a, b):
    return -10 * math.log10(np.mean((np.asarray(a, np.float64) - b) ** 2))


def test_this_file_knows_the_ops():
    assert [name for name in OPS if name in NAMES] == NAMES


# Filters


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("axis", [1, 2])
@given(before=st.integers(0, 17), after=st.integers(0, 17))
@settings(max_examples=20, deadline=None)
def test_reflection_has_twice_the_size_as_its_period(size, axis, before, after):
    images = rough(1, 5)[:, :size, :size]
    place = np.arange(-before, size + after) % (2 * size)
    want = np.take(images, np.minimum(place, 2 * size - 1 - place), axis)
    np.testing.assert_array_equal(filters.reflect(tf.constant(images), before, after, axis), want)


@pytest.mark.parametrize("size, amounts", [(512, [0.2, 0.5, 1.0]), (600, [0.4, 0.7, 0.9]), (90, [0.3, 0.8, 1.0])])
def test_gaussian_blur_equals_opencv(size, amounts):
    images = rough(size=size)
    got = filters.gaussian_blur(tf.constant(images), tf.constant(amounts)).numpy()
    largest = max(2 * size / 512, 0.5)
    width = 2 * math.ceil(3 * largest) + 1
    for image, one, amount in zip(images, got, amounts):
        want = cv2.GaussianBlur(image, (width, width), amount * largest, borderType=cv2.BORDER_REFLECT)
        np.testing.assert_allclose(one, want, atol=2e-6)


def test_sharpen_is_the_unsharp_mask():
    images, amounts = rough(), [0.0, 0.4, 1.0]
    got = filters.sharpen(tf.constant(images), tf.constant(amounts)).numpy()
    for image, one, amount in zip(images, got, amounts):
        blurred = cv2.GaussianBlur(image, (7, 7), 1.0, borderType=cv2.BORDER_REFLECT)
        np.testing.assert_allclose(one, np.clip(image + amount * (image - blurred), 0, 1), atol=5e-6)


def test_median_equals_opencv():
    images = np.round(rough(4, 65) * 255) / 255
    got = filters.median_blur(tf.constant(images), tf.constant([True, False, True, True])).numpy()
    for number, (image, one) in enumerate(zip(images, got)):
        padded = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REFLECT)
        want = image if number == 1 else cv2.medianBlur(padded, 3)[1:-1, 1:-1]
        np.testing.assert_array_equal(one, want)


@pytest.mark.parametrize("size", [512, 600, 40])
def test_motion_blur_equals_opencv(size):
    images, amounts, angles = rough(size=size), tf.constant([0.3, 0.8, 1.0]), tf.constant([-1.2, 0.4, 1.5])
    got = filters.motion_blur(tf.constant(images), {"amount": amounts, "angle": angles}).numpy()
    reach = max(3 * size / 512, 0.5)
    kernels = filters.line_kernel(amounts * reach, angles, math.ceil(reach)).numpy()
    for image, one, kernel in zip(images, got, kernels):
        want = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT)
        np.testing.assert_allclose(one, want, atol=2e-6)


def test_kernels_of_motion_are_lines():
    level, upright, slant, none = filters.line_kernel(
        tf.constant([3.0, 3.0, 2.0, 0.0]), tf.constant([0.0, math.pi / 2, math.pi / 4, 1.0]), 3
    ).numpy()
    # thirteen points half a pixel apart: the ends have one and a half of them, every other pixel two
    row = np.array([1.5, 2, 2, 2, 2, 2, 1.5]) / 13
    np.testing.assert_allclose(level, np.outer([0, 0, 0, 1, 0, 0, 0], row), atol=1e-6)
    np.testing.assert_allclose(upright, level.T, atol=1e-6)
    np.testing.assert_allclose(slant, slant.T, atol=1e-6)
    assert np.trace(slant) > 0.6 and np.abs(slant[np.abs(np.subtract(*np.mgrid[:7, :7])) > 1]).max() < 1e-6
    np.testing.assert_array_equal(none, np.outer(np.arange(7) == 3, np.arange(7) == 3))


@given(reach=st.floats(0, 4), angle=st.floats(-math.pi / 2, math.pi / 2))
@settings(max_examples=50, deadline=None)
def test_kernels_of_motion_sum_to_one_and_move_nothing(reach, angle):
    kernel = filters.line_kernel(tf.constant([reach]), tf.constant([angle]), 4).numpy()[0]
    assert kernel.min() >= 0 and kernel.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-5)


def test_filters_mean_the_same_at_every_size():
    """A step blurred at 512 pixels and shown at 1024 is the step blurred at 1024 pixels."""
    for name, parameters in (
        ("gaussian_blur", tf.constant([1.0])), ("motion_blur", {"amount": tf.constant([1.0]), "angle": tf.zeros([1])}),
    ):  # fmt: skip
        small, large = (np.zeros((1, 8, size, 3), np.float32) for size in (512, 1024))
        small[:, :, 256:], large[:, :, 512:] = 1, 1
        small, large = (np.tile(step, (1, step.shape[2] // 8, 1, 1)) for step in (small, large))
        small, large = (OPS[name].apply(tf.constant(step), parameters).numpy()[0, 0, :, 0] for step in (small, large))
        assert 0.2 < small[255] < 0.5 and np.abs(large.reshape(512, 2).mean(1) - small).max() < 0.03, name


# Noise and blocks


def noise_of(images, deviations, keys):
    return noise.gaussian_noise(
        tf.constant(images), {"deviation": tf.constant(deviations), "key": tf.constant(keys)}
    ).numpy()


def test_noise_is_gaussian_and_white():
    images = np.full((3, 128, 128, 3), 0.5, np.float32)
    found = (noise_of(images, [0.05, 0.05, 0.025], [0, 1, (1 << 24) - 1]) - 0.5).astype(np.float64)
    unit = found / np.reshape([0.05, 0.05, 0.025], [3, 1, 1, 1])
    count = unit[0].size
    for one in unit:
        moments = [np.mean(one**power) for power in range(1, 5)]
        # a mean of x^p is as uncertain as sqrt(var(x^p) / count): 1, 2, 15 and 96 are the variances
        for got, want, variance in zip(moments, [0, 1, 0, 3], [1, 2, 15, 96]):
            assert abs(got - want) < 5 * math.sqrt(variance / count)
        assert 4 < np.abs(one).max() < 6
        for pair in (one[1:] * one[:-1], one[:, 1:] * one[:, :-1], one[..., 1:] * one[..., :-1], one[8:] * one[:-8]):
            assert abs(pair.mean()) < 5 / math.sqrt(pair.size)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.mean(unit[a] * unit[b])) < 5 / math.sqrt(count)
    spectrum = np.abs(np.fft.fft2(unit[0, :, :, 0])) ** 2 / 128**2
    assert spectrum.max() < 2.5 * math.log(128**2)  # exponential with mean 1: no line stands out


def test_noise_depends_on_nothing_but_the_image_and_its_key():
    images, keys = rough(4, 33), [5, 6, 7, 8]
    whole = noise_of(images, [0.04] * 4, keys)
    for number in range(4):
        alone = noise_of(images[number : number + 1], [0.04], keys[number : number + 1])
        np.testing.assert_array_equal(alone[0], whole[number])


def test_keys_of_noise_differ():
    keys = noise.sample_gaussian_noise(SEED, 1000, 1.0)["key"].numpy()
    assert len(set(keys)) > 995 and keys.min() >= 0 and 0.98 * 2**24 < keys.max() < 2**24


def saved(image, quality):
    """By Pillow as a JPEG 4:4:4 and back, float32 in [0, 1]."""
    file = io.BytesIO()
    Image.fromarray(np.round(image * 255).astype(np.uint8)).save(file, "jpeg", quality=quality, subsampling=0)
    return np.asarray(Image.open(file), np.float32) / 255, Image.open(file).quantization


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 90, 99])
def test_steps_are_those_of_a_file(quality):
    steps = noise.quantisation(tf.constant([float(quality)])).numpy()[0]
    tables = saved(lesions(1, 16)[0], quality)[1]
    for plane, table in ((0, 0), (1, 1), (2, 1)):
        np.testing.assert_array_equal(steps[plane], tables[table])


@pytest.mark.parametrize("size", [128, 51])
@pytest.mark.parametrize("quality", [10, 30, 50, 75, 90])
def test_blocks_equal_a_file_of_that_quality(quality, size):
    image = lesions(1, size)[0]
    got = noise.blockiness(tf.constant(image[None]), tf.constant([float(quality)])).numpy()[0]
    want = saved(image, quality)[0]
    inner = np.s_[: size // 8 * 8, : size // 8 * 8]  # libjpeg fills blocks at the border otherwise
    # libjpeg rounds Y, Cb and Cr to whole levels first, so that a coefficient near the middle goes to the other step
    assert psnr(got[inner], want[inner]) > max(38, psnr(image[inner], want[inner]) + 7)


def test_blocks_show_eight_pixels_apart():
    got = noise.blockiness(tf.constant(lesions(1, 256)), tf.constant([20.0])).numpy()
    steps = np.abs(np.diff(got, axis=2)).mean((0, 1, 3))
    assert steps[7::8].mean() > 1.5 * np.delete(steps, np.s_[7::8]).mean()


def test_quality_reaches_from_30_to_100():
    quality = noise.sample_blockiness(SEED, 2000, 1.0).numpy()
    assert 30 <= quality.min() < 31 and 99 < quality.max() <= 100
    assert noise.sample_blockiness(SEED, 2000, 0.5).numpy().min() >= 65


# Tone


def test_gamma_is_a_power():
    images = np.tile(np.float32([0, 1 / 16, 1 / 4, 9 / 16, 1]), 15).reshape(1, 5, 5, 3).repeat(3, 0)
    got = tone.gamma(tf.constant(images), tf.constant([0.5, 1.0, 1.5])).numpy()
    for one, values in zip(got, ([0, 1 / 4, 1 / 2, 3 / 4, 1], [0, 1 / 16, 1 / 4, 9 / 16, 1],
                                 [0, 1 / 64, 1 / 8, 27 / 64, 1])):  # fmt: skip
        np.testing.assert_allclose(one.ravel(), np.tile(values, 15), atol=1e-6)


def test_gamma_is_as_often_up_as_down():
    exponents = tone.sample_gamma(SEED, 4000, 1.0).numpy()
    assert 1 / 1.5 <= exponents.min() < 0.67 and 1.49 < exponents.max() < 1.5
    assert abs(np.log(exponents).mean()) < 5 * math.log(1.5) / math.sqrt(3 * 4000)


def test_color_constancy_takes_the_tint_away():
    grey = rough(1, 64)[..., :1] * 0.5
    tint = np.array([1.2, 1.0, 0.8], np.float32)
    got = tone.color_constancy(tf.constant(np.repeat(grey * tint, 3, 0)), tf.constant([0.0, 0.5, 1.0])).numpy()
    level = math.sqrt((1.2**2 + 1.0**2 + 0.8**2) / 3)
    for one, gain in zip(got, (tint, (tint + level) / 2, np.full(3, level))):
        np.testing.assert_allclose(one, grey[0] * gain, atol=1e-6)


def test_color_constancy_is_that_of_the_model():
    images = tf.constant(lesions(size=64))
    np.testing.assert_allclose(tone.color_constancy(images, tf.ones([3])), ShadesOfGrey()(images), atol=1e-6)


def luma_of(images):
    return cv2.transform(np.ascontiguousarray(images), np.float32([tone.LUMA]))


def test_one_tile_without_limit_equals_opencv_equalisation():
    for image in lesions(size=256):
        luma = np.round(luma_of(image) * 255) / 255
        got = tone.equalized(tf.constant(luma[None]), 1, math.inf).numpy()[0]
        want = cv2.equalizeHist(np.round(luma * 255).astype(np.uint8)) / 255
        # a level of 32 holds eight grey values; what lies within it is taken as even
        assert np.abs(got - want).mean() < 0.01 and np.abs(got - want).max() < 2 / 32


@pytest.mark.parametrize("size", [256, 512])
def test_tiles_with_limit_equal_opencv_clahe(size):
    clahe = cv2.createCLAHE(tone.MAX_SLOPE, (tone.TILES, tone.TILES))
    for image in lesions(size=size):
        luma = np.round(luma_of(image) * 255) / 255
        got = tone.equalized(tf.constant(luma[None]), tone.TILES, tone.MAX_SLOPE).numpy()[0]
        want = clahe.apply(np.round(luma * 255).astype(np.uint8)) / 255
        changed = np.abs(want - luma).mean()
        assert changed > 0.05 and np.abs(got - want).mean() < changed / 2
        assert np.corrcoef((got - luma).ravel(), (want - luma).ravel())[0, 1] > 0.98


def test_one_tile_with_limit_equals_opencv_clahe():
    clahe = cv2.createCLAHE(tone.MAX_SLOPE, (1, 1))
    for image in lesions(size=256):
        luma = np.round(luma_of(image) * 255) / 255
        got = tone.equalized(tf.constant(luma[None]), 1, tone.MAX_SLOPE).numpy()[0]
        want = clahe.apply(np.round(luma * 255).astype(np.uint8)) / 255
        assert np.abs(got - want).mean() < 0.01 and np.abs(want - luma).mean() > 0.1


@pytest.mark.parametrize("size", [1, 3, 16, 33, 100])
def test_equalisation_of_any_size_stays_in_range_and_smooth(size):
    luma = np.broadcast_to(np.linspace(0, 1, size, dtype=np.float32), (2, size, size))
    got = tone.equalized(tf.constant(luma), tone.TILES, tone.MAX_SLOPE).numpy()
    assert got.shape == luma.shape and got.min() >= 0 and got.max() <= 1 + 1e-6
    if size > 32:  # no seams between tiles: from pixel to pixel only the slope and the change from tile to tile
        assert np.abs(np.diff(got, axis=2)).max() < (tone.MAX_SLOPE + 1) / size + tone.TILES / size / 2
        np.testing.assert_allclose(got, got[:, :1].repeat(size, 1), atol=1e-5)


def test_equalisation_is_mixed_in_and_keeps_the_hue():
    images = lesions(size=128)
    full = tone.equalize(tf.constant(images), tf.ones([3])).numpy()
    half = tone.equalize(tf.constant(images), tf.fill([3], 0.5)).numpy()
    inside = (full > 0) & (full < 1)
    np.testing.assert_allclose(half[inside], ((images + full) / 2)[inside], atol=1e-6)
    added = full - images
    kept = inside.all(-1)
    np.testing.assert_allclose(np.ptp(added[kept], axis=-1), 0, atol=1e-5)


# All of them


@pytest.mark.parametrize("name", NAMES)
def test_weak_and_strong_occur(name):
    """Over many draws the effect reaches from next to nothing to well above its mean."""
    images = tf.constant(np.repeat(lesions(1, 64), 60, 0))
    op = OPS[name]
    effect = tf.reduce_mean(tf.abs(op.apply(images, op.sample(SEED, 60, 1.0)) - images), axis=[1, 2, 3]).numpy()
    assert effect.min() < 0.2 * effect.mean() and effect.max() > 1.2 * effect.mean()
    weaker = tf.reduce_mean(tf.abs(op.apply(images, op.sample(SEED, 60, 0.3)) - images), axis=[1, 2, 3]).numpy()
    assert weaker.mean() < 0.7 * effect.mean()


@pytest.mark.parametrize("name", NAMES)
def test_grey_stays_grey(name):
    images = np.repeat(rough(4, 24)[..., :1], 3, axis=-1)
    config = AugmentConfig(**{other: float(other == name) for other in OPS})
    got = augment(tf.constant(np.round(images * 255).astype(np.uint8)), SEED, config).numpy()
    spread = np.ptp(got, axis=-1).max()
    assert spread > 0.01 if name == "gaussian_noise" else spread < 1e-4


@pytest.mark.parametrize("size", [1, 2, 7, 16])
@pytest.mark.parametrize("name", NAMES)
def test_small_images_and_a_batch_of_one(name, size):
    for images in (rough(1, size), np.zeros((1, size, size, 3), np.float32), np.ones((1, size, size, 3), np.float32)):
        op = OPS[name]
        for seed in range(5):
            got = op.apply(tf.constant(images), op.sample(SEED + seed, 1, 1.0)).numpy()
            assert got.shape == images.shape and got.dtype == np.float32
            assert np.isfinite(got).all() and got.min() >= 0 and got.max() <= 1
