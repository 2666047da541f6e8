"""Draws a picture of every augmentation at three strengths, and of a recipe as a whole.

Rows are images, half of them melanomas; columns are the ops. Without --data_dir the lesions are drawn ones.
"""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from melanoma_tf import files, schema
from melanoma_tf.command_line import CommandFlags, boolean_flag, integer_flag, repeated_flag, text_flag
from melanoma_tf.data import shards
from melanoma_tf.errors import UserError

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
LIMITS = {"images": (1, 16), "size": (16, 512), "seed": (0, 2**31 - 1)}
LABELS = {1: "melanoma", 0: "benign", None: "no target"}


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "out", None, "picture to write, .png or .jpg", required=True)
    text_flag(flag_values, "data_dir", "", "folder with train*.tfrec; without, drawn lesions")
    integer_flag(flag_values, "images", 4, "rows: 1 to 16")
    integer_flag(flag_values, "size", 128, "side of an image in pixels: 16 to 512")
    text_flag(flag_values, "config", "b0_256", "recipe in melanoma_tf/configs/")
    repeated_flag(flag_values, "set", "setting=value of the recipe, such as augment.hair=0.5")
    integer_flag(flag_values, "seed", 2020, "which images, and every draw")
    boolean_flag(flag_values, "overwrite", "replace an existing file")


def main(flag_values: CommandFlags) -> None:
    from melanoma_tf import command_line
    from melanoma_tf import config as configuration

    out = Path(flag_values.out)
    _check(flag_values, out)
    config = configuration.override(configuration.load_recipe(flag_values.config), flag_values.set)
    command_line.import_tensorflow_quietly()
    from melanoma_tf.augment.sheet import draw_sheet

    count, size, seed = flag_values.images, flag_values.size, flag_values.seed
    images = read_images(flag_values.data_dir, count, size, seed) if flag_values.data_dir else None
    labels, pixels = images or draw_images(count, size, seed)
    files.make_folder(out.parent)
    page = draw_sheet(pixels, labels, config.augment, seed)
    with files.open_whole(out) as file:
        page.save(file, FORMATS[out.suffix.lower()], quality=90, optimize=True)
    print(f"wrote {out}: {len(labels)} images, {page.width} x {page.height} pixels")


def _check(flag_values: CommandFlags, out: Path) -> None:
    if out.suffix.lower() not in FORMATS:
        raise UserError(f"--out={out}: the name must end in {', '.join(FORMATS)}")
    files.refuse_overwrite(out, flag_values.overwrite)
    for name, (low, high) in LIMITS.items():
        value = getattr(flag_values, name)
        if not low <= value <= high:
            raise UserError(f"--{name}={value}: valid is {low} to {high}")


def draw_images(count: int, size: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Labels, and drawn lesions as uint8[count,size,size,3]; every other one is a melanoma."""
    from melanoma_tf.miniature.overlays import draw_photograph
    from melanoma_tf.miniature.skin import draw_patient_look

    pixels = []
    for number in range(count):
        random = np.random.default_rng([seed, number])
        pixels.append(draw_photograph(random, (size, size), draw_patient_look(random), 1 - number % 2))
    return [LABELS[1 - number % 2] for number in range(count)], np.stack(pixels)


def read_images(data_dir: str, count: int, size: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Labels, and up to `count` images of the training shards as uint8[count,size,size,3].

    Shards are read in random order until there are enough of each kind to choose from. Every other image is a melanoma,
    as far as there are any.

    Raises: UserError where there are no shards or no images, or for a record that is no image.
    """
    random = np.random.default_rng(seed)
    found: dict[str, list[tuple[str, str, int]]] = {label: [] for label in LABELS.values()}
    paths = shards.list_shards(data_dir, "train")
    for path in (paths[number] for number in random.permutation(len(paths))):
        for offset, data in shards.read_records(path):
            label = LABELS.get(_decode(data, path, offset)[schema.TARGET], LABELS[None])
            found[label].append((label, path, offset))
        if min(len(found[LABELS[0]]), len(found[LABELS[1]])) >= count:
            break
    shuffled = [[images[place] for place in random.permutation(len(images))] for images in found.values()]
    mixed = [image for images in itertools.zip_longest(*shuffled) for image in images if image is not None][:count]
    if not mixed:
        raise UserError(f"the train*.tfrec of {data_dir} hold no images")
    return [label for label, _, _ in mixed], np.stack([_read_image(path, offset, size) for _, path, offset in mixed])


def _decode(data: bytes, path: str, offset: int) -> dict[str, Any]:
    try:
        return schema.decode_record(data)
    except ValueError as error:
        raise UserError(f"{path}: record at byte {offset} is not a melanoma record: {error}") from error


def _read_image(path: str, offset: int, size: int) -> np.ndarray:
    """By Pillow: TensorFlow's decoder writes lines of its own about a damaged image."""
    with shards.open_shard(path) as file:
        data = shards.read_record_at(file, offset, path)
    try:
        image = Image.open(io.BytesIO(_decode(data, path, offset)[schema.IMAGE]))
        image.draft("RGB", (size, size))
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: the image of the record at byte {offset} cannot be decoded") from error
