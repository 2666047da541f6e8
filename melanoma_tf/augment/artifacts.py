"""What lies between the lens and the lesion: hair, the round field of a dermatoscope, rulers, surgical ink.

All of it is drawn from formulas, none depends on the label, and no file is read. Networks take ink, rulers and dark
corners for signs of melanoma where their training images teach them to (Winkler et al. 2019, Bissoto et al. 2020);
drawn into images of either class they tell nothing. Lengths are in units of half the image's side.
"""

from __future__ import annotations

import functools
import math

import tensorflow as tf

from melanoma_tf.augment.drawing import between, covered, direction, mean_colour, mixed, positions, shares, turned, wide
from melanoma_tf.augment.op import Parameters, Strength

PIXEL = 2 / 512  # widths are thought of in pixels of an image of 512
HAIRS, HAIRS_A_TURN = 24, 6
DARK_HAIR, FAIR_HAIR, WHITE_HAIR = (0.18, 0.10, 0.08), (0.74, 0.57, 0.38), (0.93, 0.92, 0.90)
MARKS = 4
WAVES_OF_INK = (0.25, 0.16, 0.11, 0.08, 0.06, 0.045)  # lengths
WAVES = len(WAVES_OF_INK)
GOLDEN_ANGLE = 0.382  # of a turn, between one wave's direction and the next
VIOLET, BLUE = (0.40, 0.17, 0.76), (0.22, 0.30, 0.76)
RULER_BLACK = (0.08, 0.08, 0.09)


def sample_hair(seed: tf.Tensor, batch: int, strength: Strength) -> dict[str, Parameters]:
    """Up to 24 hairs of one person; their number and half of their width grow with an amplitude uniform up to strength.

    Directions scatter about a common one. One image in six is shaved: short straight stubble. Widths up to 4.2 pixels
    at 512 and colours from dark brown to blond are as seen in HAM10000; one in twelve is white.
    """
    amount, shaved, white, main, spread, thick, curl, fair, light, height, shade = shares(seed, batch, 11)
    amount = (amount * strength)[:, None]
    x, y, turn, width, bend, twist, reach, opacity = shares(seed, batch, 8, 1, HAIRS)
    is_shaved, order = shaved[:, None] < 1 / 6, tf.range(HAIRS, dtype=tf.float32)
    scatter = between(spread, 0.3, 1.0)[:, None] ** 2 * math.pi
    angle = main[:, None] * 2 * math.pi + (turn - 0.5) * scatter
    curl = tf.where(is_shaved, 0.1, between(curl * curl, 0.15, 1.0)[:, None])
    half = between(thick, 0.8, 1.9)[:, None] * between(width, 0.6, 1.1) * PIXEL * (0.5 + 0.5 * amount)
    hairs = {
        "x": between(x, -1.1, 1.1),
        "y": between(y, -1.1, 1.1),
        **direction(angle),
        "bend": curl * between(bend, -0.7, 0.7),
        "twist": curl * between(twist, -0.4, 0.4),
        "reach": tf.where(is_shaved, between(reach, 0.05, 0.11), between(reach, 0.35, 1.3)),
        "half_width": half,
        "taper": tf.where(is_shaved, 0.2, tf.ones_like(half)),
        "opacity": tf.clip_by_value(amount * HAIRS - order, 0.0, 1.0) * between(opacity, 0.65, 0.9),
        "shadow": tf.sin(light[:, None] * 2 * math.pi - angle) * half * between(height, 1.0, 3.0)[:, None],
    }
    colour = tf.where(white[:, None] < 1 / 12, tf.constant([WHITE_HAIR]), _colour(fair * fair, DARK_HAIR, FAIR_HAIR))
    return {"hairs": hairs, "colour": colour, "shade": between(shade, 0.1, 0.3)}


