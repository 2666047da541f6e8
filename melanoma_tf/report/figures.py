"""The page's charts, each a function from numbers to an inline SVG; see `chart`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import logit

from melanoma_tf import metrics
from melanoma_tf.calibration import DecisionCurve, ReliabilityCurve
from melanoma_tf.report import markup
from melanoma_tf.report.chart import Axis, Chart, nice_axis, share_axis
from melanoma_tf.report.statistics import GRID, Curves

COLORS = 8  # classes s0 to s7 of the style; then they come again
PROBABILITY_TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 0.9, 0.99, 0.999)
CERTAIN = 1e-7  # a score is clipped to this far from 0 and 1, where the logit has no value
BINS = 40
MARK_WIDTH, MARK_HEIGHT = 120, 14


@dataclass(frozen=True)
class Series:
    """One curve of a figure: its name, its counts, and the band of its sensitivity, float64[2,G] or None."""

    name: str
    curves: Curves
    band: np.ndarray | None = None


def color(number: int) -> str:
    """The class of the number-th of lines that stand for runs or folds."""
    return f"s{number % COLORS}"


def roc(series: Sequence[Series]) -> str:
    """Receiver operating characteristic, with the band of the first series."""
    chart = Chart("ROC curve", share_axis("False positive rate (1 − specificity)"), share_axis("Sensitivity"))
    chart.line([0, 1], [0, 1], "reference")
    for number, one in enumerate(series):
        if one.band is not None:
            chart.area(GRID, one.band[0], one.band[1], color(number))
    for number, one in reversed(list(enumerate(series))):  # the subject lies on top
        chart.line(*_thin(one.curves.false_positive_rate, one.curves.sensitivity), color(number))
    chart.names([(one.name, color(number)) for number, one in enumerate(series)], "lower right")
    return chart.svg()


def precision_recall(series: Sequence[Series], share: float) -> str:
    """Precision over sensitivity; `share` is the share of melanoma, what a blind guess reaches."""
    chart = Chart("Precision and recall", share_axis("Sensitivity (recall)"), share_axis("Precision"))
    chart.line([0, 1], [share, share], "reference")
    for number, one in reversed(list(enumerate(series))):
        chart.line(*_thin(one.curves.sensitivity[1:], one.curves.precision[1:]), color(number))
    named = [(one.name, color(number)) for number, one in enumerate(series)]
    chart.names([*named, (f"blind guess  {share:.1%}", "muted")], "upper right")
    return chart.svg()


def scores(target: np.ndarray, score: np.ndarray) -> str:
    """Distribution of the score in both classes, on the scale of the logit where rare and common are told apart."""
    value = logit(np.clip(score, CERTAIN, 1 - CERTAIN))
    edges = np.linspace(value.min() - 1e-3, value.max() + 1e-3, BINS + 1)
    classes = (("benign", target == 0), ("melanoma", target == 1))
    heights = {name: np.histogram(value[which], edges)[0] / max(int(which.sum()), 1) for name, which in classes}
    highest = max(float(height.max()) for height in heights.values())
    probabilities = 1 / (1 + np.exp(-edges[[0, -1]]))
    inside = [tick for tick in PROBABILITY_TICKS if probabilities[0] <= tick <= probabilities[1]]
    ticks = [(tick, _probability(tick)) for tick in inside]
    x = Axis("Score (scale of the logit)", float(probabilities[0]), float(probabilities[1]), ticks, logit)
    y = nice_axis("Share of the class", np.array([0, 1.25 * highest]))  # room above for the names
    chart = Chart("Distribution of the scores by class", x, y)
    at = 1 / (1 + np.exp(-np.repeat(edges, 2)))
    for name, _ in classes:
        outline = np.concatenate([[0], np.repeat(heights[name], 2), [0]])
        chart.area(at, np.zeros(len(at)), outline, name)
        chart.line(at, outline, name)
    chart.names([(f"{name}  {int(which.sum()):,}", name) for name, which in classes], "upper right")
    return chart.svg()


def _probability(tick: float) -> str:
    return f"{tick:g}" if tick >= 0.001 else f"{tick:.0e}".replace("e-0", "e-")


def calibration(curves: Sequence[tuple[str, ReliabilityCurve]]) -> str:
    """Share of melanoma over the mean probability of each bin, both logarithmic; limits of the first curve's."""
    x = _logarithmic("Mean score of the bin", np.concatenate([curve.mean for _, curve in curves]))
    y = _logarithmic("Share of melanoma", np.array([one.value for _, curve in curves for one in curve.share]))
    chart = Chart("Calibration curve", x, y)
    chart.line([max(x.low, y.low), 1], [max(x.low, y.low), 1], "reference")
    for number, (_, curve) in reversed(list(enumerate(curves))):
        share, at = np.array([one.value for one in curve.share]), np.maximum(curve.mean, x.low)
        chart.line(at, np.where(share >= y.low, share, np.nan), color(number))
        for position, one in zip(at, curve.share):
            if number == 0:
                chart.line([position] * 2, np.maximum([one.low, one.high], y.low), f"thin {color(number)}")
            if one.value >= y.low:
                chart.dot(position, one.value, color(number))
    chart.names([(name, color(number)) for number, (name, _) in enumerate(curves)], "upper left")
    return chart.svg()


