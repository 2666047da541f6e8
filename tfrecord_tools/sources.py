"""The image files of a folder, found by the names of a table."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from melanoma_tf.errors import RejectError, UserError

# In this order where a folder holds several files of one name: photographs before PNG, which may be a lesion mask.
EXTENSIONS = (".jpg", ".jpeg", ".dcm", ".png")


@dataclass(frozen=True)
class Source:
    """One image of the table: its name, its file (None where there is none) and the file's size in bytes."""

    image_name: str
    path: str | None
    size: int = 0


def find_sources(folder: str | os.PathLike, image_names: Iterable[str]) -> list[Source]:
    """One `Source` per name, in the order of the names.

    Paths come from the folder's listing alone, so that a name such as `../x` can never lead out of it.

    Raises: UserError when the folder is absent or holds none of the images.
    """
    listing = _list_images(folder)
    found = [_source(listing, name) for name in image_names]
    if not any(source.path for source in found):
        held = ", ".join(sorted(os.listdir(folder))[:3]) or "nothing"
        raise UserError(
            f"{folder} holds none of the table's {len(found)} images: expected {found[0].image_name} + one of "
            f"{', '.join(EXTENSIONS)}; it holds {held}"
        )
    return found


def _list_images(folder: str | os.PathLike) -> dict[tuple[str, str], os.DirEntry[str]]:
    try:
        with os.scandir(os.fspath(folder)) as entries:
            split = [(os.path.splitext(entry.name), entry) for entry in entries if entry.is_file()]
    except OSError as error:
        raise UserError(f"cannot list the image folder {folder}: {error.strerror or error}") from error
    ordered = sorted(split, key=lambda pair: pair[1].name, reverse=True)  # of x.JPG and x.jpg always the same one
    return {(stem, extension.lower()): entry for (stem, extension), entry in ordered}


def _source(listing: dict[tuple[str, str], os.DirEntry[str]], name: str) -> Source:
    for extension in EXTENSIONS:
        if entry := listing.get((name, extension)):
            return Source(name, entry.path, entry.stat().st_size)
    return Source(name, None)


def read_source(source: Source) -> bytes:
    """The file's bytes. Raises RejectError with code bad_name, missing or unreadable."""
    if source.path is None:
        if any(character in source.image_name for character in "/\\\0"):
            raise RejectError("bad_name", "an image_name is a plain name, without separators")
        raise RejectError("missing", f"no file {source.image_name} + {' or '.join(EXTENSIONS)} in the folder")
    try:
        with open(source.path, "rb") as file:
            return file.read()
    except OSError as error:
        raise RejectError("unreadable", f"{os.path.basename(source.path)}: {error.strerror or error}") from error
