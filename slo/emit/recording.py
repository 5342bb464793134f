"""Recording rules: from raw counters to error ratios over every window and the budget that is left.

How windows are counted, and why so:

1. *Events, not ratios.* Every window records how many events there were and how many were bad, and divides once. An
   average of 5-minute ratios would weigh a minute at night like a minute at noon; and one 0/0 in it would poison 30
   days.
2. *Zero-filled at the source.* Before the first error there is no error series. `bad or 0 * total` makes that "no
   error"; without a total it stays "no data", which is never shown as a promise met.
3. *Short windows read the counters.* Up to the shortest long window (1 h) events are `increase(counter[window])`:
   sharp at both ends, so that a page comes after W·T/e and not later. Summing recorded 5-minute samples instead would
   smear every event over 5 minutes and see a total outage at 99.9 % after 2 min 56 s instead of 52 s.
4. *Long windows sum up what is recorded*, since a raw range of 30 days is 172,800 samples a series:

       events(W) = events(head) + step/base · Σ samples of events(base), taken every `step`

   A sample counts the events of the `base` (5 min) before it, so one event is in base/step samples and weighs exactly
   1: that is why a ratio of such sums is the ratio of events. The sum begins where the head (1 h) ends. Its newest
   sample counts the 5 minutes before itself, half of which lie across that seam on average; so the offset is the head
   less half a base, and less half a step besides: then up to one step of events at the seam is weighted twice and none
   is left out, and detection is not late. The oldest sample is taken one base before the window's end: a window never
   looks further back than its name says, so an alert resets within its short window.
   `or 0 * head`: a Prometheus younger than the head has nothing to add.
5. *Subqueries with a step*, not plain ranges: weights then do not depend on how often the group really ran, and a
   missed evaluation is bridged by the sample before it.
6. *Periods of a calendar* are laid out in windows of one length (30 min for a month), which lie end to end; the sum
   takes those that lie wholly after the period's begin. That is 1,440 samples a period. A reading is late by one such
   window at most, and the first of a period comes after its first window: until then there is none
   (docs/adr/0010-calendar-periods.md).
7. *Good may exceed total* for a moment: increases are extrapolated, and good events can be counted by another process
   a little later than the total. Event counts stay signed, so that such differences cancel in the sum; only ratios are
   clamped to [0, 1].

All rules of one chain stand in one group, in order, so that one evaluation sees one moment. The whole period stands in
a group of its own at a slower pace: nothing alerts on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slo.calendars import Calendar
from slo.durations import format_duration
from slo.emit import events, promql
from slo.model import Promise, Window

Rule = dict[str, Any]


def window_rules(promise: Promise) -> list[Rule]:
    """What the alerts need, in order: objective, events and ratios of every alerting window, current burn rate."""
    rules = [rule for part in promise.parts for rule in window_rules(part.promise)]
    rules += [
        promql.record(promise, promql.OBJECTIVE, f"vector({promql.number(promise.objective)})"),
        promql.record(promise, promql.ERROR_BUDGET, f"vector({promql.number(promise.budget)})"),
    ]
    if promise.windows.calendar is None:
        days = promql.number(promise.windows.period_days)
        rules.append(promql.record(promise, promql.TIME_PERIOD_DAYS, f"vector({days})"))
    rules += events.source_rules(promise)
    for window in promise.windows.windows:
        rules += _events_and_ratio(promise, window)
    rules.append(_burn_rate(promise, promql.CURRENT_BURN_RATE, promise.windows.base))
    return rules


def budget_rules(promise: Promise) -> list[Rule]:
    """What people and the deploy gate need: the same over the whole period, and what is left of the budget."""
    rules = [rule for part in promise.parts for rule in budget_rules(part.promise)]
    rules += [
        *_events_and_ratio(promise, promise.windows.period),
        _burn_rate(promise, promql.PERIOD_BURN_RATE, promise.windows.period),
    ]
    remaining = f"1 - {promql.recorded(promql.PERIOD_BURN_RATE, promise)}"
    if promise.windows.calendar:
        begin, end = _bounds(promise.windows.calendar)
        rules.append(promql.record(promise, promql.TIME_PERIOD_DAYS, f"vector(({end} - {begin}) / 86400)"))
        remaining += f" * (time() - {begin})\n/ ({end} - {begin})"
    rules.append(promql.record(promise, promql.PERIOD_BUDGET_REMAINING, remaining))
    return rules


def _events_and_ratio(promise: Promise, window: Window) -> list[Rule]:
    """Total, bad, and their ratio. Without events there is no ratio."""
    calendar = promise.windows.calendar if window == promise.windows.period else None
    if promise.of_ratios or (events.reads_directly(promise, window) and not calendar):
        total, bad = events.total_events(promise, window), events.bad_events(promise, window)
    else:
        total, bad = (_summed(promise, window, name) for name in (promql.total_name, promql.bad_name))
    numerator = promql.recorded(promql.bad_name(window), promise)
    denominator = promql.recorded(promql.total_name(window), promise)
    return [
        promql.record(promise, promql.total_name(window), total),
        promql.record(promise, promql.bad_name(window), bad),
        promql.record(promise, promql.ratio_name(window), events.ratio(numerator, denominator)),
    ]


def _summed(promise: Promise, window: Window, name: Callable[[Window], str]) -> str:
    table = promise.windows
    if table.calendar and window == table.period:
        return _since_begin(promise, table.calendar, name(table.grid))
    return events.summed(promise, window, name, window.step)


def _since_begin(promise: Promise, calendar: Calendar, name: str) -> str:
    """Samples of one window after the other, as far as they lie wholly in the present period of the calendar."""
    grid = promise.windows.grid.length
    begin, _ = _bounds(calendar, " @ end()")
    whole = f"(time() >= bool {begin} + {grid.total_seconds():.10g})"
    steps = f"[{format_duration(calendar.longest)}:{format_duration(grid)}]"
    return f"sum_over_time((\n  {promql.recorded(name, promise)}\n  * {whole}\n){steps})"


def _bounds(calendar: Calendar, at: str = "") -> tuple[str, str]:
    """When the present period of a calendar begins and ends, as scalars. `calendar_rules` records them."""
    chosen = f"{{calendar={promql.quote(calendar.key)}}}{at}"
    return f"scalar({promql.PERIOD_BEGIN}{chosen})", f"scalar({promql.PERIOD_END}{chosen})"


def calendar_rules(calendar: Calendar) -> list[Rule]:
    """When the present period begins and ends: the begin of the first one that rules know, and the lengths of all that
    have passed since. Before the first and after the last there is no answer, and so no budget."""
    runs = list(calendar.runs())
    first_s, last = runs[0].begin_s, runs[-1]
    known = f"and on () (vector(time()) >= {first_s} < {last.begin_s + last.count * last.length_s})"

    def bound(begun: str) -> str:
        lengths = (
            f"  + {run.length_s} * clamp(floor((vector(time()) - {run.begin_s}) / {run.length_s}){begun}, 0, "
            f"{run.count})  # from {calendar.wall_clock(run.begin_s)}"
            for run in runs
        )
        return "(\n" + "\n".join([f"  vector({first_s})", *lengths]) + f"\n)\n{known}"

    labels = {"calendar": calendar.key}
    return [
        {"record": promql.PERIOD_BEGIN, "expr": bound(""), "labels": labels},
        {"record": promql.PERIOD_END, "expr": bound(" + 1"), "labels": labels},
    ]


def _burn_rate(promise: Promise, name: str, window: Window) -> Rule:
    share = promql.recorded(promql.ratio_name(window), promise)
    return promql.record(promise, name, f"{share} / {promql.recorded(promql.ERROR_BUDGET, promise)}")
