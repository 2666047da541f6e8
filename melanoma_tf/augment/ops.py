"""The table of augmentation ops. To add one: write its functions, put it into `OPS`, and its name into `AugmentConfig`.

The tests that go over the whole table take it in by themselves.
"""

from __future__ import annotations

from melanoma_tf.augment import color, displacement, geometry
from melanoma_tf.augment.op import Op
from melanoma_tf.augment.resample import recolor, warp, warp_images


def _geometry(sample) -> Op:
    return Op("geometry", sample, warp_images)


def _displacement(sample, move) -> Op:
    return Op("displacement", sample, lambda images, parameters: warp(images, None, [(move, parameters)]), move)


def _color(sample) -> Op:
    return Op("color", sample, recolor)


# In the order in which they act on the image; the keys are the fields of `AugmentConfig`.
OPS: dict[str, Op] = {
    "elastic": _displacement(displacement.sample_elastic, displacement.move_elastic),
    "grid": _displacement(displacement.sample_grid, displacement.move_grid),
    "optical": _displacement(displacement.sample_optical, displacement.move_optical),
    "flip": _geometry(geometry.sample_flip),
    "transpose": _geometry(geometry.sample_transpose),
    "rotate": _geometry(geometry.sample_rotate),
    "shear": _geometry(geometry.sample_shear),
    "zoom": _geometry(geometry.sample_zoom),
    "shift": _geometry(geometry.sample_shift),
    "perspective": _geometry(geometry.sample_perspective),
    "brightness": _color(color.sample_brightness),
    "contrast": _color(color.sample_contrast),
    "saturation": _color(color.sample_saturation),
    "hue": _color(color.sample_hue),
    "illuminant": _color(color.sample_illuminant),
}
