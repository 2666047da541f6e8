"""The ground of a drawn dermoscopy: noise of every scale, and skin coloured by what absorbs light in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

# Absorption in red, green and blue of one unit of each pigment. Colours are exp(-amount x absorption), as in
# Beer-Lambert, so thicker pigment turns tan, brown and black by itself.
MELANIN = np.array([0.55, 1.05, 1.55], np.float32)
HAEMOGLOBIN = np.array([0.13, 0.78, 0.62], np.float32)


@dataclass(frozen=True)
class PatientLook:
    """What all photographs of one patient share.

    Attributes:
      melanin, haemoglobin: pigment of the skin, in units of the absorption above.
      nevus_melanin, nevus_radius, nevus_pattern: the typical mole; radius in units of the image's shorter
        side, pattern `network`, `globules` or `plain`.
      atypia: how irregular the typical mole is, about 0 to 0.6.
      hairiness: expected number of hairs. sun_spots: expected number of freckles.
      tint: float32[3], colour of the dermoscope's light.
    """

    melanin: float
    haemoglobin: float
    nevus_melanin: float
    nevus_radius: float
    nevus_pattern: str
    atypia: float
    hairiness: float
    sun_spots: float
    tint: np.ndarray


def draw_patient_look(random: np.random.Generator) -> PatientLook:
    """A patient: skin tone, typical mole, hair."""
    return PatientLook(
        melanin=float(random.gamma(2.0, 0.07)),
        haemoglobin=float(random.uniform(0.15, 0.5)),
        nevus_melanin=float(random.uniform(0.45, 1.35)),
        nevus_radius=float(random.uniform(0.13, 0.27)),
        nevus_pattern=str(random.choice(["network", "globules", "plain"], p=[0.5, 0.25, 0.25])),
        atypia=float(np.clip(random.normal(0.26, 0.11), 0.05, 0.55)),
        hairiness=float(random.choice([0, 4, 14], p=[0.45, 0.35, 0.2])),
        sun_spots=float(random.choice([0, 5], p=[0.7, 0.3])),
        tint=(1 + random.normal(0, [0.03, 0.03, 0.05])).astype(np.float32),
    )


def smooth_noise(random: np.random.Generator, shape: tuple[int, ...], cells: float) -> np.ndarray:
    """float32[H,W] of about zero mean and unit variance, with `cells` bumps along the shorter side."""
    height, width = shape
    step = min(shape) / cells
    grid = random.standard_normal([int(np.ceil(side / step)) + 2 for side in shape], dtype=np.float32)
    box = (0.5, 0.5, 0.5 + width / step, 0.5 + height / step)
    return 1.3 * np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC, box=box))


def fractal_noise(
    random: np.random.Generator, shape: tuple[int, ...], cells: float, octaves: int, roughness: float = 0.5
) -> np.ndarray:
    """float32[H,W]: `octaves` noises, each twice as fine, `roughness` times as strong; unit variance."""
    noises = [roughness**level * smooth_noise(random, shape, cells * 2**level) for level in range(octaves)]
    return np.sum(noises, axis=0) / float(np.sqrt(sum(roughness ** (2 * octave) for octave in range(octaves))))


def hexagonal_pattern(random: np.random.Generator, y: np.ndarray, x: np.ndarray, period: float) -> np.ndarray:
    """float32[H,W] in [0,1]: dots of 1 on a bent hexagonal lattice; its complement is a honeycomb."""
    turn = random.uniform(0, np.pi)
    bend = [0.30 * period * fractal_noise(random, y.shape, 0.14 / period, 3, 0.8) for _ in range(2)]
    waves = np.zeros(y.shape, np.float32)
    for angle in (turn, turn + np.pi / 3, turn + 2 * np.pi / 3):
        along = (x + bend[0]) * np.float32(np.cos(angle)) + (y + bend[1]) * np.float32(np.sin(angle))
        waves = waves + np.cos(along * np.float32(2 * np.pi / period))
    return (waves + np.float32(1.5)) / np.float32(4.5)


def coordinates(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """y and x as float32[H,W], zero in the middle, the shorter side one unit long."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    unit = np.float32(min(shape))
    return (y - (height - 1) / 2) / unit, (x - (width - 1) / 2) / unit


def draw_skin(random: np.random.Generator, shape: tuple[int, int], look: PatientLook) -> tuple[np.ndarray, np.ndarray]:
    """Pigment of bare skin: melanin and haemoglobin, each float32[H,W]."""
    melanin = look.melanin * (1 + 0.25 * fractal_noise(random, shape, 3, 3)) + 0.02
    haemoglobin = look.haemoglobin * (1 + 0.2 * fractal_noise(random, shape, 2.5, 7, 0.65))
    # The pale furrows of the skin run where a smooth noise crosses zero.
    furrows = np.exp(-6 * smooth_noise(random, shape, 22) ** 2)
    furrows += np.exp(-5 * smooth_noise(random, shape, 34) ** 2)
    haemoglobin -= 0.07 * look.haemoglobin * furrows
    melanin *= 1.1 - 0.1 * furrows + 0.08 * smooth_noise(random, shape, 70)
    melanin += 0.05 * np.clip(smooth_noise(random, shape, 45) - 1.8, 0, 1)  # pores
    for _ in range(random.poisson(look.sun_spots)):
        _add_sun_spot(random, melanin)
    return np.maximum(melanin, 0.01), np.maximum(haemoglobin, 0.03)


def _add_sun_spot(random: np.random.Generator, melanin: np.ndarray) -> None:
    height, width = melanin.shape
    reach = int(random.uniform(0.02, 0.09) * min(height, width))
    top, left = random.integers(height - 2 * reach), random.integers(width - 2 * reach)
    y, x = np.ogrid[-1 : 1 : 2j * reach, -1 : 1 : 2j * reach]
    spot = np.exp(-6 * (y**2 + x**2)) * (1 + 0.4 * smooth_noise(random, (2 * reach, 2 * reach), 3))
    strength = random.uniform(0.1, 0.4)
    melanin[top : top + 2 * reach, left : left + 2 * reach] += (strength * spot).astype(np.float32)


def colour_of(melanin: np.ndarray, haemoglobin: np.ndarray) -> np.ndarray:
    """float32[H,W,3] in [0,1], the light that comes back from skin of that pigment."""
    absorbed = melanin[..., None] * MELANIN + haemoglobin[..., None] * HAEMOGLOBIN
    return np.exp(-absorbed, dtype=np.float32)
