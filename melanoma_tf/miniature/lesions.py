"""Drawn moles and melanomas.

One number, `atypia`, drives what dermatologists look for: asymmetry, border, colours, structures. It is
random around a mean of the patient and the diagnosis, so the classes overlap in it, less within a patient
than between patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from melanoma_tf.miniature.skin import (
    PatientLook,
    colour_of,
    coordinates,
    draw_skin,
    fractal_noise,
    hexagonal_pattern,
    smooth_noise,
)

MELANOMA_SHIFT = 0.42
ATYPIA_SPREAD = 0.10
VEIL = np.array([0.40, 0.43, 0.53], np.float32)  # the blue-grey of pigment deep in the skin
SCAR = np.array([0.90, 0.80, 0.80], np.float32)  # where a tumour has regressed


@dataclass(frozen=True)
class LesionPlan:
    """What one lesion looks like; lengths in units of the image's shorter side."""

    atypia: float
    radius: float
    melanin: float
    pattern: str
    softness: float
    elongation: float


def plan_lesion(random: np.random.Generator, look: PatientLook, target: int) -> LesionPlan:
    """A lesion near the patient's typical mole, or, with target 1, a melanoma that departs from it."""
    shift = MELANOMA_SHIFT + random.normal(0, 0.06) if target else 0.0
    atypia = float(np.clip(look.atypia + shift + random.normal(0, ATYPIA_SPREAD), 0.02, 1.1))
    usual = random.random() < 0.8 - 0.5 * atypia
    radius = look.nevus_radius * (1 + 0.35 * shift) * np.exp(random.normal(0, 0.18))
    return LesionPlan(
        atypia=atypia,
        radius=float(np.clip(radius, 0.08, 0.36)),
        melanin=float(look.nevus_melanin * np.exp(random.normal(0, 0.15)) + 0.9 * shift),
        pattern=look.nevus_pattern if usual else str(random.choice(["network", "globules", "plain"])),
        softness=float(random.uniform(0.10, 0.26)),
        elongation=float(np.exp(random.normal(0, 0.14))),
    )


def draw_lesion_on_skin(
    random: np.random.Generator, shape: tuple[int, int], look: PatientLook, plan: LesionPlan
) -> np.ndarray:
    """float32[H,W,3] in [0,1]: the patient's skin with the lesion somewhere near the middle."""
    melanin, haemoglobin = draw_skin(random, shape, look)
    y, x = coordinates(shape)
    y, x = y - np.float32(random.normal(0, 0.05)), x - np.float32(random.normal(0, 0.07))
    distance = _border_distance(random, y, x, plan)
    inside = _soft_step(-distance, _edge_width(random, shape, plan))
    melanin += inside * _pigment(random, y, x, distance, plan)
    halo = random.uniform(0.05, 0.25)  # dilated vessels
    haemoglobin += _soft_step(-distance, 0.3) * halo
    haemoglobin += inside * _red_area(random, shape, plan)
    return _blend_deep_colours(random, colour_of(melanin, haemoglobin), inside, distance, plan)


def _soft_step(value: np.ndarray, width: np.ndarray | float) -> np.ndarray:
    return 1 / (1 + np.exp(np.clip(-4 * value / width, -30, 30), dtype=np.float32))


def _border_distance(random: np.random.Generator, y: np.ndarray, x: np.ndarray, plan: LesionPlan) -> np.ndarray:
    """float32[H,W] in units of the radius: 0 on the border, -1 in the middle; one to three lobes."""
    ragged = 0.05 + 0.20 * plan.atypia
    warp = [ragged * plan.radius * fractal_noise(random, y.shape, 0.5 / plan.radius, 5, 0.62) for _ in range(2)]
    distance = _lobe_distance(random, y + warp[0], x + warp[1], plan, plan.radius)
    for _ in range(random.binomial(2, min(plan.atypia, 0.9))):
        angle, offset = random.uniform(0, 2 * np.pi), random.uniform(0.55, 0.95) * plan.radius
        lobe_y = y + warp[0] - float(offset * np.sin(angle))
        lobe_x = x + warp[1] - float(offset * np.cos(angle))
        lobe = _lobe_distance(random, lobe_y, lobe_x, plan, plan.radius * random.uniform(0.35, 0.6))
        distance = np.minimum(distance, lobe)
    return distance.astype(np.float32)


