"""A perceptual sketch of an image: the low frequencies of its brightness, whose signs are a hash of 255 bits.

After C. Zauner, Implementation and benchmarking of perceptual image hash functions (2010), with 16x16 frequencies in
place of 8x8: dermoscopic images are alike, a dark spot in the middle, and 64 bits do not tell them apart.
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image
from scipy.fft import dctn

from melanoma_tf import files, schema
from melanoma_tf.errors import UserError
from melanoma_tf.progress import Progress

EXTENSIONS = (".jpg", ".jpeg", ".png")
SIDE, KEPT = 64, 16
BATCH = 256  # images held at once

Named = tuple[str, bytes, tuple[int, int] | None]  # name, file, size of the original where it is known


@dataclass(frozen=True)
class Seen:
    """Images that were looked at.

    Attributes: sketches float32[N,2,KEPT,KEPT], of the whole image and of its middle square; facts: width, height
    and bytes by name, in the same order; unreadable: names of those that are no image.
    """

    sketches: np.ndarray
    facts: pd.DataFrame
    unreadable: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return self.facts.index.tolist()


def sketch(image: bytes) -> tuple[np.ndarray, tuple[int, int]]:
    """float32[2,KEPT,KEPT] and (width, height) in pixels. Coefficients of an orthonormal DCT of SIDE x SIDE pixels.

    The middle square is what some copies are cut to. Raises ValueError for what is no image.
    """
    try:
        with Image.open(io.BytesIO(image)) as opened:
            width, height = opened.size
            opened.draft("L", (SIDE, SIDE))  # JPEG: decoded at an eighth where that is enough
            grey = opened.convert("L")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error
    side = min(grey.size)
    left, top = (grey.width - side) // 2, (grey.height - side) // 2
    boxes = ((0, 0, *grey.size), (left, top, left + side, top + side))
    views = [np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box), np.float32) for box in boxes]
    return dctn(np.stack(views), axes=(1, 2), norm="ortho")[:, :KEPT, :KEPT], (width, height)


def look(images: Iterable[Named], total: int) -> Seen:
    """Sketches of images, of each name the first; `total` of them are expected, for the progress line."""
    found: dict[str, tuple] = {}
    unreadable = []
    progress = Progress("looking at images", total)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for batch in _batches(images):
            for (name, image, original), sketched in zip(batch, threads.map(_sketch_or_none, batch)):
                if sketched is None:
                    unreadable.append(name)
                elif name not in found:
                    width, height = original or sketched[1]
                    found[name] = (sketched[0], width, height, len(image))
            progress.update(len(found))
    sketches = np.stack([one[0] for one in found.values()]) if found else np.empty((0, 2, KEPT, KEPT), np.float32)
    facts = pd.DataFrame([one[1:] for one in found.values()], index=list(found), columns=["width", "height", "bytes"])
    return Seen(sketches, facts, tuple(unreadable))


def _batches(images: Iterable[Named]) -> Iterator[list[Named]]:
    images = iter(images)
    while batch := list(itertools.islice(images, BATCH)):
        yield batch


def _sketch_or_none(image: Named) -> tuple[np.ndarray, tuple[int, int]] | None:
    try:
        return sketch(image[1])
    except ValueError:
        return None


def folder_images(folders: Iterable[str], wanted: set[str]) -> Iterator[Named]:
    """JPEG and PNG files of folders whose name without extension is wanted.

    Raises: UserError for a folder that is none or holds no such image, or a file that cannot be read.
    """
    for folder in folders:
        listed = [os.path.splitext(os.path.basename(path)) for path in files.list_folder(folder, "*")]
        found = [(name, extension) for name, extension in listed if extension.lower() in EXTENSIONS and name in wanted]
        if not found:
            held = ", ".join("".join(one) for one in listed[:3]) or "nothing"
            raise UserError(f"--images={folder} holds no JPEG or PNG of an image in the tables; it holds {held}")
        for name, extension in found:
            path = f"{folder.rstrip('/')}/{name}{extension}"
            try:
                with files.open_read(path) as file:
                    yield name, file.read(), None
            except OSError as error:
                raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def original_size(fields: dict[str, list]) -> tuple[int, int] | None:
    """(width, height) of the original, where a record knows it."""
    sizes = [fields.get(name) for name in (schema.WIDTH, schema.HEIGHT)]
    return (int(sizes[0][0]), int(sizes[1][0])) if sizes[0] and sizes[1] else None
