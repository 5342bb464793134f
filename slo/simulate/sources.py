"""What a short window holds: of counters, of looks at a value, of slices of time.

Owns Prometheus' way of counting: a sample at every scrape, `increase()` with its extrapolation, left-open ranges. Times
are whole milliseconds, since the boundaries of ranges decide. Refuses to know tiers and thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

Course = Callable[[int], float]  # a value that holds just after a moment


class Counts(NamedTuple):
    """Events, looks or slices in a window, how much of that was bad, and how many were bad at all."""

    total: float
    bad: float
    touched: float


class Source(Protocol):
    """Counts short windows. `evaluate` is called at every evaluation, in order, before `counts`."""

    def evaluate(self, now_ms: int) -> None:
        """Take note of a moment."""

    def counts(self, length_ms: int, now_ms: int) -> Counts | None:
        """What (now − length, now] holds; None without data."""

    def since(self, start_ms: int, now_ms: int) -> Counts:
        """The same from a start on, exactly: what was spent."""

    def per_period(self, period_ms: int) -> float:
        """How much a whole period holds at the traffic of the beginning: what the budget is a share of."""


class Counters:
    """Counters of good and bad events, scraped; both begin at zero.

    `apart`: the total is a counter of its own and not the sum of the two.
    """

    def __init__(self, scrape_ms: int, rate: Course, error_ratio: Course, *, apart: bool) -> None:
        self._scrape_ms, self._rate, self._error_ratio, self._apart = scrape_ms, rate, error_ratio, apart
        self._good, self._bad = [0.0], [0.0]

    def evaluate(self, now_ms: int) -> None:
        while len(self._good) * self._scrape_ms <= now_ms:
            since_ms = (len(self._good) - 1) * self._scrape_ms
            events = self._rate(since_ms) * self._scrape_ms / 1000
            bad = events * self._error_ratio(since_ms)
            self._good.append(self._good[-1] + events - bad)
            self._bad.append(self._bad[-1] + bad)

    def counts(self, length_ms: int, now_ms: int) -> Counts | None:
        first = max((now_ms - length_ms) // self._scrape_ms + 1, 0)
        last = now_ms // self._scrape_ms
        if last <= first:
            return None
        ends = (first, last, length_ms, now_ms)
        good, bad = self._increase(self._good, *ends), self._increase(self._bad, *ends)
        if self._apart:
            total = [self._good[index] + self._bad[index] for index in (first, last)]
            whole = self._extrapolated(total[0], total[1] - total[0], *ends)
            return Counts(whole, whole - good, whole - good)
        return Counts(good + bad, bad, bad)

    def since(self, start_ms: int, now_ms: int) -> Counts:
        first, last = start_ms // self._scrape_ms, now_ms // self._scrape_ms
        bad = self._bad[last] - self._bad[first]
        return Counts(self._good[last] - self._good[first] + bad, bad, bad)

    def per_period(self, period_ms: int) -> float:
        return self._rate(0) * period_ms / 1000

    def _increase(self, values: list[float], first: int, last: int, length_ms: int, now_ms: int) -> float:
        return self._extrapolated(values[first], values[last] - values[first], first, last, length_ms, now_ms)

    def _extrapolated(self, value: float, increase: float, first: int, last: int, length_ms: int, now_ms: int) -> float:
        """As promql's extrapolatedRate: to the ends of the range when they are near, never below a counter's zero."""
        sampled_ms = (last - first) * self._scrape_ms
        near_ms = 1.1 * self._scrape_ms
        before_ms: float = first * self._scrape_ms - (now_ms - length_ms)
        after_ms: float = now_ms - last * self._scrape_ms
        before_ms = before_ms if before_ms < near_ms else self._scrape_ms / 2
        after_ms = after_ms if after_ms < near_ms else self._scrape_ms / 2
        if increase > 0:
            before_ms = min(before_ms, sampled_ms * value / increase)
        return increase * (sampled_ms + before_ms + after_ms) / sampled_ms


class Looks:
    """A value looked at once an evaluation; a look weighs one, or what the total then is, and is bad by the error
    ratio."""

    def __init__(self, interval_ms: int, weight: Course, error_ratio: Course) -> None:
        self._interval_ms, self._weight, self._error_ratio = interval_ms, weight, error_ratio
        self._sums = [Counts(0.0, 0.0, 0.0)]  # before look n

    def evaluate(self, now_ms: int) -> None:
        while (len(self._sums) - 1) * self._interval_ms <= now_ms:
            before_ms = max((len(self._sums) - 1) * self._interval_ms - 1, 0)
            weight, error_ratio = self._weight(before_ms), self._error_ratio(before_ms)
            total, bad, touched = self._sums[-1]
            self._sums.append(Counts(total + weight, bad + weight * error_ratio, touched + (error_ratio > 0)))

    def counts(self, length_ms: int, now_ms: int) -> Counts | None:
        first, last = max((now_ms - length_ms) // self._interval_ms + 1, 0), now_ms // self._interval_ms
        return _between(self._sums[first], self._sums[last + 1])

    def since(self, start_ms: int, now_ms: int) -> Counts:
        return self.counts(now_ms - start_ms, now_ms) or self._sums[0]

    def per_period(self, period_ms: int) -> float:
        return self._weight(0) * period_ms / self._interval_ms


class Judge(NamedTuple):
    """Says how bad a slice of time was by what a source counted in it; `limit` is the share above which it is bad as a
    whole (`strict`: at which), None when it is as bad as that share."""

    source: Source
    limit: float | None
    strict: bool

    def share(self, length_ms: int, end_ms: int) -> float | None:
        """How bad the slice was that ended then, 0 to 1; None without events."""
        counts = self.source.counts(length_ms, end_ms)
        if counts is None or counts.total <= 0:
            return None
        share = min(max(round(counts.bad / counts.total, 10), 0.0), 1.0)
        if self.limit is None:
            return share
        return float(share >= self.limit if self.strict else share > self.limit)


class Slices:
    """Slices of time, each as bad as the harshest of its judges says."""

    def __init__(self, judges: Sequence[Judge], length_ms: int) -> None:
        self._judges, self._length_ms = judges, length_ms
        self._sums = [Counts(0.0, 0.0, 0.0)]  # up to each multiple of the length

    def evaluate(self, now_ms: int) -> None:
        for judge in self._judges:
            judge.source.evaluate(now_ms)
        while len(self._sums) * self._length_ms <= now_ms:
            said = [judge.share(self._length_ms, len(self._sums) * self._length_ms) for judge in self._judges]
            share = max((each for each in said if each is not None), default=None)
            total, bad, touched = self._sums[-1]
            one = Counts(total + 1, bad + share, touched + (share > 0)) if share is not None else self._sums[-1]
            self._sums.append(one)

    def counts(self, length_ms: int, now_ms: int) -> Counts | None:
        first, last = max((now_ms - length_ms) // self._length_ms, 0), now_ms // self._length_ms
        found = _between(self._sums[first], self._sums[last])
        return found if found.total else None

    def since(self, start_ms: int, now_ms: int) -> Counts:
        return self.counts(now_ms - start_ms, now_ms) or self._sums[0]

    def per_period(self, period_ms: int) -> float:
        return period_ms / self._length_ms


def _between(before: Counts, after: Counts) -> Counts:
    return Counts(after.total - before.total, after.bad - before.bad, after.touched - before.touched)
