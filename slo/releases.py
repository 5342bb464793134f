"""Events told apart by the version of the process that counted them.

Owns how counters are summed up between scrapes: exactly, because a test of proportions needs whole events, and
`increase()` extrapolates. A process says which version it is in a series of its own (`signalbox_build_info`); what it
counted belongs to the version that it was at that scrape. Refuses to know which version is the better one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from slo.emit import promql
from slo.indicators import RatioIndicator, Selector
from slo.model import Promise
from slo.prometheus import Course, Prometheus

BUILD_INFO = "signalbox_build_info"
VERSION_LABEL = "service_version"

Process = tuple[str, str]
"""Job and instance."""


@dataclass(frozen=True)
class Tally:
    """Events of one version, and how many of them were bad."""

    events: int = 0
    bad: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.events + other.events, self.bad + other.bad)


@dataclass(frozen=True)
class Life:
    """Which version a process was at each scrape, oldest first."""

    scrapes: tuple[float, ...]
    versions: tuple[str, ...]

    @classmethod
    def of(cls, courses: Iterable[Course]) -> Self:
        """From the build information of one process: a series a version."""
        seen = sorted((at_s, course.labels[VERSION_LABEL]) for course in courses for at_s, _ in course.samples)
        return cls(tuple(at_s for at_s, _ in seen), tuple(version for _, version in seen))

    def version_at(self, at_s: float) -> str:
        """The version at a scrape; a count from before its first scrape belongs to the process that came up."""
        return self.versions[min(bisect_left(self.scrapes, at_s), len(self.versions) - 1)]

    def counted(self, samples: Iterable[tuple[float, float]]) -> Counter[str]:
        """How much a counter of this process grew, by version. It starts from nothing with every new process, and when
        it appears at a later scrape than the process did."""
        grown: Counter[str] = Counter()
        before: tuple[str, float] | None = None
        for at_s, value in samples:
            version = self.version_at(at_s)
            if before is None:
                increase = value if at_s > self.scrapes[0] else 0.0
            elif before[0] != version or value < before[1]:
                increase = value
            else:
                increase = value - before[1]
            grown[version] += round(increase)
            before = version, value
        return grown


def is_told_apart(promise: Promise) -> bool:
    """Whether the events of a promise belong to single processes: counters, both of one job."""
    indicator = promise.counters
    if indicator is None:
        return False
    jobs = [selector.matcher("job") for selector in (indicator.total, indicator.counted)]
    return jobs[0] == jobs[1]


def observe_lives(prometheus: Prometheus, length_s: float, at_s: float | None = None) -> dict[Process, Life]:
    """Every process that told its version in the last `length_s` seconds. Raises slo.prometheus.NoPrometheus."""
    by_process: dict[Process, list[Course]] = {}
    for course in prometheus.query_samples(f'{BUILD_INFO}{{{VERSION_LABEL}!=""}}', length_s, at_s):
        by_process.setdefault(_process(course.labels), []).append(course)
    return {process: Life.of(courses) for process, courses in by_process.items()}


def observe_tallies(
    prometheus: Prometheus,
    indicator: RatioIndicator,
    lives: Mapping[Process, Life],
    length_s: float,
    at_s: float | None = None,
) -> dict[str, Tally]:
    """Version → events of the last `length_s` seconds. Events of processes that tell no version are left out."""

    def counted(selector: Selector) -> Counter[str]:
        total: Counter[str] = Counter()
        for course in prometheus.query_samples(promql.render_selector(selector), length_s, at_s):
            if life := lives.get(_process(course.labels)):
                total += life.counted(course.samples)
        return total

    events, found = counted(indicator.total), counted(indicator.counted)
    if indicator.counts == "bad":
        return {version: Tally(events[version], min(found[version], events[version])) for version in events}
    return {version: Tally(events[version], max(0, events[version] - found[version])) for version in events}


def _process(labels: Mapping[str, str]) -> Process:
    return labels.get("job", ""), labels.get("instance", "")
