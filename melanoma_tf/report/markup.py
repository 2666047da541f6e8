"""The few pieces of HTML that sections are made of. All text that comes in is escaped here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from melanoma_tf import metrics
from melanoma_tf.report.style import CSS

NONE = "–"


class Html(str):
    """Text that is HTML already, made by the report itself; `text` leaves it as it is."""


def text(value: Any) -> str:
    """Escaped for HTML, in elements and in attributes."""
    return value if isinstance(value, Html) else escape(str(value), quote=True)


def limits(value: float, low: float, high: float) -> str:
    """`0.900 [0.887, 0.912]`; on a narrow page it may break before the bracket only."""
    return f"{value:.3f} [{low:.3f},\N{NO-BREAK SPACE}{high:.3f}]"


def signed(value: float, low: float, high: float, digits: int = 3) -> str:
    """`+0.009 [+0.005, +0.014]`, a difference with its limits."""
    return f"{value:+.{digits}f} [{low:+.{digits}f},\N{NO-BREAK SPACE}{high:+.{digits}f}]"


def interval(auc: metrics.Interval | None) -> str:
    """An AUC with its limits, or a dash."""
    return NONE if auc is None else limits(auc.value, auc.low, auc.high)


def section(title: str, lead: str, *parts: str) -> str:
    """A section of the page; `title` and `lead` are text, `parts` are HTML."""
    lead_html = f'<p class="lead">{text(lead)}</p>' if lead else ""
    return f"<section>\n<h2>{text(title)}</h2>\n{lead_html}\n" + "\n".join(parts) + "\n</section>"


def table(
    header: Sequence[str], rows: Iterable[Sequence[Any]], words: int = 1, total: bool = False, stack: bool = False
) -> str:
    """A table whose first `words` columns are text, the others numbers, flush right.

    Args: total: the last row is bold. stack: on a narrow page each row becomes a list, its values named by the header;
      for tables of more columns than a phone has room for. A row of its first cell alone is a heading of those below.
    """
    kinds = ["" if column < words else ' class="number"' for column in range(len(header))]
    head = "".join(f"<th{kind}>{text(cell)}</th>" for kind, cell in zip(kinds, header))
    lines = [_row(row, header if stack else [""] * len(header), kinds) for row in rows]
    if total and lines:
        lines[-1] = lines[-1].replace("<tr>", '<tr class="total">', 1)
    body = "\n".join(lines)
    kind = ' class="stack"' if stack else ""
    return f'<div class="scroll"><table{kind}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _row(row: Sequence[Any], names: Sequence[str], kinds: Sequence[str]) -> str:
    if len(row) == 1:
        return f'<tr class="kind"><td colspan="{len(kinds)}">{text(row[0])}</td></tr>'
    named = ["" if not name or isinstance(name, Html) else f' data-name="{text(name)}"' for name in names]
    return (
        "<tr>" + "".join(f"<td{kind}{name}>{text(cell)}</td>" for kind, name, cell in zip(kinds, named, row)) + "</tr>"
    )


def figure(title: str, chart: str, caption: str = "") -> str:
    """A chart (SVG) under its title, with a caption."""
    caption_html = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return f"<figure><h3>{text(title)}</h3>{chart}{caption_html}</figure>"


def picture(source: str, alternative: str) -> str:
    """A picture from a data URI, as wide as the page; `alternative` is what a screen reader says."""
    return f'<figure class="sheet"><img src="{source}" alt="{text(alternative)}"></figure>'


def pair(*parts: str) -> str:
    return f'<div class="pair">{"".join(parts)}</div>'


def note(value: str, kind: str = "note") -> str:
    return f'<p class="{kind}">{text(value)}</p>'


def settings(values: dict[str, Any]) -> str:
    """Names and values in two columns."""
    rows = "\n".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in values.items())
    return f'<dl class="settings">\n{rows}\n</dl>'


def document(title: str, body: str) -> str:
    """The whole page."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title>
<style>{CSS}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
