"""Asking Prometheus for numbers: one for each series now, or a course of them over time.

Owns the two query addresses and how their answers are read. Refuses to know what the numbers mean. Values that are no
finite numbers are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from stack.pager.backends import BackendError, Backends

MOST_POINTS = 5_000  # of a course; Prometheus itself refuses more than 11,000

Labels = dict[str, str]
Samples = list[tuple[float, float]]


@dataclass(frozen=True)
class Sample:
    """One series at one moment."""

    labels: Labels
    value: float


@dataclass(frozen=True)
class Course:
    """One series over time: seconds since the epoch and value, the oldest first."""

    labels: Labels
    samples: Samples


class Questions:
    """PromQL asked of one Prometheus. Every method raises BackendError when there is no usable answer."""

    def __init__(self, backends: Backends, prometheus_url: str) -> None:
        self._backends = backends
        self._url = prometheus_url

    async def vector(self, query: str, at: float) -> list[Sample]:
        """What an expression is at a moment, in the order of the answer."""
        answer = await self._ask("query", {"query": query, "time": at})
        return [Sample(course.labels, course.samples[-1][1]) for course in _parse(answer, "value") if course.samples]

    async def value(self, query: str, at: float) -> float | None:
        """The first value of an expression."""
        found = await self.vector(query, at)
        return found[0].value if found else None

    async def courses(self, query: str, start: float, end: float, step: float) -> list[Course]:
        """How an expression went from `start` to `end`."""
        parameters = {"query": query, "start": start, "end": max(end, start), "step": step}
        return [course for course in _parse(await self._ask("query_range", parameters), "values") if course.samples]

    async def _ask(self, kind: str, parameters: dict[str, str | float]) -> Any:
        if not self._url:
            raise BackendError("SIGNALBOX_PROMETHEUS_URL is not set")
        return await self._backends.read_json(f"{self._url}/api/v1/{kind}", parameters)


def _parse(answer: Any, key: str) -> list[Course]:
    try:
        return [
            Course(
                {str(name): str(text) for name, text in one["metric"].items()},
                _finite(one[key] if key == "values" else [one[key]]),
            )
            for one in answer["data"]["result"]
        ]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise BackendError(f"Prometheus' answer was not understood ({error!r:.200})") from None


def _finite(pairs: Any) -> Samples:
    samples = [(float(moment), float(value)) for moment, value in pairs]
    return [sample for sample in samples if math.isfinite(sample[1])]
