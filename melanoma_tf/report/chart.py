"""A chart as inline SVG: axes, lines, bands, and names written beside what they name.

Colours are classes, so that the page's style turns them for a dark screen or for print. Coordinates are rounded to a
tenth of a unit: the same numbers give the same bytes, whatever the version of numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from melanoma_tf.report import markup

WIDTH, HEIGHT = 360, 280  # a unit is a pixel on a narrow phone, 1.2 pixels beside another chart on a desk
LEFT, TOP, RIGHT, BOTTOM = 52, 12, 12, 40
LINE = 15  # units from one line of text to the next
PER_CHARACTER = 6.2  # units of width of a character, roughly: text is laid out by the browser


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, with `ticks` as (value, text); `scale` maps a value before it is laid out, as a logit."""

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    scale: Callable[[np.ndarray], np.ndarray] = field(default=np.asarray)

    def share(self, value) -> np.ndarray:
        """Where on the axis values lie, 0 at the low end and 1 at the high end."""
        low, high = self.scale(np.asarray([self.low, self.high], float))
        return (self.scale(np.asarray(value, float)) - low) / (high - low)


def share_axis(label: str, low: float = 0.0, high: float = 1.0, steps: int = 5) -> Axis:
    """A linear axis with evenly spread ticks; see `nice_axis` for data of any range."""
    values = np.linspace(low, high, steps + 1)
    return Axis(label, low, high, [(value, f"{value:.3g}") for value in values])


def nice_axis(label: str, values: np.ndarray, at_most: int = 5) -> Axis:
    """A linear axis around finite `values`, its ticks at multiples of 1, 2 or 5 times a power of ten."""
    low, high = float(np.min(values)), float(np.max(values))
    span = max(high - low, 1e-3)
    power = 10.0 ** np.floor(np.log10(span / at_most))
    step = next(power * times for times in (1, 2, 5, 10) if span / (power * times) <= at_most)
    first, last = int(np.floor(low / step + 1e-9)), int(np.ceil(high / step - 1e-9))
    digits = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    ticks = [(number * step, f"{number * step:.{digits}f}") for number in range(first, max(last, first + 1) + 1)]
    return Axis(label, ticks[0][0], ticks[-1][0], ticks)


class Chart:
    """An SVG that is drawn on in the units of its axes; `svg()` gives the element.

    Args: title: what a screen reader says. margin: units kept free at the right, for names of lines.
    """

    def __init__(self, title: str, x: Axis, y: Axis, height: int = HEIGHT, margin: float = RIGHT) -> None:
        self.title, self.x, self.y = title, x, y
        self.right, self.bottom, self.height = WIDTH - margin, height - BOTTOM, height
        self.parts = [self._tick_x(*tick) for tick in x.ticks] + [self._tick_y(*tick) for tick in y.ticks]
        self.text((LEFT + self.right) / 2, height - 6, x.label, "axis", "middle")
        middle = (TOP + self.bottom) / 2
        self.parts.append(
            f'<text class="axis" text-anchor="middle" transform="translate(11 {middle:.1f}) rotate(-90)">'
            f"{markup.text(y.label)}</text>"
        )

    def _tick_x(self, value: float, text: str) -> str:
        at = float(self.at_x(value))
        return (f'<path class="grid" d="M{at:.1f} {TOP}V{self.bottom}"/>'
                f'<text class="tick" x="{at:.1f}" y="{self.bottom + 14}" text-anchor="middle">'
                f"{markup.text(text)}</text>"
                )  # fmt: skip

    def _tick_y(self, value: float, text: str) -> str:
        at = float(self.at_y(value))
        return (f'<path class="grid" d="M{LEFT} {at:.1f}H{self.right:.1f}"/>'
                f'<text class="tick" x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{markup.text(text)}</text>'
                )  # fmt: skip

    def at_x(self, value) -> np.ndarray:
        return LEFT + self.x.share(value) * (self.right - LEFT)

    def at_y(self, value) -> np.ndarray:
        return self.bottom - self.y.share(value) * (self.bottom - TOP)

    def line(self, x, y, kind: str) -> None:
        """A line through the finite points; `kind` is its class, such as `s0` or `melanoma`."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        known = np.isfinite(x) & np.isfinite(y)
        if known.any():
            self.parts.append(f'<path class="line {kind}" d="{self._path(x[known], y[known])}"/>')

    def area(self, x, low, high, kind: str) -> None:
        """What lies between two lines over the same x."""
        x, low, high = (np.asarray(values, float) for values in (x, low, high))
        known = np.isfinite(low) & np.isfinite(high)
        there, back = self._path(x[known], high[known]), self._path(x[known][::-1], low[known][::-1])
        if known.any():
            self.parts.append(f'<path class="area {kind}" d="{there}L{back[1:]}Z"/>')

    def dot(self, x: float, y: float, kind: str) -> None:
        self.parts.append(
            f'<circle class="dot {kind}" cx="{float(self.at_x(x)):.1f}" cy="{float(self.at_y(y)):.1f}" r="3"/>'
        )

    def _path(self, x: np.ndarray, y: np.ndarray) -> str:
        steps = [f"{a:.1f} {b:.1f}" for a, b in zip(self.at_x(x), self.at_y(y))]
        return "M" + "L".join(step for step, before in zip(steps, [None, *steps]) if step != before)

    def text(self, x: float, y: float, text: str, kind: str, anchor: str = "start") -> None:
        """Text at units of the picture, not of the axes."""
        self.parts.append(
            f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{markup.text(text)}</text>'
        )

    def names(self, named: Sequence[tuple[str, str]], corner: str) -> None:
        """(name, kind) line by line in a corner that the lines leave free, such as `lower right`."""
        right = corner.endswith("right")
        x = self.right - 8 if right else LEFT + 10
        top = TOP + 16 if corner.startswith("upper") else self.bottom - 10 - LINE * (len(named) - 1)
        for number, (name, kind) in enumerate(named):
            self.text(x, top + LINE * number, name, f"name {kind}", "end" if right else "start")

    def names_at_end(self, named: Sequence[tuple[str, str, float]]) -> None:
        """(name, kind, y) to the right of the lines, moved apart where they would overlap."""
        for (name, kind, _), y in zip(named, apart([float(self.at_y(y)) for _, _, y in named], TOP, self.bottom)):
            self.text(self.right + 6, y + 4, name, f"name {kind}")

    def svg(self) -> str:
        body = "\n".join(self.parts)
        return (f'<svg class="chart" viewBox="0 0 {WIDTH} {self.height}" role="img" '
                f'aria-label="{markup.text(self.title)}">\n{body}\n</svg>')  # fmt: skip


def apart(wanted: Sequence[float], low: float, high: float, distance: float = LINE - 1) -> list[float]:
    """Places near `wanted`, in the same order, at least `distance` from each other where the room is enough."""
    order = np.argsort(wanted, kind="stable")
    placed = np.asarray(wanted, float)[order]
    for number in range(1, len(placed)):
        placed[number] = max(placed[number], placed[number - 1] + distance)
    placed -= max(0.0, (placed[-1] - high) if len(placed) else 0.0)
    for number in range(len(placed) - 2, -1, -1):
        placed[number] = min(placed[number], placed[number + 1] - distance)
    result = np.empty(len(placed))
    result[order] = placed
    return result.tolist()
