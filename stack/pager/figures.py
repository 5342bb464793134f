"""The figures of an alert's SLO, for readers without Grafana.

Owns: which recorded series tell how fast the budget burns and how much is left, and their drawing as a curve.
Refuses to know: how the records are made, and at what burn an alert fires.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stack.pager.backends import BackendError, Backends
from stack.pager.links import emit_text
from stack.pager.page import Page

WIDTH, HEIGHT = 600.0, 140.0
_LEAD_S = 3_600.0  # before the alert
_TAIL_S = 900.0  # after its end
_POINTS = 120
_MIN_STEP_S = 5.0

Samples = list[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """A series drawn into WIDTH × HEIGHT, zero at the bottom. `strokes` are SVG point lists; where samples are
    missing the line is broken, never drawn through."""

    strokes: tuple[str, ...]
    start: float
    end: float
    highest: float
    latest: float
    even_y: float  # where the burn is 1: the budget lasts exactly as long as the period
    alert_x: float


@dataclass(frozen=True)
class Figures:
    burn: Curve | None
    budget_remaining: float | None


async def read_figures(backends: Backends, prometheus_url: str, page: Page, *, now: float) -> Figures | None:
    """The figures around the page's time; None for a page that is not about an SLO. Raises BackendError."""
    service, slo = page.labels.get("service"), page.labels.get("slo")
    if not service or not slo:
        return None
    selector = f"{{service={emit_text(service)},slo={emit_text(slo)}}}"
    start = page.starts_at - _LEAD_S
    end = max(now if page.resolved_at is None else min(now, page.resolved_at + _TAIL_S), page.starts_at)
    step = max((end - start) / _POINTS, _MIN_STEP_S)
    burn, budget = await asyncio.gather(
        backends.read_json(
            f"{prometheus_url}/api/v1/query_range",
            {"query": f"slo:current_burn_rate:ratio{selector}", "start": start, "end": end, "step": step},
        ),
        backends.read_json(
            f"{prometheus_url}/api/v1/query",
            {"query": f"slo:period_error_budget_remaining:ratio{selector}", "time": end},
        ),
    )
    try:
        samples = parse_samples(burn, "values")
        budgets = parse_samples(budget, "value")
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise BackendError(f"Prometheus' answer was not understood ({error!r:.200})") from None
    return Figures(
        burn=draw_curve(samples, start, end, step, page.starts_at) if samples else None,
        budget_remaining=budgets[-1][1] if budgets else None,
    )


def parse_samples(answer: Any, key: str) -> Samples:
    """The finite samples of the first series in a query (`value`) or range query (`values`) answer."""
    result = answer["data"]["result"]
    pairs = (result[0][key] if key == "values" else [result[0][key]]) if result else []
    samples = [(float(moment), float(value)) for moment, value in pairs]
    return [sample for sample in samples if math.isfinite(sample[1])]


def draw_curve(samples: Samples, start: float, end: float, step: float, alert_at: float) -> Curve:
    """A curve of at least one sample."""
    highest = max(value for _, value in samples)
    scale = HEIGHT / max(highest * 1.1, 1.5)
    return Curve(
        strokes=draw_strokes(samples, 1.5 * step, lambda at: _x(at, start, end), lambda value: HEIGHT - value * scale),
        start=start,
        end=end,
        highest=highest,
        latest=samples[-1][1],
        even_y=round(HEIGHT - scale, 1),
        alert_x=round(_x(alert_at, start, end), 1),
    )


def draw_strokes(
    samples: Samples, longest_gap_s: float, x: Callable[[float], float], y: Callable[[float], float]
) -> tuple[str, ...]:
    """Samples as SVG point lists, broken where more than `longest_gap_s` lies between two."""
    strokes: list[list[str]] = []
    before = float("-inf")
    for moment, value in samples:
        if moment - before > longest_gap_s:
            strokes.append([])
        strokes[-1].append(f"{x(moment):.1f},{y(value):.1f}")
        before = moment
    return tuple(" ".join(stroke) for stroke in strokes)


def _x(moment: float, start: float, end: float) -> float:
    return (moment - start) / (end - start) * WIDTH
