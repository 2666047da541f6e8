"""Figures as SVG data URIs. The same numbers give the same bytes: fixed salt, no date, text laid out in one font."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from melanoma_tf.errors import UserError
from melanoma_tf.report.statistics import GRID, Curves

INK, MUTED, RULE = "#1d2733", "#66717e", "#d9dee4"
MELANOMA, BENIGN = "#b4472b", "#3a6a94"
SERIES = ("#1f6f78", "#b8862b", "#7d5ba6", "#5c8a57", "#a3527f", "#4f5b66", "#9a6b4b", "#4a96c3")  # neither class's
PROBABILITY_TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 0.9, 0.99, 0.999)

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "melanoma_tf", "svg.fonttype": "none", "font.family": "DejaVu Sans", "font.size": 9.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": RULE, "axes.labelcolor": MUTED,
    "axes.grid": True, "grid.color": "#eceff2", "grid.linewidth": 0.8, "axes.axisbelow": True, "text.color": INK,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.major.size": 0, "ytick.major.size": 0, "lines.linewidth": 1.8,
    "legend.frameon": False, "legend.fontsize": 8.5, "axes.labelsize": 9,
}  # fmt: skip
PAGE_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, 'DejaVu Sans'"


@dataclass(frozen=True)
class Series:
    """One curve of a figure: its name, its counts, and the band of its sensitivity, float64[2,G] or None."""

    name: str
    curves: Curves
    band: np.ndarray | None = None


def draw(paint: Callable, width: float = 4.7, height: float = 3.9) -> str:
    """An SVG data URI of what `paint(axes)` draws; width and height in inches.

    Raises: UserError that names the extra where matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "the report draws with matplotlib; install it with: pip install 'melanoma_tf[plots]'"
        ) from error
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure.add_subplot())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue().replace(b"'DejaVu Sans'", PAGE_FONTS.encode())
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def roc(series: Sequence[Series]) -> str:
    """Receiver operating characteristic, with the band of the first series."""

    def paint(axes) -> None:
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1, linestyle=(0, (4, 3)))
        for one, color in zip(series, _colors(series)):
            axes.plot(*_thin(one.curves.false_positive_rate, one.curves.sensitivity), color=color, label=one.name)
            if one.band is not None:
                axes.fill_between(GRID, *one.band, color=color, alpha=0.16, linewidth=0, label="95 % band (patients)")
        axes.set(xlabel="False positive rate (1 − specificity)", ylabel="Sensitivity", xlim=(-0.01, 1), ylim=(0, 1.01))
        axes.legend(loc="lower right")

    return draw(paint)


def precision_recall(series: Sequence[Series], share: float) -> str:
    """Precision over sensitivity; `share` is the share of melanoma, what a blind guess reaches."""

    def paint(axes) -> None:
        axes.axhline(share, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label=f"blind guess ({share:.1%})")
        for one, color in zip(series, _colors(series)):
            label = f"{one.name} (AP {one.curves.average_precision:.3f})"
            axes.plot(*_thin(one.curves.sensitivity[1:], one.curves.precision[1:]), color=color, label=label)
        axes.set(xlabel="Sensitivity (recall)", ylabel="Precision", xlim=(-0.01, 1), ylim=(0, 1.01))
        axes.legend(loc="upper right")

    return draw(paint)


def scores(target: np.ndarray, score: np.ndarray) -> str:
    """Distribution of the score in both classes, on the scale of the logit where rare and common are told apart."""
    from scipy.special import logit

    value = logit(np.clip(score, 1e-7, 1 - 1e-7))
    edges = np.linspace(value.min() - 1e-3, value.max() + 1e-3, 41)

    def paint(axes) -> None:
        for label, which, color in (("benign", target == 0, BENIGN), ("melanoma", target == 1, MELANOMA)):
            density, _ = np.histogram(value[which], edges)
            share = density / max(int(which.sum()), 1)
            name = f"{label} ({int(which.sum()):,})"
            axes.stairs(share, edges, fill=True, color=color, alpha=0.22)
            axes.stairs(share, edges, color=color, linewidth=1.6, label=name)
        ticks = [tick for tick in PROBABILITY_TICKS if edges[0] <= logit(tick) <= edges[-1]]
        axes.set_xticks([logit(tick) for tick in ticks], [f"{tick:g}".replace("e-0", "e-") for tick in ticks])
        axes.set(xlabel="Score (scale of the logit)", ylabel="Share of the class", xlim=(edges[0], edges[-1]))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)

    return draw(paint, width=7.4, height=3.0)


def learning(histories: dict[str, pd.DataFrame], column: str, label: str) -> str:
    """A column of the training history over epochs, one line per fold."""
    names = list(histories)

    def paint(axes) -> None:
        for name, color in zip(names, _colors(names)):
            history = histories[name]
            values = pd.to_numeric(history[column], errors="coerce")
            axes.plot(
                history["epoch"], values, color=color, marker="o", markersize=3, linewidth=1.5, label=f"fold {name}"
            )
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(xlabel="Epoch", ylabel=label)
        axes.legend(ncols=2)

    return draw(paint, height=3.2)


def _colors(series: Iterable) -> list[str]:
    return [SERIES[number % len(SERIES)] for number, _ in enumerate(series)]


def _thin(x: np.ndarray, y: np.ndarray, steps: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Drops points that change neither axis by a visible amount; 33,000 points would make a picture of megabytes."""
    cell = np.stack([np.floor(x * steps), np.floor(y * steps)])
    keep = np.append(True, (np.diff(cell) != 0).any(axis=0))
    keep[-1] = True
    return x[keep], y[keep]
