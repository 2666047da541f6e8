"""What lies between the skin and the file: hairs, gel, the dermoscope's rim and light, the camera.

None of it depends on the label.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from melanoma_tf.miniature.lesions import draw_lesion_on_skin, plan_lesion
from melanoma_tf.miniature.skin import PatientLook, coordinates, smooth_noise

DRAWING_SIDE = 288  # pixels of the longer side while drawing; for soft pictures more would only cost time


def draw_photograph(random: np.random.Generator, size: tuple[int, int], look: PatientLook, target: int) -> np.ndarray:
    """A whole dermoscopic photograph.

    Args:
      random: the only source of chance; size: (width, height) in pixels; target: 1 for a melanoma, else 0.

    Returns: uint8[H,W,3] RGB.
    """
    width, height = size
    scale = DRAWING_SIDE / max(size)
    shape = (round(height * scale), round(width * scale))
    image = draw_lesion_on_skin(random, shape, look, plan_lesion(random, look, target))
    image *= look.tint * _light(random, shape)[..., None]
    if random.random() < 0.15:
        image = _with_bubbles(random, image)
    image += 0.008 * np.stack([smooth_noise(random, shape, 50) for _ in range(3)], axis=-1)  # the camera's colours
    picture = Image.fromarray(_to_bytes(image)).filter(ImageFilter.GaussianBlur(random.uniform(0, 0.45)))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    pixels = _with_hairs(random, np.asarray(picture).astype(np.float32) / 255, random.poisson(look.hairiness))
    if random.random() < 0.22:
        pixels *= _rim(random, pixels.shape[:2])[..., None]
    grain = random.uniform(0.004, 0.011) * random.standard_normal(pixels.shape[:2], dtype=np.float32)
    return _to_bytes(pixels + grain[..., None])


def _to_bytes(image: np.ndarray) -> np.ndarray:
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _light(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Brightness, float32[H,W]: exposure, a slope across the picture, the fall-off towards its corners."""
    y, x = coordinates(shape)
    slope_y, slope_x = random.normal(0, 0.05, 2)
    exposure = 1.02 * np.exp(random.normal(0, 0.05))
    return (exposure * (1 + slope_y * y + slope_x * x - random.uniform(0, 0.22) * (y**2 + x**2))).astype(np.float32)


def _with_bubbles(random: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Air in the gel: a bright ring with a highlight, and a slightly paler inside."""
    y, x = coordinates(image.shape[:2])
    for _ in range(random.integers(2, 9)):
        centre_y, centre_x = random.uniform(-0.5, 0.5), random.uniform(-0.65, 0.65)
        radius = random.uniform(0.008, 0.03)
        distance = np.hypot(y - centre_y, x - centre_x) / radius
        glint = np.hypot(y - centre_y + 0.4 * radius, x - centre_x + 0.4 * radius) / radius
        gain = 0.16 * np.exp(-(((distance - 1) / 0.16) ** 2)) - 0.10 * np.exp(-(((distance - 0.75) / 0.2) ** 2))
        image = image + (gain + 0.5 * np.exp(-((glint / 0.22) ** 2)))[..., None]
    return image


def _with_hairs(random: np.random.Generator, pixels: np.ndarray, count: int) -> np.ndarray:
    """Draws `count` curved hairs of one person, with the shadow that they throw on the skin."""
    if count == 0:
        return pixels
    height, width = pixels.shape[:2]
    mask = Image.new("L", (2 * width, 2 * height))  # drawn twice as large: PIL's lines are not anti-aliased
    pen = ImageDraw.Draw(mask)
    main_direction = random.uniform(0, np.pi)
    thickness = random.uniform(1.0, 2.1) * max(width, height) / 640
    for _ in range(count):
        curve = _hair_curve(random, (2 * width, 2 * height), main_direction)
        pen.line(curve, fill=int(random.uniform(150, 250)), width=max(1, round(2 * thickness)), joint="curve")
    mask = mask.reduce(2)
    shadow = Image.new("L", mask.size)
    shadow.paste(mask, (round(2 * thickness), round(2 * thickness)))
    shadow = shadow.filter(ImageFilter.GaussianBlur(1.6 * thickness))
    dark = random.random() < 0.75
    colour = np.array([0.13, 0.09, 0.08] if dark else [0.72, 0.58, 0.42], np.float32)
    cover = np.asarray(mask, np.float32)[..., None] / 255 * np.float32(0.95 if dark else 0.6)
    shaded = pixels * (1 - np.asarray(shadow, np.float32)[..., None] / 255 * 0.3)
    return shaded * (1 - cover) + colour * cover


def _hair_curve(random: np.random.Generator, size: tuple[int, int], main_direction: float) -> list[tuple[float, float]]:
    """Points of a quadratic Bezier curve in pixels, (x, y)."""
    start = random.uniform(-0.1, 1.1, 2) * size
    direction = main_direction + random.normal(0, 0.5)
    reach = random.uniform(0.2, 0.9) * max(size)
    end = start + reach * np.array([np.cos(direction), np.sin(direction)])
    middle = (start + end) / 2 + random.normal(0, 0.12, 2) * reach
    t = np.linspace(0, 1, 24)[:, None]
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
    return [tuple(point) for point in points.tolist()]


def _rim(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """float32[H,W]: 1 in the round field of a contact dermoscope, nearly 0 outside."""
    y, x = coordinates(shape)
    centre_y, centre_x = random.normal(0, 0.03, 2)
    radius = random.uniform(0.54, 0.74)
    edge = random.uniform(0.008, 0.05)
    distance = np.hypot(y - centre_y, x - centre_x) - radius
    return (0.04 + 0.96 / (1 + np.exp(np.clip(distance / edge, -30, 30)))).astype(np.float32)
