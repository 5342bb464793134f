"""Synthetic traffic in promtool's series notation: what an indicator measures under a course of events.

Owns the arithmetic of counters and levels. Refuses to know what is tested.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from math import floor, lcm

from slo.emit import promql
from slo.emit.promtool.labels import example_labels, selects, uncounted_labels
from slo.model import CompositeIndicator, Indicator, Query, RatioIndicator, RawIndicator, Slices, ThresholdIndicator

ZERO = Decimal(0)
MOST_SERIES = 1000  # of one measurement, to show a share of bad ones
Series = tuple[str, str]


@dataclass(frozen=True)
class Traffic:
    """A stretch of time: events a second, the share of bad ones, and what happens to the processes that count them."""

    length: timedelta
    events_per_s: Decimal
    error_ratio: Decimal = ZERO
    restarts: bool = False  # counters begin at zero
    total_missing: bool = False
    counted_missing: bool = False
    target_down: bool = False
    of_events: bool = False  # the share is of events, even where slices of time are counted


@dataclass
class _Counter:
    """One series while it is written down."""

    value: Decimal = ZERO
    notation: str = "0"

    def run(self, increment: Decimal, samples: int, *, restarts: bool, missing: bool) -> None:
        if samples == 0:
            return
        if missing:
            self.notation += _stale(samples)
            return
        first = (ZERO if restarts else self.value) + increment
        self.value = first + increment * (samples - 1)
        self.notation += f" {promql.number(first)}+{promql.number(increment)}x{samples - 1}"


def in_slices(course: list[Traffic], slices: Slices | None) -> list[Traffic]:
    """The course in which a share of bad events is a share of bad slices, evenly spread, the first one late."""
    if slices is None or slices.target is None:
        return course
    found = []
    for traffic in course:
        if traffic.of_events or not 0 < traffic.error_ratio < 1:
            found.append(traffic)
            continue
        share, count = Fraction(traffic.error_ratio), traffic.length // slices.length
        for index in range(count):
            bad, first = floor((index + 1) * share) > floor(index * share), index == 0 and traffic.restarts
            found.append(replace(traffic, length=slices.length, error_ratio=Decimal(int(bad)), restarts=first))
        rest = traffic.length - count * slices.length
        found += [replace(traffic, length=rest, error_ratio=ZERO)] if rest else []
    return found


def series_of(indicator: Indicator, course: list[Traffic], interval: timedelta) -> list[Series]:
    """Series and values of what is measured, and of `up`, one sample every `interval`.

    Raises ValueError when no labels can be invented that the selectors select.
    """
    course = [traffic for traffic in course if traffic.length >= interval]
    if isinstance(indicator, CompositeIndicator):
        return list(dict(s for p in indicator.parts for s in series_of(p.promise.indicator, course, interval)).items())
    if isinstance(indicator, RatioIndicator):
        return _ratio(indicator, course, interval)
    return _measurements(indicator, course, interval)


def _ratio(indicator: RatioIndicator, course: list[Traffic], interval: timedelta) -> list[Series]:
    counted_labels, total_labels = example_labels(indicator.counted), example_labels(indicator.total)
    nested = indicator.total.metric == indicator.counted.metric and selects(indicator.total, counted_labels)
    if nested:
        total_labels = uncounted_labels(indicator, total_labels)
    total, counted = _Counter(), _Counter()
    if indicator.gauge:
        total, counted = _Counter(notation=""), _Counter(notation="")
        course = [Traffic(interval, course[0].events_per_s, course[0].error_ratio), *course] if course else []
    for traffic in course:
        samples = traffic.length // interval
        events = traffic.events_per_s * (1 if indicator.gauge else Decimal(str(interval.total_seconds())))
        bad = events * traffic.error_ratio
        part = bad if indicator.counts == "bad" else events - bad
        rest = events - part if nested else events
        for counter, value, gone in (
            (total, rest, traffic.total_missing),
            (counted, part, traffic.counted_missing or (nested and traffic.total_missing)),
        ):
            if indicator.gauge:
                counter.notation += _stale(samples) if gone else _level(value, samples)
            else:
                counter.run(value, samples, restarts=traffic.restarts, missing=gone)
    never_counted = all(traffic.counted_missing for traffic in course)
    return [
        (_series(indicator.total.metric, total_labels), total.notation.strip()),
        *([] if never_counted else [(_series(indicator.counted.metric, counted_labels), counted.notation.strip())]),
        *_up(course if not indicator.gauge else course[1:], interval, total_labels, counted_labels),
    ]


def _measurements(
    indicator: RawIndicator | ThresholdIndicator, course: list[Traffic], interval: timedelta
) -> list[Series]:
    """A ready-made ratio is one series; a threshold is asked of as many as it takes to show a share of bad ones."""
    query = indicator.ratio if isinstance(indicator, RawIndicator) else indicator.measured
    labels = _labels_of(query)
    count = 1
    if isinstance(indicator, ThresholdIndicator):
        count = lcm(*(Fraction(traffic.error_ratio).denominator for traffic in course))
    if count > MOST_SERIES:
        raise ValueError(f"it takes {count} series to show such a share of bad measurements")
    found = []
    for number in range(count):
        notation = "" if not course else _value(indicator, course[0], number, count)
        for traffic in course:
            samples = traffic.length // interval
            value = _value(indicator, traffic, number, count) if traffic.events_per_s else "NaN"  # 0/0
            notation += _stale(samples) if traffic.total_missing else f" {value}+0x{samples - 1}"
        unlike = {} if count == 1 else {"instance" if "instance" not in labels else "number": str(number)}
        assert query.selector is not None
        found.append((_series(query.selector.metric, {**labels, **unlike}), notation))
    return [*found, *_up(course, interval, labels)]


def _labels_of(query: Query) -> dict[str, str]:
    if query.selector is None:
        raise ValueError(f"cannot invent series for the expression {query.text[:60]!r}")
    return example_labels(query.selector)


def _value(indicator: RawIndicator | ThresholdIndicator, traffic: Traffic, number: int, count: int) -> str:
    """What one of several measurements reads; the first ones are the bad ones, as near to the limit as can be."""
    if isinstance(indicator, RawIndicator):
        return promql.number(traffic.error_ratio if indicator.means == "failure" else 1 - traffic.error_ratio)
    bad = number < traffic.error_ratio * count
    inclusive, sign = indicator.operator in ("lte", "gte"), 1 if indicator.operator in ("lte", "lt") else -1
    if bad:
        return promql.number(indicator.limit + (sign if inclusive else 0))
    return promql.number(indicator.limit - (0 if inclusive else sign))


def _level(value: Decimal, samples: int) -> str:
    return f" {promql.number(value)}+0x{samples - 1}"


def _stale(samples: int) -> str:
    return " stale" if samples == 1 else f" stale _x{samples - 1}"


def _up(course: list[Traffic], interval: timedelta, *of: dict[str, str]) -> list[Series]:
    values = "1" + "".join(f" {0 if t.target_down else 1}x{t.length // interval - 1}" for t in course)
    return [
        (_series("up", {"job": job}), values) for job in sorted({labels["job"] for labels in of if "job" in labels})
    ]


def _series(metric: str, labels: dict[str, str]) -> str:
    inner = ",".join(f"{label}={promql.quote(value)}" for label, value in sorted(labels.items()))
    return f"{metric}{{{inner}}}"
