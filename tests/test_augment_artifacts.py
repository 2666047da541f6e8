"""What is drawn into images and what is erased: areas against formulas, places, edges, and the same at every size."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from melanoma_tf.augment import OPS, drawing  # noqa: E402
from melanoma_tf.augment.artifacts import HAIRS, _hair  # noqa: E402

SEED = tf.constant([2, 71])
DRAWN = ("hair", "ruler", "ink", "vignette")
ERASING = ("cutout", "coarse_dropout", "grid_mask")


def skin(batch, size):
    """float32[batch,size,size,3] in [0.3, 0.9]: smooth, the same at every size."""
    y, x = np.mgrid[:size, :size] / size + 0.5 / size
    channels = [0.6 + 0.3 * np.sin(3 * x + 2 * y + channel) for channel in range(3)]
    return tf.constant(np.repeat(np.stack(channels, -1)[None], batch, 0), tf.float32)


def erased_share(name, parameters, size):
    """float[B,S,S]: how much of each pixel shows the mean colour, from what became of noise."""
    batch = len(tf.nest.flatten(parameters)[0])
    images = np.random.default_rng(0).integers(0, 2, (batch, size, size, 3)).astype(np.float32)
    mean = drawing.mean_colour(tf.constant(images)).numpy()[:, None, None]
    return ((OPS[name].apply(tf.constant(images), parameters) - images) / (mean - images)).numpy().mean(-1)


def share_inside(centre, length):
    return np.minimum(centre + length / 2, 1) - np.maximum(centre - length / 2, 0)


def inside_lattice(parameters, size):
    """bool[B,size,size]: pixels whose centre lies in a square of the grid, by its definition."""
    y, x = np.mgrid[:size, :size] / size + 0.5 / size - 0.5
    inside = []
    for period, hole, cosine, sine, *places in zip(
        *(parameters[n].numpy() for n in ("period", "hole", "cosine", "sine", "along", "across"))
    ):
        axes = (x * cosine + y * sine, y * cosine - x * sine)
        cells = [(axis / period + place) % 1 for axis, place in zip(axes, places)]
        inside.append(np.logical_and(*(np.abs(cell - 0.5) < hole / period / 2 for cell in cells)))
    return np.stack(inside)


def test_cutout_erases_the_part_of_the_square_that_is_in_the_image():
    parameters = OPS["cutout"].sample(SEED, 60, 1.0)
    x, y, width, height = (parameters[name].numpy()[:, 0] for name in ("x", "y", "width", "height"))
    want = share_inside(x, width) * share_inside(y, height)
    got = erased_share("cutout", parameters, 40).mean((1, 2))
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert (want < width * height - 1e-3).any() and 0.35 < width.max() <= 0.375


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_rectangles_lie_inside_and_erase_their_union(strength):
    parameters = OPS["coarse_dropout"].sample(SEED, 12, strength)
    x, y, width, height = (parameters[name].numpy() for name in ("x", "y", "width", "height"))
    assert width.shape == (12, 8) and 0.15 * strength < width.max() <= 0.2 * strength
    fine, times = 40, 16
    centre = (np.arange(fine * times) + 0.5) / (fine * times)
    across, down = (
        np.abs(centre - place[..., None]) < side[..., None] / 2 for place, side in ((x, width), (y, height))
    )
    union = (down[:, :, :, None] & across[:, :, None]).any(1)
    want = union.reshape(12, fine, times, fine, times).mean((2, 4))
    got = erased_share("coarse_dropout", parameters, fine)
    assert np.abs(got - want).mean() < 0.01  # corners that share a pixel are multiplied, not joined
    for place, side in ((x, width), (y, height)):
        assert (place - side / 2 >= 0).all() and (place + side / 2 <= 1).all()


def test_grid_erases_the_squares_of_its_lattice():
    parameters = OPS["grid_mask"].sample(SEED, 24, 1.0)
    times, size = 8, 48
    want = inside_lattice(parameters, size * times).reshape(24, size, times, size, times).mean((2, 4))
    got = erased_share("grid_mask", parameters, size)
    assert np.abs(got - want).mean() < 0.01 and np.abs(got - want).max() < 0.45
    ratio = (parameters["hole"] / parameters["period"]).numpy()
    assert ratio.max() <= 0.5 and abs((got.mean((1, 2)) - ratio**2).mean()) < 0.01


@pytest.mark.parametrize("name", ERASING)
def test_what_is_erased_shows_the_mean_colour_of_the_image(name):
    images = skin(8, 64)
    got = OPS[name].apply(images, OPS[name].sample(SEED, 8, 1.0)).numpy()
    mean = images.numpy().mean((1, 2), keepdims=True)
    toward = np.abs(got - mean) <= np.abs(images - mean) + 0.02
    assert toward.all() and (np.abs(got - images) > 0.05).any()
    np.testing.assert_allclose(drawing.mean_colour(images), mean[:, 0, 0], atol=0.01)


def one_hair(**changed):
    values = {"angle": 0.3, "bend": 0.5, "twist": 0.2, "reach": 0.7, "half_width": 0.01, "taper": 0.0, "opacity": 1.0,
              "shadow": 0.0} | changed  # fmt: skip
    values |= drawing.direction(values.pop("angle"))
    return {name: tf.constant([[[float(value)]]]) for name, value in values.items()}


def cover_of(size, x=0.0, y=0.0, **changed):
    across, down = drawing.positions(size)
    return _hair(across - x, down - y, one_hair(**changed), size)[0].numpy()[0]


def curve(reach, angle, bend, twist, x=0.0, y=0.0, points=2000):
    u = np.linspace(-reach, reach, points)
    v = bend * u**2 + twist * u**3
    return x + u * np.cos(angle) - v * np.sin(angle), y + u * np.sin(angle) + v * np.cos(angle)


@pytest.mark.parametrize("size", [64, 128, 301])
@pytest.mark.parametrize("taper", [0.0, 1.0])
def test_a_hair_covers_its_length_times_its_width(size, taper):
    got = cover_of(size, taper=taper, opacity=0.8).sum() * (2 / size) ** 2
    x, y = curve(0.7, 0.3, 0.5, 0.2, points=2001)
    tip = np.linspace(-1, 1, 2000).clip(0)
    want = 0.8 * (np.hypot(np.diff(x), np.diff(y)) * 2 * 0.01 * (1 - taper * tip**2)).sum()
    assert got == pytest.approx(want, rel=0.025)


@pytest.mark.parametrize("angle, bend, twist", [(0.0, 0.0, 0.0), (0.4, 0.7, 0.4), (2.0, -0.7, 0.2), (-2.5, 0.3, -0.4)])
def test_a_hair_lies_within_its_width_of_its_curve(angle, bend, twist):
    size = 128
    got = cover_of(size, 0.1, -0.2, angle=angle, bend=bend, twist=twist, half_width=0.03)
    y, x = np.mgrid[:size, :size] / 64 + 1 / 128 - 1
    px, py = curve(0.7, angle, bend, twist, 0.1, -0.2, 500)
    distance = np.hypot(x[..., None] - px, y[..., None] - py).min(-1)
    want = np.clip((0.03 - distance) * size / 2 + 0.5, 0, 1)
    assert np.minimum(got, want).sum() > 0.9 * np.maximum(got, want).sum()


def test_the_edge_of_a_hair_is_anti_aliased():
    cover = cover_of(128, half_width=0.02)
    assert cover.max() == 1 and ((cover > 0.1) & (cover < 0.9)).sum() > 100
    moved = cover_of(128, x=0.1 * 2 / 128, half_width=0.02)
    assert 0 < np.abs(moved - cover).max() < 0.15  # a tenth of a pixel


def test_a_hair_thinner_than_a_pixel_is_faint_and_not_interrupted():
    cover = cover_of(64, angle=0.37, bend=0.0, twist=0.0, half_width=0.15 / 64, reach=5.0)
    strongest = cover.max(0)
    assert strongest.min() > 0.05 and strongest.max() < 0.2


def test_hair_grows_in_number_and_width_with_the_strength():
    weak, strong = (OPS["hair"].sample(SEED, 500, strength)["hairs"] for strength in (0.25, 1.0))
    count = [(hairs["opacity"].numpy() > 0).sum(1) for hairs in (weak, strong)]
    assert count[0].max() == HAIRS / 4 and count[1].max() == HAIRS and (count[0] <= count[1]).all()
    assert (weak["half_width"].numpy() < strong["half_width"].numpy()).all()
    widths = strong["half_width"].numpy() * 512  # full width in pixels at 512
    assert 0.4 < widths.min() and widths.max() < 4.3


def test_hair_changes_nothing_away_from_it():
    parameters = OPS["hair"].sample(SEED, 6, 0.4)
    images = skin(6, 96)
    changed = np.abs(OPS["hair"].apply(images, parameters) - images).max(-1) > 1e-6
    hairs = {name: values.numpy() for name, values in parameters["hairs"].items()}
    y, x = np.mgrid[:96, :96] / 48 + 1 / 96 - 1
    for image in range(6):
        near = np.zeros((96, 96), bool)
        for number in np.flatnonzero(hairs["opacity"][image]):
            h = {name: values[image, number] for name, values in hairs.items()}
            px, py = curve(h["reach"], np.arctan2(h["sine"], h["cosine"]), h["bend"], h["twist"], h["x"], h["y"], 150)
            distance = np.hypot(x[..., None] - px, y[..., None] - py).min(-1)
            near |= distance < 7 * h["half_width"] + 2.5 / 48
        assert near.mean() < 0.9 and not (changed[image] & ~near).any()


def test_a_shadow_lies_on_the_side_away_from_the_light():
    across, down = drawing.positions(128)
    for side in (-1, 1):
        hair = one_hair(angle=0.0, bend=0.0, twist=0.0, shadow=0.03 * side)
        shadow = _hair(across, down, hair, 128)[1].numpy()[0]
        centre = (shadow * down.numpy()[0]).sum() / shadow.sum()
        assert centre == pytest.approx(0.03 * side, abs=0.002) and len(np.unique(shadow.round(2))) > 3


def test_a_vignette_is_bright_inside_and_dark_outside():
    images = skin(40, 64)
    parameters = OPS["vignette"].sample(SEED, 40, 1.0)
    got = OPS["vignette"].apply(images, parameters).numpy()
    x, y, radius, edge = (parameters[name].numpy()[:, None, None] for name in ("x", "y", "radius", "edge"))
    rows, columns = np.mgrid[:64, :64] / 32 + 1 / 64 - 1
    distance = np.hypot(columns - x, rows - y)
    inside, outside = distance < radius - edge - 1e-4, distance > radius + 1e-4
    np.testing.assert_array_equal(got[inside], images.numpy()[inside])
    np.testing.assert_allclose(got[outside], np.broadcast_to(parameters["outside"][:, None, None], got.shape)[outside])
    assert got[outside].max() <= 0.06 and outside.any((1, 2)).mean() > 0.5
    half = np.abs(distance - (radius - edge / 2)) < 0.003  # in the middle of the edge half of the light
    want = (images.numpy() + parameters["outside"].numpy()[:, None, None]) / 2
    assert half.sum() > 100 and np.abs(got - want)[half].max() < 0.15


def test_the_middle_of_the_image_is_left_to_the_lesion():
    images = skin(300, 48)
    rows, columns = np.mgrid[:48, :48] / 24 + 1 / 48 - 1
    for name, radius in (("vignette", 0.45), ("ruler", 0.55), ("ink", 0.4)):
        got = OPS[name].apply(images, OPS[name].sample(SEED, 300, 1.0)).numpy()
        middle = np.hypot(rows, columns) < radius
        np.testing.assert_allclose(got[:, middle], images.numpy()[:, middle], atol=1e-6, err_msg=name)
        assert (np.abs(got - images) > 0.05).any((1, 2, 3)).mean() > 0.3


def ruler(**changed):
    values = {"turn": 0.0, "away": 0.5, "pitch": 0.08, "length": 0.08, "half_width": 0.008, "count": 10.0, "start": 0.5,
              "base": 0.0, "opacity": 1.0} | changed  # fmt: skip
    values |= drawing.direction(values.pop("turn"))
    return {name: tf.constant([float(value)]) for name, value in values.items()}


def test_a_ruler_has_long_ticks_at_each_fifth_and_tenth():
    size = 512
    got = OPS["ruler"].apply(tf.ones([1, size, size, 3]), ruler()).numpy()[0, ..., 0]
    row = lambda distance: int((0.5 + distance + 1) * size / 2)  # noqa: E731

    def ticks(distance):
        dark = np.concatenate([[False], got[row(distance)] < 0.5])
        return (np.flatnonzero(np.diff(dark.astype(int)) > 0) + 2) / size * 2 - 1

    shown = [(np.arange(-10, 11) + 0.5) * 0.08 for _ in range(3)]
    for distance, every, places in zip((0.04, 0.10, 0.14), (1, 5, 10), shown):
        want = places[np.arange(-10, 11) % every == 0]
        np.testing.assert_allclose(ticks(distance), want, atol=0.008)
    assert len(ticks(0.17)) == len(ticks(-0.02)) == 0
    area = (1 - got).sum() * (2 / size) ** 2 / (1 - 0.08)
    assert area == pytest.approx(0.016 * 0.08 * (21 + 0.5 * 5 + 0.5 * 3), rel=0.02)


def test_a_ruler_turns_and_may_have_a_base_line():
    images = tf.ones([1, 128, 128, 3])
    got = OPS["ruler"].apply(images, ruler(base=1.0, turn=np.pi / 2)).numpy()
    without = OPS["ruler"].apply(images, ruler(base=1.0)).numpy()
    np.testing.assert_allclose(got, np.rot90(without, -1, (1, 2)), atol=1e-3)
    line = without[0, 95:97, :, 0].min(0)
    assert (line[20:115] < 0.6).all() and (line[:10] > 0.99).all()


@pytest.mark.parametrize("name", ["ruler", "ink"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_what_is_there_or_not_is_there_with_half_the_strength(name, strength):
    amount = OPS[name].sample(SEED, 4000, strength)[{"ruler": "opacity", "ink": "density"}[name]].numpy()
    assert abs((amount > 0).mean() - strength / 2) < 0.03


def test_ink_takes_light_and_least_of_the_blue():
    images = skin(40, 64)
    got = OPS["ink"].apply(images, OPS["ink"].sample(SEED, 40, 1.0))
    kept = (got / images).numpy()
    assert kept.max() <= 1 + 1e-6
    inked = kept[kept.min(-1) < 0.7]
    assert len(inked) > 500 and (inked[:, 2] > inked[:, 0]).all() and (inked[:, 2] > inked[:, 1]).all()


@pytest.mark.parametrize("name", [*DRAWN, *ERASING])
def test_the_same_is_drawn_at_every_size(name):
    parameters = OPS[name].sample(SEED, 8, 1.0)
    apply = tf.function(OPS[name].apply, jit_compile=True)
    large = apply(skin(8, 512), parameters).numpy().reshape(8, 128, 4, 128, 4, 3).mean((2, 4))
    small = apply(skin(8, 128), parameters).numpy()
    error = ((large - small) ** 2).mean((1, 2, 3))
    assert 10 * np.log10(1 / np.maximum(error, 1e-12)).min() > 38
    assert np.abs(large - small).sum() < 0.17 * np.abs(small - skin(8, 128)).sum()
