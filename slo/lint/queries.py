"""Which counters a promise reads, each under the name that OpenSLO gives it: total, good, bad."""

from __future__ import annotations

from collections.abc import Iterator

from slo.model import Promise, Selector


def queries(promise: Promise) -> Iterator[tuple[str, Selector]]:
    """Role and selector of every counter of a promise, the total first."""
    indicator = promise.indicator
    yield "total", indicator.total
    yield indicator.counts, indicator.counted