def draw_hair(images: tf.Tensor, parameters: Parameters) -> tf.Tensor:
    """Covers with the hairs' colour, half as tinted as the image, after the light that their shadows take."""
    size = images.shape[1]
    x, y = positions(size)

    def draw(turn: tf.Tensor, bare: tf.Tensor, lit: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        for place in range(HAIRS_A_TURN):
            number = turn * HAIRS_A_TURN + place
            hair = {name: wide(tf.gather(values, number, axis=1)) for name, values in parameters["hairs"].items()}
            cover, shadow = _hair(x - hair["x"], y - hair["y"], hair, size)
            bare, lit = bare * (1.0 - cover), lit * (1.0 - wide(parameters["shade"]) * shadow)
        return turn + 1, bare, lit

    # A loop, as XLA would merge straight code into the colouring and draw every hair once for each channel: on a CPU
    # eight times as slow.
    ones = tf.ones([images.shape[0], size, size])
    _, bare, lit = tf.while_loop(lambda turn, *_: turn < HAIRS // HAIRS_A_TURN, draw, [tf.constant(0), ones, ones])
    mean = mean_colour(images)
    light = mean / tf.maximum(tf.reduce_max(mean, axis=1, keepdims=True), 1e-3)
    return mixed(images * lit[..., None], parameters["colour"] * (0.5 + 0.5 * light), bare)


def _hair(x: tf.Tensor, y: tf.Tensor, hair: dict[str, tf.Tensor], size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """What a hair covers, and how much of its shadow lies where, float32[B,S,S] in [0, 1] each.

    In its own frame it is v = bend u^2 + twist u^3, |u| <= reach, and the distance to that is taken to first order,
    |f| / |grad f|. Towards the tip it thins out by taper (u / reach)^2. The shadow fades with the square of the
    distance from its middle, which lies beside the hair by as much as the light comes from the side.
    """
    u, v = turned(x, y, hair)
    bend, twist = hair["bend"], hair["twist"] * u
    slope = u * (2.0 * bend + 3.0 * twist)
    distance = (v - u * u * (bend + twist)) / tf.sqrt(1.0 + slope * slope)
    along = tf.clip_by_value((hair["reach"] - tf.abs(u)) * (size / 2.0) + 0.5, 0.0, 1.0) * hair["opacity"]
    tip = tf.nn.relu(u) / hair["reach"]
    half_width = hair["half_width"] * (1.0 - hair["taper"] * tip * tip)
    blur = (distance - hair["shadow"]) / (3.0 * hair["half_width"] + PIXEL)
    return along * covered(distance, half_width, size, PIXEL), along * tf.nn.relu(1.0 - blur * blur)


def sample_vignette(seed: tf.Tensor, batch: int, strength: Strength) -> dict[str, tf.Tensor]:
    """The field of a dermatoscope: its edge comes in from the corners by an amplitude uniform up to strength.

    At an amplitude of 1 the radius is 0.9 to 1.1 of half the side. The centre is up to 0.12 off along each axis, the
    edge 0.03 (sharp) to 0.28 (soft) wide, and what is outside of it has a brightness up to 0.06.
    """
    amount, x, y, edge, radius, dark = shares(seed, batch, 6)
    x, y, edge = between(x, -0.12, 0.12), between(y, -0.12, 0.12), between(edge * edge, 0.03, 0.28)
    corner = math.sqrt(2.0) + tf.sqrt(x * x + y * y) + edge
    radius = between(amount * strength, corner, between(radius, 0.9, 1.1))
    outside = dark[:, None] * tf.constant([[0.06, 0.05, 0.045]])
    return {"x": x, "y": y, "radius": radius, "edge": edge, "outside": outside}


def draw_vignette(images: tf.Tensor, parameters: Parameters) -> tf.Tensor:
    """Light falls from 1 to 0 over the edge, which ends at the radius, as 3 t^2 - 2 t^3."""
    x, y = positions(images.shape[1])
    x, y = x - wide(parameters["x"]), y - wide(parameters["y"])
    inwards = (wide(parameters["radius"]) - tf.sqrt(x * x + y * y)) / wide(parameters["edge"])
    t = tf.clip_by_value(inwards, 0.0, 1.0)
    return mixed(images, parameters["outside"], t * t * (3.0 - 2.0 * t))


def sample_ruler(seed: tf.Tensor, batch: int, strength: Strength) -> dict[str, tf.Tensor]:
    """With probability strength / 2 the scale of a contact plate: a tick a millimetre, 0.6 to 0.9 off the centre.

    A millimetre is 0.065 to 0.13, so that 15 to 30 of them make the side. The scale has 10 to 40 of them; every other
    one has a base line.
    """
    seen, turn, away, pitch, length, width, count, start, base, opacity = shares(seed, batch, 10)
    pitch = between(pitch, 0.065, 0.13)
    return {
        **direction(turn * 2 * math.pi),
        "away": between(away, 0.6, 0.9),
        "pitch": pitch,
        "length": pitch * between(length, 0.6, 1.0),
        "half_width": pitch * between(width, 0.05, 0.09),
        "count": 5.0 * tf.floor(between(count, 1.0, 5.0)),
        "start": between(start, -8.0, 8.0),
        "base": tf.where(base < 0.5, 1.0, 0.0),
        "opacity": tf.where(seen < strength / 2, between(opacity, 0.6, 0.95), 0.0),
    }


def draw_ruler(images: tf.Tensor, parameters: Parameters) -> tf.Tensor:
    """Ticks away from the centre; each fifth is 1.5 times, each tenth twice as long."""
    size = images.shape[1]
    ruler = {name: wide(values) for name, values in parameters.items()}
    u, v = turned(*positions(size), ruler)
    millimetres = u / ruler["pitch"] - ruler["start"]
    tick = tf.round(millimetres)
    fifth, tenth = (tf.where(tf.abs(tick - every * tf.round(tick / every)) < 0.5, 0.5, 0.0) for every in (5.0, 10.0))
    half_length = ruler["length"] * (1.0 + fifth + tenth) / 2
    upright = covered((millimetres - tick) * ruler["pitch"], ruler["half_width"], size)
    upright *= covered(v - ruler["away"] - half_length, half_length, size)
    upright *= tf.where(tf.abs(tick) < ruler["count"] + 0.5, 1.0, 0.0)
    line = covered(u - ruler["start"] * ruler["pitch"], ruler["count"] * ruler["pitch"], size) * ruler["base"]
    line *= covered(v - ruler["away"], ruler["half_width"], size)
    kept = 1.0 - ruler["opacity"] * tf.maximum(upright, line)
    return mixed(images, tf.repeat(tf.constant([RULER_BLACK]), images.shape[0], axis=0), kept)


def sample_ink(seed: tf.Tensor, batch: int, strength: Strength) -> dict[str, tf.Tensor]:
    """With probability strength / 2 the marks of a surgical pen around the middle, 0.7 to 0.9 away from it.

    Up to four marks, each a dot or a stroke of any direction; the pen is 0.05 to 0.1 wide, its ink violet to blue and
    of uneven density.
    """
    seen, first, width, hue, density, dots = shares(seed, batch, 6)
    angle, away, turn, length, there = shares(seed, batch, 5, 1, MARKS)
    scatter, phase = shares(seed, batch, 2, 2, WAVES)
    heading = 2 * math.pi * (tf.range(WAVES, dtype=tf.float32) * GOLDEN_ANGLE + scatter / WAVES)
    frequency = 1.0 / tf.constant(WAVES_OF_INK)
    order = tf.range(MARKS, dtype=tf.float32)
    around = 2 * math.pi * (first[:, None] + (order + between(angle, -0.25, 0.25)) / MARKS)
    away, is_dot = between(away, 0.7, 0.9), dots[:, None] < 1 / 3
    return {
        "marks": {
            "x": tf.cos(around) * away,
            "y": tf.sin(around) * away,
            **direction(turn * math.pi),
            "half_length": tf.where(is_dot, 0.01, between(length, 0.08, 0.2)),
            "away": tf.where(there < 0.6, 0.0, 9.0),
        },
        "waves": {"x": frequency * tf.cos(heading), "y": frequency * tf.sin(heading), "phase": phase},
        "half_width": between(width, 0.025, 0.05) * tf.where(dots < 1 / 3, 1.5, 1.0),
        "absorption": -tf.math.log(_colour(hue, VIOLET, BLUE)),
        "density": tf.where(seen < strength / 2, between(density, 0.6, 1.2), 0.0),
    }


def draw_ink(images: tf.Tensor, parameters: Parameters) -> tf.Tensor:
    """Takes exp(-absorption x density) of the light (Beer-Lambert): skin shows through.

    A smooth random field makes the ink uneven and its border ragged, as skin's lines do.
    """
    x, y = positions(images.shape[1])
    waves = [{name: wide(values[:, n]) for name, values in parameters["waves"].items()} for n in range(WAVES)]
    last = field = tf.zeros([])
    for wave in waves:
        last = _wave(wave["x"] * x + wave["y"] * y + wave["phase"] + 0.25 * last)
        field += last * math.sqrt(2.0 / WAVES)
    marks = [{name: wide(values[:, n]) for name, values in parameters["marks"].items()} for n in range(MARKS)]
    distances = [_distance_to_stroke(x - mark["x"], y - mark["y"], mark) for mark in marks]
    half_width = wide(parameters["half_width"])
    inside = (half_width + 0.006 * field - functools.reduce(tf.minimum, distances)) / 0.02 + 0.5
    density = tf.clip_by_value(inside, 0.0, 1.0) * (1.0 + 0.25 * field) * wide(parameters["density"])
    return images * tf.exp(-parameters["absorption"][:, None, None, :] * tf.nn.relu(density)[..., None])


def _wave(periods: tf.Tensor) -> tf.Tensor:
    """sin(2 pi periods) but for 0.06, by two parabolas a period: a tenth of the time."""
    phase = periods - tf.round(periods)
    return 8.0 * phase * (1.0 - 2.0 * tf.abs(phase))


def _distance_to_stroke(x: tf.Tensor, y: tf.Tensor, mark: dict[str, tf.Tensor]) -> tf.Tensor:
    """float32[B,S,S], to a straight stroke around the origin; one that is not there is far away."""
    u, v = turned(x, y, mark)
    beyond = tf.nn.relu(tf.abs(u) - mark["half_length"])
    return tf.sqrt(beyond * beyond + v * v) + mark["away"]


def _colour(share: tf.Tensor, first: tuple[float, ...], second: tuple[float, ...]) -> tf.Tensor:
    """float32[B,3]: from `first` at a share, float32[B], of 0 to `second` at 1."""
    return between(share[:, None], tf.constant([first]), tf.constant([second]))
