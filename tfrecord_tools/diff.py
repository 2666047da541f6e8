"""Do two sets of shards hold the same? Compared by image name, whatever their layout."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from melanoma_tf import schema
from melanoma_tf.data import shards as shard_files
from melanoma_tf.errors import RejectError, UserError
from tfrecord_tools.diff_report import DiffReport, Place, Side
from tfrecord_tools.images import as_rgb, check_jpeg, open_image
from tfrecord_tools.inspection import dialect_of
from tfrecord_tools.sets import find_sets
from tfrecord_tools.workers import OrderedMap, ordered_workers, worker_count

DEFAULT_MIN_PSNR = 38.0
PAIRS_PER_MESSAGE = 64
ABSENT = "absent"
SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class Pair:
    """An image that both sides have."""

    image_name: str
    a: Place
    b: Place


@dataclass(frozen=True)
class Comparison:
    """Of one pair.

    Attributes:
      same_bytes: of the JPEGs; psnr: in dB over the RGB values, infinite for equal pixels, None where not compared.
      picture: why the pictures cannot be compared, "" if they were.
      fields: name -> values in a and b as text, of the fields that differ.
    """

    image_name: str
    same_bytes: bool
    psnr: float | None
    picture: str
    fields: dict[str, tuple[str, str]]


def diff(
    a: str | os.PathLike,
    b: str | os.PathLike,
    *,
    prefix: str | None = None,
    ignore: Iterable[str] = (),
    min_psnr: float = DEFAULT_MIN_PSNR,
    workers: int = 1,
) -> DiffReport:
    """Compares all records of two folders, or those of one prefix, by image name.

    Args:
      a, b: folders with *.tfrec, or with a subfolder `tfrecords`; may be remote.
      ignore: names of fields that may differ, such as width and height across dialects.
      min_psnr: dB that pictures which are not equal byte for byte must reach.
      workers: processes, 0 for all cores. Pictures are read in pairs; only names and offsets stay in memory.

    Raises: UserError for a folder without shards, a damaged shard or a record that is none.
    """
    if not min_psnr >= 0:
        raise UserError(f"--min_psnr is {min_psnr}; it must be 0 dB or more")
    with ordered_workers(worker_count(workers)) as ordered_map:
        side_a, side_b = (_read_side(folder, prefix, ordered_map) for folder in (a, b))
        report = _compare_names(side_a, side_b, min_psnr)
        common = (name for name in side_a.places if name in side_b.places)
        pairs = (Pair(name, side_a.places[name], side_b.places[name]) for name in common)
        ignored = frozenset((schema.IMAGE, schema.IMAGE_NAME, *ignore))
        jobs = ((pairs_of_job, ignored) for pairs_of_job in _batches(pairs))
        for comparison in itertools.chain.from_iterable(ordered_map(compare_pairs, jobs)):
            _add(report, comparison)
    return report


def _batches(pairs: Iterator[Pair]) -> Iterator[tuple[Pair, ...]]:
    while batch := tuple(itertools.islice(pairs, PAIRS_PER_MESSAGE)):
        yield batch


def _read_side(folder: str | os.PathLike, prefix: str | None, ordered_map: OrderedMap) -> Side:
    paths = [path for paths in find_sets(folder, prefix).values() for path in paths]
    side = Side(str(folder), len(paths))
    for path, records in zip(paths, ordered_map(list_records, paths)):
        for name, offset, dialect in records:
            if name in side.places:
                side.doubled.append(name)
            side.places.setdefault(name, Place(path, offset))
            side.dialects[dialect] += 1
        side.records += len(records)
    return side


def list_records(path: str) -> list[tuple[str, int, str]]:
    """(image name, offset in bytes, dialect) of every record of a shard; runs in a worker process."""
    listed = []
    for offset, data in shard_files.read_records(path, check_data=False):  # checked when its picture is read
        try:
            record = schema.decode_record(data)
        except ValueError as error:
            raise UserError(f"{path}: record at byte {offset} is no melanoma record: {error}") from error
        listed.append((record[schema.IMAGE_NAME], offset, dialect_of(record["fields"])))
    return listed


def _compare_names(a: Side, b: Side, min_psnr: float) -> DiffReport:
    only_a = [name for name in a.places if name not in b.places]
    only_b = [name for name in b.places if name not in a.places]
    common = [name for name in a.places if name in b.places]
    same_order = common == [name for name in b.places if name in a.places]
    return DiffReport(a, b, min_psnr, only_a, only_b, len(common), same_order)


def compare_pairs(job: tuple[tuple[Pair, ...], frozenset[str]]) -> list[Comparison]:
    """Compares some pairs, fields but the given ones; runs in a worker process."""
    pairs, ignored = job
    with contextlib.ExitStack() as stack:
        paths = {place.path for pair in pairs for place in (pair.a, pair.b)}
        opened = {path: stack.enter_context(shard_files.open_shard(path)) for path in sorted(paths)}
        return [_compare(pair, opened, ignored) for pair in pairs]


def _compare(pair: Pair, opened: dict[str, BinaryIO], ignored: frozenset[str]) -> Comparison:
    a, b = (
        schema.decode_record(shard_files.read_record_at(opened[place.path], place.offset, place.path))
        for place in (pair.a, pair.b)
    )
    differing = _differing_fields(a["fields"], b["fields"], ignored)
    if a[schema.IMAGE] == b[schema.IMAGE]:
        return Comparison(pair.image_name, True, None, "", differing)
    try:
        pixels = _pixels(a[schema.IMAGE], "a"), _pixels(b[schema.IMAGE], "b")
    except RejectError as error:
        return Comparison(pair.image_name, False, None, error.detail, differing)
    if pixels[0].shape != pixels[1].shape:
        sizes = " in a, ".join(f"{picture.shape[1]}x{picture.shape[0]}" for picture in pixels)
        return Comparison(pair.image_name, False, None, f"{sizes} in b", differing)
    return Comparison(pair.image_name, False, _psnr(*pixels), "", differing)


def _pixels(jpeg: bytes, side: str) -> np.ndarray:
    """uint8[H,W,3] as TensorFlow decodes it: EXIF orientation and colour profiles are left alone."""
    try:
        check_jpeg(jpeg)
        return np.asarray(as_rgb(open_image(jpeg)))
    except RejectError as error:
        raise RejectError(error.code, f"{side} is {error.code}: {error.detail}") from error


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    # Row by row: two pictures of 24 million pixels as floating point would take a gigabyte.
    rows = (np.subtract(row_a, row_b, dtype=np.int32) for row_a, row_b in zip(a, b))
    error = sum(int(np.square(row).sum(dtype=np.int64)) for row in rows)
    return 10 * math.log10(255**2 * a.size / error) if error else math.inf


def _differing_fields(a: dict[str, list], b: dict[str, list], ignored: frozenset[str]) -> dict[str, tuple[str, str]]:
    return {
        name: (_shown(a.get(name)), _shown(b.get(name)))
        for name in sorted((a.keys() | b.keys()) - ignored)
        if a.get(name) != b.get(name) and repr(a.get(name)) != repr(b.get(name))  # NaN is unlike itself
    }


def _shown(values: list | None) -> str:
    if values is None:
        return ABSENT
    texts = [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values]
    text = ", ".join(text if text.isprintable() else repr(text) for text in texts)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."


def _add(report: DiffReport, comparison: Comparison) -> None:
    report.same_bytes += comparison.same_bytes
    if comparison.picture:
        report.not_compared[comparison.image_name] = comparison.picture
    elif comparison.psnr is not None and math.isinf(comparison.psnr):
        report.same_pixels += 1
    elif comparison.psnr is not None:
        report.psnr[comparison.image_name] = comparison.psnr
    for name, values in comparison.fields.items():
        report.fields.setdefault(name, {})[comparison.image_name] = values
