"""The table of augmentation ops. To add one: write its functions, put it into `OPS`, and its name into `AugmentConfig`.

The tests that go over the whole table take it in by themselves.
"""

from __future__ import annotations

import tensorflow as tf

from melanoma_tf.augment import artifacts, color, displacement, erase, filters, geometry, noise, tone
from melanoma_tf.augment.filters import sample_amount
from melanoma_tf.augment.op import Op
from melanoma_tf.augment.resample import recolor, warp, warp_images


def _geometry(sample) -> Op:
    return Op("geometry", sample, warp_images)


def _displacement(sample, move) -> Op:
    return Op("displacement", sample, lambda images, parameters: warp(images, None, [(move, parameters)]), move)


def _color(sample) -> Op:
    return Op("color", sample, recolor)


def _pixel(sample, apply) -> Op:
    def apart(images, parameters):
        # Always true; XLA, which cannot know that, then computes no op anew for every tap of the next one: without, the
        # nine filters, tones and noises in a row take five times as long as one by one.
        return tf.cond(images[0, 0, 0, 0] >= 0.0, lambda: apply(images, parameters), lambda: images)

    return Op("pixel", sample, apart)


# In the order in which they act on the image; erasing last, as no camera blurs or grains a hole. The keys are the
# fields of `AugmentConfig`.
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
    "hair": Op("pixel", artifacts.sample_hair, artifacts.draw_hair),
    "ruler": Op("pixel", artifacts.sample_ruler, artifacts.draw_ruler),
    "ink": Op("pixel", artifacts.sample_ink, artifacts.draw_ink),
    "vignette": Op("pixel", artifacts.sample_vignette, artifacts.draw_vignette),
    "color_constancy": _pixel(sample_amount, tone.color_constancy),
    "gamma": _pixel(tone.sample_gamma, tone.gamma),
    "equalize": _pixel(sample_amount, tone.equalize),
    "gaussian_blur": _pixel(sample_amount, filters.gaussian_blur),
    "median_blur": _pixel(filters.sample_median_blur, filters.median_blur),
    "motion_blur": _pixel(filters.sample_motion_blur, filters.motion_blur),
    "sharpen": _pixel(sample_amount, filters.sharpen),
    "gaussian_noise": _pixel(noise.sample_gaussian_noise, noise.gaussian_noise),
    "blockiness": _pixel(noise.sample_blockiness, noise.blockiness),
    "cutout": Op("pixel", erase.sample_cutout, erase.erase_rectangles),
    "coarse_dropout": Op("pixel", erase.sample_coarse_dropout, erase.erase_rectangles),
    "grid_mask": Op("pixel", erase.sample_grid_mask, erase.erase_grid),
}