def _lobe_distance(
    random: np.random.Generator, y: np.ndarray, x: np.ndarray, plan: LesionPlan, radius: float
) -> np.ndarray:
    turn = random.uniform(0, np.pi)
    cosine, sine = float(np.cos(turn)), float(np.sin(turn))  # numpy's own floats would widen the arrays
    along = (x * cosine + y * sine) / plan.elongation
    across = (y * cosine - x * sine) * plan.elongation
    angle = np.arctan2(across, along)
    outline = 1.0
    for harmonic in (2, 3, 4, 5, 7):
        strength = (0.04 + 0.30 * plan.atypia) / harmonic * random.normal()
        outline = outline + strength * np.cos(harmonic * angle + np.float32(random.uniform(0, 2 * np.pi)))
    return np.hypot(along, across) / (radius * np.clip(outline, 0.45, 1.7)) - 1


def _edge_width(random: np.random.Generator, shape: tuple[int, int], plan: LesionPlan) -> np.ndarray:
    """Benign borders fade out evenly; irregular ones are sharp in some segments and vanish in others."""
    uneven = np.exp((0.2 + 0.9 * plan.atypia) * smooth_noise(random, shape, 2.5))
    return np.clip(2.2 * plan.softness * uneven, 0.08, 1.2)


def _pigment(
    random: np.random.Generator, y: np.ndarray, x: np.ndarray, distance: np.ndarray, plan: LesionPlan
) -> np.ndarray:
    """Melanin of the lesion, float32[H,W], before its border is faded."""
    shape = y.shape
    uneven = 0.22 + 0.50 * plan.atypia
    blotchy = 0.8 * fractal_noise(random, shape, 0.5 / plan.radius, 3)
    blotchy += 0.5 * fractal_noise(random, shape, 10, 4, 0.85)
    amount = plan.melanin * np.exp(uneven * blotchy - 0.5 * uneven**2)
    amount *= 1 + random.uniform(-0.25, 0.35) * np.clip(-distance, 0, 1)  # darker or lighter in the middle
    fine = random.uniform(0.024, 0.036)
    if plan.pattern == "network":
        lattice = hexagonal_pattern(random, y, x, fine)
        patchy = np.clip(0.5 + 0.5 * smooth_noise(random, shape, 5), 0, 1.2)
        amount *= 1 + 0.6 * patchy * (0.6 - lattice)
    elif plan.pattern == "globules":
        dots = hexagonal_pattern(random, y, x, fine * 1.4) ** 2
        amount *= 0.8 + 1.0 * dots * np.clip(0.4 + 0.6 * smooth_noise(random, shape, 12), 0, 1.3)
    blotches = np.clip(smooth_noise(random, shape, 0.9 / plan.radius) - (1.9 - 1.4 * plan.atypia), 0, 1.2)
    return np.maximum(amount + 1.1 * blotches, 0).astype(np.float32)


def _red_area(random: np.random.Generator, shape: tuple[int, int], plan: LesionPlan) -> np.ndarray:
    """Haemoglobin of milky-red areas, float32[H,W]; they are rarer in regular lesions."""
    strength = random.uniform(0.2, 0.9) if random.random() < 0.1 + 0.6 * plan.atypia else 0.1
    return strength * np.clip(smooth_noise(random, shape, 0.45 / plan.radius), 0, 1.5)


def _blend_deep_colours(
    random: np.random.Generator, image: np.ndarray, inside: np.ndarray, distance: np.ndarray, plan: LesionPlan
) -> np.ndarray:
    """Lays the blue-grey veil and the white of regression over a part of the lesion."""
    core = np.clip(inside * np.clip(-2.5 * distance, 0, 1), 0, 1)
    veil, scar = (VEIL, 1.6 * plan.atypia - 0.55, 0.7), (SCAR, 0.7 * plan.atypia - 0.1, 0.6)
    for colour, likely, strongest in (veil, scar):
        where = np.clip(0.6 * fractal_noise(random, inside.shape, 0.45 / plan.radius, 3) + 0.35, 0, 1)
        strength = random.uniform(0.35, 1) * strongest if random.random() < likely else 0.0
        cover = (strength * core * where)[..., None]
        brightness = image.mean(axis=2, keepdims=True)
        shade = np.clip(0.55 + 1.1 * brightness, 0, 1.1)
        image = image * (1 - cover) + cover * colour * shade
    return image