def _logarithmic(label: str, values: np.ndarray) -> Axis:
    """From the power of ten below the smallest positive value, at least 1e-6, to 1."""
    power = int(np.clip(np.floor(np.log10(values[values > 0].min(initial=1.0))), -6, -1))
    ticks = [10.0**at for at in range(0, power - 1, -1 if power > -5 else -2)]
    return Axis(label, 10.0**power, 1.0, [(tick, _probability(tick)) for tick in ticks], np.log10)


def decision(curve: DecisionCurve, name: str) -> str:
    """Net benefit per 1,000 images over the threshold probability, beside excising all and none."""
    model, low, high, everyone = (1000 * values for values in (curve.model, curve.low, curve.high, curve.treat_all))
    highest = max(float(high.max()), 1e-3)
    floor = -0.2 * highest  # excising all falls far below any use
    percent = 100 * curve.thresholds
    y = nice_axis("Net benefit per 1,000 images", np.array([floor, highest]))
    chart = Chart("Decision curve", nice_axis("Threshold probability, %", np.array([0, percent.max()])), y)
    chart.line([0, chart.x.high], [0, 0], "reference")
    chart.area(percent, np.maximum(low, y.low), np.maximum(high, y.low), "s0")
    chart.line(percent, np.where(everyone >= y.low, everyone, np.nan), "muted")
    chart.line(percent, np.where(model >= y.low, model, np.nan), "s0")
    chart.names([(name, "s0"), ("excise all", "muted"), ("excise none: 0", "muted")], "upper right")
    return chart.svg()


def learning(histories: dict[str, pd.DataFrame], column: str, label: str) -> str:
    """A column of the training history over epochs, one line per fold, its last value marked."""
    lines = {name: _finite(history, column) for name, history in histories.items()}
    lines = {name: values for name, values in lines.items() if len(values[0])}
    values = np.concatenate([y for _, y in lines.values()])
    last = max(float(x.max()) for x, _ in lines.values())
    epochs = nice_axis("Epoch", np.array([min(float(x.min()) for x, _ in lines.values()), last]), 8)
    whole = [(value, text) for value, text in epochs.ticks if value == round(value)]
    x_axis = Axis("Epoch", epochs.low, max(last, epochs.low + 1), [(v, f"{v:.0f}") for v, _ in whole if v <= last])
    chart = Chart(label, x_axis, nice_axis(label, values), height=230, margin=58)
    for number, (x, y) in enumerate(lines.values()):
        chart.line(x, y, color(number))
        chart.dot(x[-1], y[-1], color(number))
    names = [f"fold {name}" if name.isdigit() else name for name in lines]
    chart.names_at_end([(name, color(n), float(y[-1])) for n, (name, (_, y)) in enumerate(zip(names, lines.values()))])
    return chart.svg()


def _finite(history: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    values = pd.to_numeric(history[column], errors="coerce").to_numpy(np.float64)
    known = np.isfinite(values)
    return history["epoch"].to_numpy(np.float64)[known], values[known]


def mark(found: metrics.Interval | None, low: float, high: float, reference: float | None = None) -> markup.Html:
    """An interval as a small picture for a table's cell; the same `low` and `high` make rows comparable."""
    if found is None:
        return markup.Html("")
    at = lambda value: 3 + (MARK_WIDTH - 6) * min(max((value - low) / (high - low), 0.0), 1.0)  # noqa: E731
    middle = MARK_HEIGHT / 2
    line = "" if reference is None else f'<path class="reference" d="M{at(reference):.1f} 0V{MARK_HEIGHT}"/>'
    return markup.Html(
        f'<svg class="mark" viewBox="0 0 {MARK_WIDTH} {MARK_HEIGHT}" aria-hidden="true">{line}'
        f'<path class="line s0" d="M{at(found.low):.1f} {middle}H{at(found.high):.1f}"/>'
        f'<circle class="dot s0" cx="{at(found.value):.1f}" cy="{middle}" r="3"/></svg>'
    )


def mark_scale(low: float) -> markup.Html:
    """Heading of a column of marks: where its scale begins and ends."""
    return markup.Html(f'<span class="scale"><span>{low:g}</span><span>1</span></span>')


def lowest(intervals: Iterable[metrics.Interval | None]) -> float:
    """Where the scale of marks begins so that all intervals fit, in tenths."""
    lows = [one.low for one in intervals if one is not None]
    return min(0.8, float(np.floor(10 * min(lows)) / 10)) if lows else 0.5


def _thin(x: np.ndarray, y: np.ndarray, steps: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Drops points that change neither axis by a visible amount; 33,000 points would make a picture of megabytes."""
    cell = np.stack([np.floor(x * steps), np.floor(y * steps)])
    keep = np.append(True, (np.diff(cell) != 0).any(axis=0))
    keep[-1] = True
    return x[keep], y[keep]
