"""What the definitions alone show: tiers that cannot fire, queries that count something else than is meant.

Owns what each finding says about the case at hand. What does not compile is an error and comes from the parser.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from slo import burn
from slo.calendars import LAST_YEAR
from slo.durations import format_duration
from slo.emit.promtool.labels import selects
from slo.emit.promtool.series import series_of
from slo.errors import Problem
from slo.lint.queries import queries
from slo.model import Matcher, Promise, RatioIndicator, Selector, total_selector

FEWEST_YEARS = 2  # for which the rules must still know the periods
_HISTOGRAM = ("_bucket", "_count", "_sum")


def lint_promises(
    promises: Iterable[Promise], retention: timedelta | None = None, year: int | None = None
) -> list[Problem]:
    """Warnings, sorted by place. `retention` is how long the Prometheus that runs the rules keeps samples, `year` the
    present one: without it nothing is said that depends on the day."""
    return sorted(warning for promise in promises for warning in _lint(promise, retention, year))


def _lint(promise: Promise, retention: timedelta | None, year: int | None) -> Iterator[Problem]:
    for tier in promise.unreachable_tiers():
        what = (
            f"the {tier.severity} tier of {tier.long.name} and {tier.short.name} is left out: "
            f"{tier.burn} x {promise.budget} would be {burn.plain(promise.threshold(tier) * 100)} % of the events"
        )
        yield _warning(promise, "spec.objectives", "tier-unreachable", what, "Raise the target to have it")
    unguarded = [one for one in [part.promise for part in promise.parts] or [promise] if one.job is None]
    for one in unguarded[:1]:
        query, remedy = "the total", "Select one job in the total's query"
        if not isinstance(one.indicator, RatioIndicator):
            query, remedy = "the query", "Select one job in it"
            if total_selector(one.indicator) is None:
                query, remedy = "an expression", "Record it by a rule of its own, and select that with its job"
        what = f'{query} has no job="…", so missing data cannot be told from a target that is down'
        yield _warning(promise, "spec.indicator", "liveness-unguarded", what, remedy)
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
    if promise.windows.calendar and year is not None and LAST_YEAR - year < FEWEST_YEARS:
        what = f"the rules know the periods of the calendar up to {LAST_YEAR}; after that there is no budget"
        remedy = "Compile with a newer release, or raise LAST_YEAR in slo/calendars.py"
        yield _warning(promise, "spec.timeWindow", "calendar-ends", what, remedy)
    yield from _lint_queries(promise)
    try:
        series_of(promise.indicator, [], timedelta(seconds=15))
    except ValueError as error:
        remedy = "Write patterns as alternatives (a|b) of plain values"
        yield _warning(promise, "spec.indicator", "rules-untestable", f"no rule tests: {error}", remedy)


def _lint_queries(promise: Promise) -> Iterator[Problem]:
    """Histograms counted whole, and events that are counted without being in the total."""
    if promise.parts:
        for part in promise.parts:
            yield from _lint_queries(part.promise)
        return
    by_role = {asked.role: asked.selector for asked in queries(promise)}
    for role, selector in by_role.items():
        if selector.metric.endswith("_bucket") and not any(matcher.label == "le" for matcher in selector.matchers):
            what = f"the {role} sums up all buckets of {selector.metric}, so an event counts many times"
            yield _warning(promise, "spec.indicator", "bucket-uncut", what, 'Select one edge, as in le="0.5"')
    total = by_role.pop("total", None)
    if total is None:
        return
    for role, counted in by_role.items():
        if _family(counted) != _family(total):
            if counted.metric.endswith("_bucket") and total.metric.endswith("_count"):
                what = f"{role} events are of {_family(counted)}, the total of {_family(total)}"
                yield _warning(promise, "spec.indicator", "buckets-of-another", what, "Take both from one histogram")
            continue
        wider = [each.label for each in total.matchers if each.label != "le" and not _implied(each, counted)]
        for label in dict.fromkeys(wider):
            what = f"the total has a condition on {label!r} which the {role} events do not share"
            yield _warning(promise, "spec.indicator", "counted-wider", what, f"Repeat it in the {role} query")


def _family(selector: Selector) -> str:
    suffix = next((each for each in _HISTOGRAM if selector.metric.endswith(each)), "")
    return selector.metric.removesuffix(suffix)


def _implied(condition: Matcher, selector: Selector) -> bool:
    """Whether a query has the same condition, or an equality that meets it."""
    if condition in selector.matchers:
        return True
    equal = selector.matcher(condition.label)
    return equal is not None and selects(Selector(selector.metric, (condition,)), {equal.label: equal.value})


def _warning(promise: Promise, field: str, code: str, what: str, remedy: str) -> Problem:
    return Problem(promise.at, field, code, what, remedy)
