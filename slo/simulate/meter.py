"""All windows of one promise at one moment, as its recording rules have them.

Owns what is read directly and what is summed up from recorded samples (see slo/emit/recording.py and events.py, whose
design this follows), which source a kind of promise counts with, and which tiers hold. Sources know how to count.
"""

from __future__ import annotations

import operator
from datetime import timedelta
from typing import Protocol

from slo.emit.events import reads_directly
from slo.model import Promise, RatioIndicator, Tier, Window
from slo.simulate.sources import Counters, Counts, Course, Judge, Looks, Slices, Source

MILLISECOND = timedelta(milliseconds=1)
NOTHING = Counts(0.0, 0.0, 0.0)


class Meter(Protocol):
    """The windows of a promise, evaluation after evaluation."""

    promise: Promise

    def evaluate(self, now_ms: int) -> None:
        """Record every window."""

    def ratio(self, window: Window) -> float | None:
        """The share of bad events; None without events."""

    def touched(self, window: Window) -> float:
        """How many were bad at all: what the minimum of events is asked of."""

    def still(self, now_ms: int) -> bool:
        """Whether nothing was counted over the liveness window, though it is there."""

    def since(self, start_ms: int, now_ms: int) -> Counts:
        """What was counted from a start on."""

    def per_period(self) -> float:
        """How much a whole period holds."""


def build_meter(promise: Promise, scrape: timedelta, rate: Course, error_ratio: Course) -> Meter:
    """The meter of a promise of any kind; a composite's parts share the courses."""
    if promise.of_ratios:
        return CompositeMeter(promise, [build_meter(part.promise, scrape, rate, error_ratio) for part in promise.parts])
    counting = [part.promise for part in promise.parts] or [promise]
    sources = [_build_source(each, scrape, rate, error_ratio) for each in counting]
    if promise.slices:
        judges = [_build_judge(*pair) for pair in zip(counting, sources, strict=True)]
        sources = [Slices(judges, promise.slices.length // MILLISECOND)]
    return CountingMeter(promise, sources[0], promise.windows.interval // MILLISECOND)


def _build_source(promise: Promise, scrape: timedelta, rate: Course, error_ratio: Course) -> Source:
    if promise.counters:
        apart = promise.counters.total.metric != promise.counters.counted.metric
        return Counters(scrape // MILLISECOND, rate, error_ratio, apart=apart)
    weight = rate if isinstance(promise.indicator, RatioIndicator) else lambda moment_ms: 1.0
    return Looks(promise.windows.interval // MILLISECOND, weight, error_ratio)


def _build_judge(promise: Promise, source: Source) -> Judge:
    assert promise.slices is not None
    limit = None if promise.slices.target is None else float(1 - promise.slices.target)
    return Judge(source, limit, promise.slices.strict)


def holds(meter: Meter, tier: Tier) -> bool:
    """Whether both windows of a tier exceed its threshold (or reach it), with enough bad events in the long one."""
    threshold, beyond = float(meter.promise.threshold(tier)), operator.ge if tier.or_equal else operator.gt
    short, long = meter.ratio(tier.short), meter.ratio(tier.long)
    enough = meter.touched(tier.long) > meter.promise.min_bad_events - 0.5
    return short is not None and long is not None and beyond(short, threshold) and beyond(long, threshold) and enough


class CountingMeter:
    """The windows of a promise that counts for itself."""

    def __init__(self, promise: Promise, source: Source, interval_ms: int) -> None:
        self.promise = promise
        self._source, self._interval_ms = source, interval_ms
        self._base: list[Counts | None] = []  # recorded at every evaluation
        self._sums: dict[str, list[Counts]] = {}  # of base samples at the steps of a window, up to each step
        self._now: dict[str, Counts | None] = {}

    def evaluate(self, now_ms: int) -> None:
        self._source.evaluate(now_ms)
        table = self.promise.windows
        for window in table.windows:
            if reads_directly(self.promise, window):
                self._now[window.name] = self._source.counts(window.length // MILLISECOND, now_ms)
                if window == table.base:
                    self._base.append(self._now[window.name])
            else:
                self._now[window.name] = self._summed(window, now_ms)

    def ratio(self, window: Window) -> float | None:
        counts = self._now[window.name]
        if counts is None or counts.total <= 0:
            return None
        return min(max(round(counts.bad / counts.total, 10), 0.0), 1.0)

    def touched(self, window: Window) -> float:
        return (self._now[window.name] or NOTHING).touched

    def still(self, now_ms: int) -> bool:
        counts = self._source.counts(self.promise.windows.liveness_window // MILLISECOND, now_ms)
        return counts is not None and counts.total == 0

    def since(self, start_ms: int, now_ms: int) -> Counts:
        return self._source.since(start_ms, now_ms)

    def per_period(self) -> float:
        return self._source.per_period(self.promise.windows.period.length // MILLISECOND)

    def _summed(self, window: Window, now_ms: int) -> Counts | None:
        table = self.promise.windows
        head = self._now[table.head.name]
        if head is None:
            return None
        step_ms, base_ms = window.step // MILLISECOND, table.base.length // MILLISECOND
        offset_ms = table.head.length // MILLISECOND - base_ms // 2 - step_ms // 2
        end_ms = now_ms - offset_ms
        begin_ms = end_ms - (window.length // MILLISECOND - offset_ms - base_ms)
        newest, oldest = end_ms // step_ms, max(begin_ms // step_ms, -1)
        if newest < 0:
            return head
        sums = self._sums.setdefault(window.name, [NOTHING])  # sums[n]: steps 0 to n − 1
        while len(sums) <= newest + 1:
            sample = self._base[(len(sums) - 1) * step_ms // self._interval_ms] or NOTHING
            sums.append(Counts(*map(float.__add__, sums[-1], map(float, sample))))
        weight = step_ms / base_ms
        upper, lower = sums[newest + 1], sums[oldest + 1]
        return Counts(*(now + weight * (up - low) for now, up, low in zip(head, upper, lower, strict=True)))


class CompositeMeter:
    """The parts' ratios, each by its share. A part without data burns nothing."""

    def __init__(self, promise: Promise, parts: list[Meter]) -> None:
        self.promise = promise
        self._parts = list(zip(parts, (float(part.share) for part in promise.parts), strict=True))

    def evaluate(self, now_ms: int) -> None:
        for meter, _ in self._parts:
            meter.evaluate(now_ms)

    def ratio(self, window: Window) -> float | None:
        known = [ratio * share for meter, share in self._parts if (ratio := meter.ratio(window)) is not None]
        return min(max(round(sum(known), 10), 0.0), 1.0) if known else None

    def touched(self, window: Window) -> float:
        return sum(meter.touched(window) for meter, _ in self._parts)

    def still(self, now_ms: int) -> bool:
        return any(meter.still(now_ms) for meter, _ in self._parts)

    def since(self, start_ms: int, now_ms: int) -> Counts:
        found = [(meter.since(start_ms, now_ms), share) for meter, share in self._parts]
        total, bad = (sum(counts[index] * share for counts, share in found) for index in (0, 1))
        return Counts(total, bad, sum(counts.touched for counts, _ in found))

    def per_period(self) -> float:
        return sum(meter.per_period() * share for meter, share in self._parts)
