"""Every error budget: what is left, for how long, and how it went.

Owns which recorded series tell this, and their drawing as burn-down plots. Refuses to know how the records are made.
"""

from __future__ import annotations

from dataclasses import dataclass

from stack.pager.figures import HEIGHT, WIDTH, draw_strokes
from stack.pager.series import Course, Questions

POINTS = 240
_MIN_STEP_S = 5.0
DAY_S = 86_400.0
_HEADROOM = 0.05  # above a full budget, so that its line is seen


@dataclass(frozen=True)
class Budget:
    """One SLO. `remaining` is a share of the period's budget, below zero when the promise is broken; `lasts_s` is None
    while nothing is being spent. `strokes` and the lines at `full_y` and `empty_y` are drawn into WIDTH × HEIGHT."""

    service: str
    slo: str
    remaining: float
    lasts_s: float | None
    burn_rate: float | None
    objective: float | None
    strokes: tuple[str, ...]
    full_y: float
    empty_y: float
    lowest: float
    spent: float  # since the plot begins

    @property
    def title(self) -> str:
        return self.slo.replace("-", " ").capitalize()

    @property
    def state(self) -> str:
        """`bad` when used up, `low` when a quarter or less is left, else `good`."""
        return "bad" if self.remaining <= 0 else "low" if self.remaining <= 0.25 else "good"


async def read_budgets(questions: Questions, start: float, end: float) -> list[Budget]:
    """Every budget that Prometheus has recorded, the emptiest first. Raises BackendError."""
    step = max((end - start) / POINTS, _MIN_STEP_S)
    courses = await questions.courses("slo:period_error_budget_remaining:ratio", start, end, step)
    burn = await questions.vector("slo:current_burn_rate:ratio", end)
    periods = await questions.vector("slo:time_period:days", end)
    objectives = await questions.vector("slo:objective:ratio", end)
    pace, days, objective = ({one.labels.get("slo"): one.value for one in told} for told in (burn, periods, objectives))
    budgets = [
        _budget(
            _Plot(course, start, end, step),
            pace.get(course.labels.get("slo")),
            days.get(course.labels.get("slo")),
            objective.get(course.labels.get("slo")),
        )
        for course in courses
    ]
    return sorted(budgets, key=lambda budget: (budget.remaining, budget.slo))


@dataclass(frozen=True)
class _Plot:
    course: Course
    start: float
    end: float
    step: float


def _budget(plot: _Plot, pace: float | None, days: float | None, objective: float | None) -> Budget:
    samples, labels = plot.course.samples, plot.course.labels
    remaining = samples[-1][1]
    low, high = min(0.0, *(value for _, value in samples)), 1.0 + _HEADROOM
    scale = HEIGHT / (high - low + _HEADROOM)
    return Budget(
        service=labels.get("service", ""),
        slo=labels.get("slo", ""),
        remaining=remaining,
        lasts_s=max(remaining, 0.0) * days * DAY_S / pace if pace and pace > 0 and days else None,
        burn_rate=pace,
        objective=objective,
        strokes=draw_strokes(
            samples,
            1.5 * plot.step,
            lambda at: (at - plot.start) / (plot.end - plot.start) * WIDTH,
            lambda value: (high - value) * scale,
        ),
        full_y=round((high - 1.0) * scale, 1),
        empty_y=round(high * scale, 1),
        lowest=low,
        spent=max(samples[0][1] - remaining, 0.0),
    )
