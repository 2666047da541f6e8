"""What a worker does: source file -> record of a shard, or the reason why not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

from melanoma_tf import files, schema
from melanoma_tf.errors import RejectError
from tfrecord_tools import images, sources

CHUNK_IMAGES = 8  # per message between processes: a few MB at 1024 pixels, and no time lost on messages at 128
FINGERPRINT_DIGITS = 16


@dataclass(frozen=True)
class Row:
    """One row of the table. Attributes: image_name; target: 0, 1 or None in test sets; codes: see `schema.CODES`."""

    image_name: str
    target: int | None = None
    codes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """A row and where its image is."""

    row: Row
    source: sources.Source


@dataclass(frozen=True)
class Making:
    """How an image becomes a record: the picture, and the fields around it (see `schema.DIALECTS`)."""

    rendering: images.Rendering
    dialect: str = "ours"


@dataclass(frozen=True)
class Record:
    """A serialized `tf.train.Example`, and the first digits of the SHA-256 of the file it was made from."""

    image_name: str
    data: bytes
    fingerprint: str


@dataclass(frozen=True)
class Reject:
    """An image left out: `image_name`, a short `code` and a `detail` for a person."""

    image_name: str
    code: str
    detail: str


@dataclass(frozen=True)
class Outcome:
    """Of one item, with the size in bytes of what was read for it."""

    result: Record | Reject
    bytes_read: int


@dataclass(frozen=True)
class Chunk:
    """Some items of one shard, in order, and what to make of them."""

    items: tuple[Item, ...]
    making: Making


def convert_one(source: bytes, row: Row, making: Making) -> Record | Reject:
    """The bytes of one file and its row -> a record, or why there is none. The same result for the same arguments."""
    try:
        rendered = images.render(source, making.rendering)
    except RejectError as error:
        return Reject(row.image_name, error.code, error.detail)
    size = rendered.original_size if schema.WIDTH in schema.DIALECTS[making.dialect] else None
    data = schema.encode_record(rendered.jpeg, row.image_name, row.target, size, row.codes)
    return Record(row.image_name, data, files.sha256(source)[:FINGERPRINT_DIGITS])


def make_outcomes(chunk: Chunk) -> list[Outcome]:
    """Reads and converts every item of a chunk; runs in a worker process."""
    return [make_outcome(item, chunk.making) for item in chunk.items]


def make_outcome(item: Item, making: Making, read: Callable[[sources.Source], bytes] = sources.read_source) -> Outcome:
    """Reads and converts one item. Args: read: as `sources.read_source`."""
    try:
        source = read(item.source)
    except RejectError as error:
        return Outcome(Reject(item.row.image_name, error.code, error.detail), item.source.size)
    return Outcome(convert_one(source, item.row, making), len(source))


def make_outcomes_apart(chunk: Chunk, run_alone: Callable[[Chunk], list[Outcome] | None]) -> list[Outcome]:
    """Item by item, after a worker died over the chunk; `run_alone` gives None where it dies again."""
    outcomes = []
    for item in chunk.items:
        crashed = Reject(item.row.image_name, "decoder_crashed", "the process that decoded it died, twice")
        alone = run_alone(dataclasses.replace(chunk, items=(item,)))
        outcomes += alone or [Outcome(crashed, item.source.size)]
    return outcomes


def make_chunks(items: list[Item], making: Making) -> list[Chunk]:
    """Splits the items of a shard, order kept."""
    starts = range(0, len(items), CHUNK_IMAGES)
    return [Chunk(tuple(items[start : start + CHUNK_IMAGES]), making) for start in starts]
