"""The manifest of a set of shards, and the journal that becomes it: what is done, under which settings, with hashes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import PIL
from PIL import features

import melanoma_tf
from melanoma_tf import files
from melanoma_tf.errors import UserError
from tfrecord_tools.records import Reject

FORMAT = 2
# What may be had another time without the file changing: every other reject is in its bytes.
RETRIED_CODES = ("unreadable", "missing_decoder", "decoder_crashed")
DECODERS = ("pydicom", "pylibjpeg-openjpeg", "pyjpegls", "python-gdcm")  # of DICOM, an extra


@dataclass(frozen=True)
class ShardEntry:
    """One finished shard.

    Attributes:
      file: name in the folder; count: records; bytes: size of the file; sha256: of the file.
      sources: fingerprint of the rows and source files it was made from, see `fingerprint`.
      names: image names in the order of the records; inputs: of each the first digits of its source's SHA-256.
      rejects: images of the table that it lacks.
    """

    file: str
    count: int
    bytes: int
    sha256: str
    sources: str
    names: tuple[str, ...]
    inputs: tuple[str, ...]
    rejects: tuple[Reject, ...]


def manifest_path(folder: str | os.PathLike, prefix: str) -> Path:
    return Path(folder) / f"{prefix}.manifest.json"


def journal_path(folder: str | os.PathLike, prefix: str) -> Path:
    """The unfinished manifest; hidden, so that nobody takes it for a whole one."""
    return Path(folder) / f".{prefix}.progress.json"


def versions() -> dict[str, str]:
    """What decides about the bytes of a JPEG besides the settings; of DICOM's decoders those that are there."""
    jpeg = f"{'libjpeg-turbo' if features.check_feature('libjpeg_turbo') else 'libjpeg'} {features.version('jpg')}"
    decoders = {name: version for name in DECODERS if (version := _version(name))}
    return {"melanoma_tf": melanoma_tf.__version__, "pillow": PIL.__version__, "jpeg": jpeg,
            "simplejpeg": metadata.version("simplejpeg"), **decoders, "python": platform.python_version()}  # fmt: skip


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def fingerprint(items: list[Any]) -> str:
    """SHA-256 of the rows of a shard: name, target, codes, file name and file size of every `records.Item`."""
    lines = [
        f"{item.row.image_name}\t{item.row.target}\t{item.row.codes}\t{item.source.file_name}\t{item.source.size}"
        for item in items
    ]
    return files.sha256("\n".join(lines).encode())


def sha256_of_file(path: str | os.PathLike) -> str:
    digest = hashlib.sha256()
    with files.open_read(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_manifest(path: str | os.PathLike) -> dict[str, Any] | None:
    """A manifest or journal with `shards` as {number: ShardEntry}; None where there is no such file.

    Raises: UserError when it is damaged or from another version.
    """
    if not files.list_folder(os.path.dirname(path) or ".", os.path.basename(path)):
        return None
    try:
        with files.open_read(path) as file:
            content = json.loads(file.read())
        if content["format"] != FORMAT:
            raise UserError(f"{path} is of format {content['format']}; this version reads {FORMAT}")
        content["shards"] = {int(number): _entry(fields) for number, fields in content["shards"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a manifest of tfrecord-tools ({type(error).__name__}); delete it") from error
    return content


def _entry(fields: dict[str, Any]) -> ShardEntry:
    rejects = tuple(Reject(**reject) for reject in fields["rejects"])
    lists = {name: tuple(fields[name]) for name in ("names", "inputs")}
    return ShardEntry(**fields | lists | {"rejects": rejects})


def write_manifest(
    path: str | os.PathLike, settings: dict[str, Any], entries: dict[int, ShardEntry], **more: Any
) -> None:
    """Writes settings, versions, `more` and the entries by shard number; nothing in it depends on the time of day."""
    files.write_json(path, as_json(settings, entries, **more))


def as_json(settings: dict[str, Any], entries: dict[int, ShardEntry], **more: Any) -> dict[str, Any]:
    """What `write_manifest` writes."""
    described = {str(number): dataclasses.asdict(entries[number]) for number in sorted(entries)}
    return {"format": FORMAT, "settings": settings, "versions": versions(), **more, "shards": described}


def read_finished(folder: Path, prefix: str, settings: dict[str, Any]) -> dict[int, ShardEntry]:
    """Entries of earlier runs into the folder, finished or not.

    Raises: UserError when those runs had other settings, or when shards of unknown origin are there.
    """
    earlier = read_manifest(journal_path(folder, prefix)) or read_manifest(manifest_path(folder, prefix))
    entries = earlier["shards"] if earlier else {}
    if earlier:
        _require_same(folder, earlier["settings"], settings)
    known = {entry.file for entry in entries.values()}
    for path in files.list_folder(folder, f"{prefix}*.tfrec"):
        if os.path.basename(path) not in known:
            raise UserError(f"{path} was not made by this command; choose another --out, or --overwrite all {prefix}*")
    return entries


def _require_same(folder: Path, earlier: dict[str, Any], settings: dict[str, Any]) -> None:
    for name in sorted(settings):
        if earlier.get(name) != settings[name]:
            raise UserError(
                f"{folder} holds shards made with {name}={earlier.get(name)}, now it is {settings[name]}; "
                "choose another --out, or --overwrite them"
            )


def recorded_versions(folder: Path, prefix: str) -> dict[str, str] | None:
    """By which the shards of earlier runs were made; None where there are none."""
    earlier = read_manifest(journal_path(folder, prefix)) or read_manifest(manifest_path(folder, prefix))
    return earlier and earlier.get("versions")


def require_same_versions(folder: Path, prefix: str, sources: Sequence[list[Any]]) -> None:
    """Raises UserError where shards that stay were made by other versions than those to come, and may differ.

    Args: sources: the `records.Item` of all shards: what decodes DICOM does not matter where there is none.
    """
    before = recorded_versions(folder, prefix) or {}
    dicom = any(item.source.file_name.lower().endswith((".dcm", ".dicom")) for items in sources for item in items)
    if name := other_version(before, dicom):
        raise UserError(
            f"{folder} holds shards made with {name} {before.get(name)}, now it is {versions()[name]}, which may give "
            "other bytes; choose another --out, or --overwrite them"
        )


def other_version(before: dict[str, str], dicom: bool = True) -> str | None:
    """The first of `versions` that was another one and may have changed bytes; None where none was. A decoder that
    came since has changed none: what needed it was rejected."""
    for name, version in versions().items():
        decoder = name in DECODERS and (not dicom or name not in before)
        if name != "python" and before.get(name) != version and not decoder:
            return name
    return None


def is_intact(folder: Path, entry: ShardEntry, sources: str) -> bool:
    """Whether the shard of an earlier run is there, unchanged, and would come out the same."""
    path = folder / entry.file
    if not is_current(entry, sources):
        return False
    return path.is_file() and path.stat().st_size == entry.bytes and sha256_of_file(path) == entry.sha256


def is_current(entry: ShardEntry, sources: str) -> bool:
    """Whether the shard would be made of the same `sources` (see `fingerprint`), with nothing to try again."""
    return entry.sources == sources and not any(reject.code in RETRIED_CODES for reject in entry.rejects)
