"""What is allowed and yet probably not meant: warnings about promises that compile.

Owns their codes and texts. What does not compile is an error and comes from the parser.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from slo import burn
from slo.durations import format_duration
from slo.emit.promtool.series import series_of
from slo.errors import Problem
from slo.model import Promise


def lint_promises(promises: Iterable[Promise], retention: timedelta | None = None) -> list[Problem]:
    """Warnings, sorted by place. `retention` is how long the Prometheus that runs the rules keeps samples."""
    return sorted(warning for promise in promises for warning in _lint(promise, retention))


def _lint(promise: Promise, retention: timedelta | None) -> Iterator[Problem]:
    for tier in promise.unreachable_tiers():
        what = (
            f"the {tier.severity} tier of {tier.long.name} and {tier.short.name} is left out: "
            f"{tier.burn} x {promise.budget} would be {burn.plain(promise.threshold(tier) * 100)} % of the events"
        )
        yield _warning(promise, "spec.objectives", "tier-unreachable", what, "Raise the target to have it")
    if promise.job is None:
        what = 'the total has no job="…", so missing data cannot be told from a target that is down'
        yield _warning(promise, "spec.indicator", "liveness-unguarded", what, "Select one job in the total's query")
    if not promise.impact:
        what = "a page will not say whom it hurts"
        remedy = "Add the annotation signalbox.dev/impact"
        yield _warning(promise, "metadata.annotations", "impact-missing", what, remedy)
    if retention is not None and retention < promise.windows.period.length:
        what = (
            f"Prometheus keeps {format_duration(retention)}, the promise looks back {promise.windows.period.name}: "
            "its budget would forget"
        )
        yield _warning(promise, "spec.timeWindow", "retention-short", what, "Raise --storage.tsdb.retention.time")
    try:
        series_of(promise.indicator, [], timedelta(seconds=15))
    except ValueError as error:
        remedy = "Write patterns as alternatives (a|b) of plain values"
        yield _warning(promise, "spec.indicator", "rules-untestable", f"no rule tests: {error}", remedy)


def _warning(promise: Promise, field: str, code: str, what: str, remedy: str) -> Problem:
    return Problem(promise.at, field, code, what, remedy)
