"""What a worker does: source file -> record of a shard, or the reason why not."""

from __future__ import annotations

from dataclasses import dataclass

from melanoma_tf import schema
from melanoma_tf.errors import RejectError
from tfrecord_tools import images, sources

CHUNK_IMAGES = 8  # per message between processes: a few MB at 1024 pixels, and no time lost on messages at 128


@dataclass(frozen=True)
class Item:
    """One row of the table. Attributes: source; target: 0, 1 or None in test sets."""

    source: sources.Source
    target: int | None


@dataclass(frozen=True)
class Reject:
    """An image left out: `image_name`, a short `code` and a `detail` for a person."""

    image_name: str
    code: str
    detail: str


@dataclass(frozen=True)
class Outcome:
    """Of one item: the serialized `record` or the `reject`, the other one None."""

    image_name: str
    record: bytes | None
    reject: Reject | None
    bytes_read: int


@dataclass(frozen=True)
class Chunk:
    """Some items of one shard, in order, and what to make of them."""

    items: tuple[Item, ...]
    rendering: images.Rendering


def make_outcomes(chunk: Chunk) -> list[Outcome]:
    """Reads and renders every item of a chunk; runs in a worker process."""
    return [_make_outcome(item, chunk.rendering) for item in chunk.items]


def _make_outcome(item: Item, rendering: images.Rendering) -> Outcome:
    name = item.source.image_name
    try:
        source = sources.read_source(item.source)
        rendered = images.render(source, rendering)
    except RejectError as error:
        return Outcome(name, None, Reject(name, error.code, error.detail), item.source.size)
    record = schema.encode_record(rendered.jpeg, name, item.target, rendered.original_size)
    return Outcome(name, record, None, len(source))


def make_chunks(items: list[Item], rendering: images.Rendering) -> list[Chunk]:
    """Splits the items of a shard, order kept."""
    starts = range(0, len(items), CHUNK_IMAGES)
    return [Chunk(tuple(items[start : start + CHUNK_IMAGES]), rendering) for start in starts]
