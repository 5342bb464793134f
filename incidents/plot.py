"""Plots as geometry: where lines, ticks and marks lie, in percent of the plot's width and height.

Owns scales, ticks and the placing of labels. Refuses to know HTML and what a series means. Lines are drawn by an SVG
that stretches with the page, texts are placed over it, so that they keep their size on a phone and on paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

MAX_SERIES = 6
_GAP_POINTS = 5
"""A line breaks where the time between two points is longer than this many usual steps."""


@dataclass(frozen=True)
class Mark:
    """A moment drawn as a vertical line; `row` staggers labels that would overlap, `flip` puts one left of its line."""

    x: float
    name: str
    label: str
    row: int
    flip: bool


@dataclass(frozen=True)
class Tick:
    """A labelled position on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Line:
    """One series: an SVG path in a 100 × 100 box, and its last and greatest values as text."""

    name: str
    colour: int
    path: str
    last: str
    peak: str


@dataclass(frozen=True)
class Plot:
    """Everything a template needs to draw one plot. `threshold` is a height, `shade` the width of the fault."""

    title: str
    query: str
    lines: list[Line]
    left_out: int
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    threshold: Tick | None
    shade: tuple[float, float] | None
    marks: list[Mark]


@dataclass(frozen=True)
class Axis:
    """The time axis that all plots of a report share; moments are in seconds since the epoch."""

    start: float
    end: float
    zero: float

    def x(self, at: float) -> float:
        """The position of a moment in percent of the width."""
        share = (at - self.start) / max(self.end - self.start, 1e-9)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    def ticks(self) -> list[Tick]:
        """Round seconds before and after `zero`."""
        step = _nice_step((self.end - self.start) / 6, (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800))
        first = math.ceil((self.start - self.zero) / step)
        last = math.floor((self.end - self.zero) / step)
        offsets = [number * step for number in range(first, last + 1)]
        ticks = [Tick(self.x(self.zero + offset), emit_offset(offset)) for offset in offsets]
        return [tick for tick in ticks if 2 < tick.at < 98]  # a label at the very edge would stick out

    def marks(self, moments: Sequence[tuple[str, float | None]], label_width: float) -> list[Mark]:
        """Vertical lines for the moments that happened, their labels (so wide at most) in as many rows as they need."""
        marks: list[Mark] = []
        taken: list[float] = []  # how far right each row is filled
        for name, at in sorted(((name, at) for name, at in moments if at is not None), key=lambda pair: pair[1]):
            x = self.x(at)
            flip = x + label_width > 100
            begins = x - label_width if flip else x
            row = next((number for number, filled in enumerate(taken) if filled <= begins), len(taken))
            if row == len(taken):
                taken.append(0.0)
            taken[row] = begins + label_width
            marks.append(Mark(x, name, f"{name} {emit_offset(at - self.zero)}", row, flip))
        return marks


def build_plot(metric: dict[str, Any], axis: Axis, marks: list[Mark], shade: tuple[float, float] | None) -> Plot:
    """A plot of one of the metrics of the evidence: `{"name", "query", "unit", "threshold", "series"}`, each series
    `{"labels", "points"}`, each point `[seconds since the epoch, value or null]`."""
    unit = metric["unit"]
    ranked = sorted(metric["series"], key=lambda one: -max(_values(one), default=-math.inf))
    values = [value for one in ranked for value in _values(one)]
    threshold = metric["threshold"]
    top = max([*values, threshold or 0.0], default=0.0) or 1.0
    bottom = min(0.0, *values) if values else 0.0
    step = _nice_step((top - bottom) / 4)
    top = math.ceil(top / step - 1e-9) * step
    bottom = math.floor(bottom / step + 1e-9) * step

    def y(value: float) -> float:
        return round(100 * (value - bottom) / (top - bottom), 2)

    lines = [
        Line(
            name=_emit_labels(one["labels"], [other["labels"] for other in ranked]),
            colour=number,
            path=_emit_path(one["points"], axis, y),
            last=emit_value(_values(one)[-1], unit) if _values(one) else "no value",
            peak=emit_value(max(_values(one)), unit) if _values(one) else "no value",
        )
        for number, one in enumerate(ranked[:MAX_SERIES])
    ]
    steps = round((top - bottom) / step)
    return Plot(
        title=metric["name"],
        query=metric["query"],
        lines=lines,
        left_out=max(len(ranked) - MAX_SERIES, 0),
        x_ticks=axis.ticks(),
        y_ticks=[
            Tick(y(bottom + number * step), emit_value(bottom + number * step, unit)) for number in range(steps + 1)
        ],
        threshold=None if threshold is None else Tick(y(threshold), emit_value(threshold, unit)),
        shade=shade,
        marks=marks,
    )


def emit_value(value: float, unit: str) -> str:
    """A value as people write it: 12.5 %, 80 ms, 3.2 /s, 1,200."""
    if unit == "ratio":
        return f"{_short(value * 100)} %"
    if unit == "s":
        return f"{_short(value * 1e3)} ms" if abs(value) < 1 else f"{_short(value)} s"
    return f"{_short(value)} /s" if unit == "per s" else _short(value)


def emit_offset(seconds: float) -> str:
    """Time before or after onset: −10 s, 0 s, 12.4 s, 3 min 20 s."""
    sign, size = ("−" if seconds < 0 else ""), abs(seconds)
    if size < 120:
        return f"{sign}{size:.0f} s" if size >= 60 or size == round(size) else f"{sign}{size:.1f} s"
    minutes, rest = divmod(round(size), 60)
    return f"{sign}{minutes} min {rest} s" if rest else f"{sign}{minutes} min"


def _short(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _nice_step(raw: float, steps: Sequence[float] = ()) -> float:
    """The least round number that is not below `raw`: of `steps`, or 1, 2, 2.5, 5 times a power of ten."""
    for step in steps:
        if step >= raw:
            return step
    if raw <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))


def _values(series: dict[str, Any]) -> list[float]:
    return [value for _, value in series["points"] if value is not None]


def _emit_labels(labels: dict[str, str], others: list[dict[str, str]]) -> str:
    """The labels in which the series of a plot differ; one alone is called by all of its labels, or `value`."""
    names = [name for name in labels if name != "__name__"]
    if len(others) > 1:
        names = [name for name in names if len({other.get(name) for other in others}) > 1] or names
    return ", ".join(labels[name] for name in names) or labels.get("__name__", "value")


def _emit_path(points: list[list[float | None]], axis: Axis, y: Any) -> str:
    known = [(at, value) for at, value in points if at is not None and value is not None]
    steps = sorted(later[0] - earlier[0] for earlier, later in pairwise(known))
    usual = steps[len(steps) // 2] if steps else 1.0
    path = []
    previous: float | None = None
    for at, value in known:
        joined = previous is not None and at - previous <= usual * _GAP_POINTS
        path.append(f"{'L' if joined else 'M'}{axis.x(at):g} {100 - y(value):g}")
        previous = at
    if len(path) == 1:
        path.append("h0.3")
    return "".join(path)
