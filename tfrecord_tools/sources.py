"""The image files of a folder, a zip or a list, found by the names of a table."""

from __future__ import annotations

import functools
import os
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from melanoma_tf.errors import RejectError, UserError

# In this order where there are several files of one name: photographs before PNG, which may be a lesion mask.
EXTENSIONS = (".jpg", ".jpeg", ".dcm", ".png")
MAX_SOURCE_BYTES = 300_000_000  # 6000x4000 with 16 bits and three channels takes 144 MB


@dataclass(frozen=True)
class Source:
    """One image of the table.

    Attributes: image_name; path: its file, or the zip that holds it, None where there is none; member: its name in
      the zip; size: of the file in bytes.
    """

    image_name: str
    path: str | None
    size: int = 0
    member: str | None = None

    @property
    def file_name(self) -> str:
        return os.path.basename(self.member or self.path or "")


def find_sources(
    images: str | os.PathLike, image_names: Iterable[str], listed: Iterable[Source] | None = None
) -> tuple[list[Source], list[str]]:
    """One `Source` per name, in the order of the names, and the names of images that are there but not asked for.

    Paths come from the listing alone, so that a name such as `../x` can never lead out of it.

    Args:
      images: a folder; a `.zip`; or a text file with one path a line, relative ones from where the file lies.
      listed: what is there, where that is known already.

    Raises: UserError when it cannot be listed or holds none of the images.
    """
    listing: dict[tuple[str, str], Source] = {}
    present = list(_list_images(images) if listed is None else listed)
    for source in sorted(present, key=lambda source: source.file_name, reverse=True):
        extension = os.path.splitext(source.file_name)[1].lower()
        listing[source.image_name, extension] = source  # of x.JPG and x.jpg always the same one
    names = list(image_names)
    found = [_pick(listing, name) for name in names]
    for picked, other in _doubled(found, present):
        raise UserError(f"{images} holds {picked} and {other}, two files for one image; leave one of them out")
    if not any(source.path for source in found):
        held = ", ".join(sorted({source.file_name for source in listing.values()})[:3]) or "no image files"
        raise UserError(
            f"{images} holds none of the table's {len(names)} images: expected {names[0]} + one of "
            f"{', '.join(EXTENSIONS)}; it holds {held}"
        )
    known = set(names)
    return found, sorted({stem for stem, extension in listing if stem not in known and extension in EXTENSIONS})


def _pick(listing: dict[tuple[str, str], Source], name: str) -> Source:
    candidates = (listing.get((name, extension)) for extension in EXTENSIONS)
    return next(filter(None, candidates), Source(name, None))


def _doubled(found: Iterable[Source], present: Iterable[Source]) -> Iterator[tuple[str, str]]:
    """Paths of files of the same name, of which one was picked, in different folders of a zip or of a list."""
    place = {source.file_name: source.member or source.path for source in found if source.path}
    for source in present:
        picked, other = place.get(source.file_name), source.member or source.path
        if picked and other and os.path.normpath(picked) != os.path.normpath(other):
            yield picked, other


def _list_images(images: str | os.PathLike) -> Iterator[Source]:
    try:
        if os.path.isdir(images):
            return _list_folder(images)
        return _list_zip(images) if zipfile.is_zipfile(images) else _list_file(images)
    except (OSError, NotImplementedError, zipfile.BadZipFile) as error:
        raise UserError(f"cannot list {images}: {getattr(error, 'strerror', None) or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{images} is no folder, no zip and no text file with one path a line") from error


def _list_folder(folder: str | os.PathLike) -> Iterator[Source]:
    """Whatever has a name: what is no plain file is told apart when it is read."""
    with os.scandir(os.fspath(folder)) as entries:
        return iter([_from_path(entry.path) for entry in entries])


def _list_zip(path: str | os.PathLike) -> Iterator[Source]:
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
    return (Source(_stem(info.filename), os.fspath(path), info.file_size, info.filename) for info in members)


def _list_file(path: str | os.PathLike) -> Iterator[Source]:
    folder = os.path.dirname(os.fspath(path))
    with open(path, encoding="utf-8-sig") as file:
        lines = [line.strip() for line in file.read(64 << 20).splitlines()]
    return (_from_path(os.path.join(folder, line)) for line in lines if line and "\0" not in line)


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path.replace("\\", "/")))[0]


def _from_path(path: str) -> Source:
    try:
        size = os.stat(path).st_size
    except OSError:
        size = 0  # what is wrong with it is found again, and told, when it is read
    return Source(_stem(path), path, size)


def read_source(source: Source) -> bytes:
    """The file's bytes. Raises RejectError with code bad_name, missing, unreadable, not_a_file or too_large."""
    if source.path is None:
        if any(character in source.image_name for character in "/\\\0"):
            raise RejectError("bad_name", "an image_name is a plain name, without separators")
        raise RejectError("missing", f"no file {source.image_name} + {' or '.join(EXTENSIONS)} in --images")
    if source.size > MAX_SOURCE_BYTES:
        raise RejectError("too_large", f"{source.file_name} has more than {MAX_SOURCE_BYTES} bytes")
    try:
        return _read_member(source.path, source.member) if source.member else _read_file(source.path)
    except (OSError, RuntimeError, NotImplementedError, UnicodeDecodeError, zipfile.BadZipFile, zlib.error,
            EOFError) as error:  # fmt: skip
        # RuntimeError: a member with a password; NotImplementedError: a compression that Python does not know
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise RejectError("unreadable", f"{source.file_name}: {reason}") from error


def _read_file(path: str) -> bytes:
    # A FIFO would be waited for without O_NONBLOCK, and forever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RejectError("not_a_file", f"{os.path.basename(path)} is a folder or a device, no plain file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _read_member(path: str, member: str) -> bytes:
    archive = _open_zip(path)
    if archive.getinfo(member).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # Of the others zipfile unpacks all that is packed at once, however much it is.
        raise RejectError("unreadable", f"{os.path.basename(member)} is packed otherwise than by deflate or not at all")
    with archive.open(member) as file:
        content = file.read(MAX_SOURCE_BYTES + 1)  # the size that the directory of a zip claims may be a lie
    if len(content) > MAX_SOURCE_BYTES:
        raise RejectError("too_large", f"{os.path.basename(member)} has more than {MAX_SOURCE_BYTES} bytes")
    return content


@functools.lru_cache(maxsize=1)
def _open_zip(path: str) -> zipfile.ZipFile:
    """Kept open: the directory of a zip with 44,108 members takes a second to read."""
    return zipfile.ZipFile(path)
