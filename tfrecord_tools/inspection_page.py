"""What is in a folder of shards as one HTML page without links to anything outside: tables and contact sheets."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Iterable, Sequence
from html import escape

from melanoma_tf import schema
from melanoma_tf.data import shards as shard_files
from melanoma_tf.errors import RejectError
from tfrecord_tools.groups import RecordFacts
from tfrecord_tools.images import as_rgb, open_image
from tfrecord_tools.inspection import SET_COLUMNS, SetContents, group_tables, image_of, set_row

SHEET_IMAGES = 40
THUMBNAIL_SIDE = 192  # pixels; 40 of them are some 400 kB
THUMBNAIL_QUALITY = 80

CSS = """
:root { --ink: #1d2733; --muted: #66717e; --rule: #d9dee4; --wash: #f5f7f9; --melanoma: #b4472b; }
* { box-sizing: border-box; }
html { color-scheme: light; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  Arial, sans-serif; }
main { max-width: 64rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1, h2, h3, p, figure { margin: 0; }
h1 { font-size: 1.7rem; line-height: 1.2; letter-spacing: -0.015em; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; }
h3 { font-size: 0.95rem; margin-top: 1.6rem; }
section { border-top: 1px solid var(--rule); margin-top: 2.2rem; padding-top: 1.4rem; }
.note { color: var(--muted); font-size: 0.9rem; margin-top: 0.5rem; max-width: 46rem; overflow-wrap: anywhere; }
.tables { display: flex; flex-wrap: wrap; gap: 0 3rem; align-items: flex-start; }
.tables > div { max-width: 100%; }
.scroll { overflow-x: auto; margin-top: 0.5rem; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--muted); font-size: 0.8rem; }
th, td { padding: 0.3rem 1.2rem 0.3rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
.number { text-align: right; white-space: nowrap; }
.pictures { display: grid; grid-template-columns: repeat(8, 1fr); gap: 0.9rem 0.6rem; margin-top: 0.7rem; }
figure { min-width: 0; break-inside: avoid; }
figure img, .absent { display: block; width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 4px; }
.absent { display: grid; place-items: center; background: var(--wash); color: var(--muted); font-size: 0.75rem; }
.melanoma img, .melanoma .absent { outline: 2px solid var(--melanoma); outline-offset: 1px; }
figcaption { font-size: 0.7rem; line-height: 1.3; margin-top: 0.4rem; color: var(--muted); overflow-wrap: anywhere; }
figcaption b { color: var(--melanoma); }
@media (max-width: 48rem) {
  main { padding: 1.5rem 1rem 3rem; }
  h1 { font-size: 1.35rem; }
  .pictures { grid-template-columns: repeat(4, 1fr); }
  table { font-size: 0.82rem; }
  th, td { padding-right: 0.8rem; }
}
@media print {
  body { font-size: 10pt; }
  main { max-width: none; padding: 0 4px; }
  section { margin-top: 1.2rem; padding-top: 0.8rem; }
  .scroll { overflow: visible; }
  tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""


def build_page(title: str, sets: Sequence[SetContents], seed: int = 0) -> str:
    """The tables of `inspection.as_text` and a contact sheet of each set; the same input gives the same bytes.

    Args:
      title: heading, such as the folder.
      sets: as `inspection.inspect` gives them; the pictures are read from their shards.
      seed: chooses the pictures.

    Raises: UserError for a shard that cannot be read.
    """
    overview = _table(list(zip(SET_COLUMNS, *map(set_row, sets))), numbers=False)  # a column a set: that fits a phone
    body = "\n".join([f"<header><h1>{escape(title)}</h1></header>", overview, *(_section(one, seed) for one in sets)])
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{CSS}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def _section(contents: SetContents, seed: int) -> str:
    tables = "".join(
        f"<div><h3>By {escape(name)}</h3>{_table(rows)}</div>" for name, rows in group_tables(contents).items()
    )
    notes = [contents.patients.line() if contents.patients else "", contents.note]
    return "\n".join(
        [f"<section>\n<h2>{escape(contents.name)}</h2>", f'<div class="tables">{tables}</div>',
         *(f'<p class="note">{escape(note)}</p>' for note in notes if note), _sheet(contents, seed), "</section>"]
    )  # fmt: skip


def _sheet(contents: SetContents, seed: int) -> str:
    chosen = choose_pictures(contents.facts, seed)
    figures = "\n".join(_figure(one, _read_jpeg(contents.paths[one.shard], one.offset)) for one in chosen)
    title = f"{len(chosen)} of {contents.records} images, by chance"
    return f'<h3>{title}</h3>\n<div class="pictures">\n{figures}\n</div>'


def _read_jpeg(path: str, offset: int) -> bytes:
    """b"" for a damaged record, which gets no picture."""
    with shard_files.open_shard(path) as file:
        try:
            return image_of(schema.decode_fields(shard_files.read_record_at(file, offset, path)))
        except shard_files.DamagedShard:
            return b""


def choose_pictures(facts: Iterable[RecordFacts], seed: int, count: int = SHEET_IMAGES) -> list[RecordFacts]:
    """Up to `count` records by chance, half of them of target 1 where there are so many; those come first."""
    facts = list(facts)
    positive, other = ([one for one in facts if (one.target == 1) == wanted] for wanted in (True, False))
    positives = min(len(positive), max(count // 2, count - len(other)))
    others = min(len(other), count - positives)
    chance = random.Random(seed)
    return chance.sample(positive, positives) + chance.sample(other, others)


def _figure(facts: RecordFacts, jpeg: bytes) -> str:
    source = thumbnail(jpeg)
    name = escape(facts.image_name)
    picture = f'<img src="{source}" alt="{name}">' if source else '<div class="absent">no picture</div>'
    known = [f"<b>target {facts.target}</b>"] if facts.target == 1 else []
    known += [escape(facts.diagnosis)] if facts.diagnosis else []
    kind = ' class="melanoma"' if facts.target == 1 else ""
    return f"<figure{kind}>{picture}<figcaption>{'<br>'.join([name, *known])}</figcaption></figure>"


def thumbnail(jpeg: bytes) -> str | None:
    """A picture of at most THUMBNAIL_SIDE as a data URI, encoded again without its metadata; None if unreadable."""
    try:
        image = open_image(jpeg)
        image.draft("RGB", (2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))
        picture = as_rgb(image)
        picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    except (RejectError, OSError, ValueError, SyntaxError):
        return None
    picture.info = {}
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _table(rows: Sequence[Sequence[str]], numbers: bool = True) -> str:
    """The first row is the header; all columns but the first are flush right where they are `numbers`."""
    kind = ' class="number"' if numbers else ""
    head, *body = (
        "".join(f"<{tag}{kind if column else ''}>{escape(cell)}</{tag}>" for column, cell in enumerate(row))
        for tag, row in (("th" if row is rows[0] else "td", row) for row in rows)
    )
    lines = "\n".join(f"<tr>{cells}</tr>" for cells in body)
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>'
