"""Which counters a promise reads, each under the name that OpenSLO gives it: total, good, bad."""

from __future__ import annotations

from collections.abc import Iterator

from slo.model import Promise, Selector


def queries(promise: Promise) -> Iterator[tuple[str, Selector]]:
    """Role and selector of every counter of a promise, the total first."""
    for part in promise.parts:
        yield from queries(part.promise)
    if promise.counters:
        yield "total", promise.counters.total
        yield promise.counters.counts, promise.counters.counted
