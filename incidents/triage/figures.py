"""Deviations of figures: the samples of a detector's query now and before → what is suspicious about them.

Pure. Owns the three comparisons. Refuses to know PromQL and where samples come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from incidents.plot import emit_value
from incidents.triage.deviation import Deviation, strength
from incidents.triage.rules import Detector, Topology

TINY = 1e-9
Samples = list[tuple[dict[str, str], float]]


@dataclass(frozen=True)
class Figure:
    """A detector with what its query answered in the two windows; `query` is as it was asked now."""

    detector: Detector
    query: str
    now: Samples
    before: Samples


def figure_deviations(figures: Iterable[Figure], topology: Topology) -> list[Deviation]:
    """Every suspicious series."""
    return [found for figure in figures for found in _of_figure(figure, topology)]


def excess(detector: Detector, now: float, before: float | None) -> float:
    """How far beyond the detector's limit the figure is, as a factor; from 1 on it is suspicious. None: no series.

    A figure that is not there now is not suspicious: a query that means it by that answers 0.
    """
    factor = detector.factor or 1.0
    match detector.mode:
        case "rises":
            return now / max(detector.floor, factor * (before or 0.0))
        case "falls":
            if before is None or before < detector.floor:
                return 0.0
            return factor * before / max(now, TINY)
        case "below":
            return detector.floor / max(now, TINY)


def _of_figure(figure: Figure, topology: Topology) -> list[Deviation]:
    detector = figure.detector
    before = {_key(labels): value for labels, value in figure.before if math.isfinite(value)}
    now = {_key(labels): value for labels, value in figure.now if math.isfinite(value)}
    found = []
    for key in now:
        far = excess(detector, now[key], before.get(key))
        if far < 1:
            continue
        labels = _Labels(key)
        component = topology.component(detector.component.format_map(labels))
        if component in topology.outside:
            continue
        told = {
            "now": emit_value(now[key], detector.unit),
            "before": emit_value(before[key], detector.unit) if key in before else "none",
        }
        says = detector.says.format_map(_Labels({**labels, **told}))
        power = strength(detector.weight, far)
        found.append(Deviation(component, detector.kind, power, "metrics", says, query=figure.query))
    return found


class _Labels(dict[str, str]):
    """Labels for a template; one that a series does not have reads as a dash."""

    def __missing__(self, key: str) -> str:
        return "–"


def _key(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in labels.items() if name != "__name__"))
