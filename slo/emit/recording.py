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
6. *Good may exceed total* for a moment: increases are extrapolated, and good events can be counted by another process
   a little later than the total. Event counts stay signed, so that such differences cancel in the sum; only ratios are
   clamped to [0, 1].

All rules of one chain stand in one group, in order, so that one evaluation sees one moment. The whole period stands in
a group of its own at a slower pace: nothing alerts on it.
"""

from __future__ import annotations

from typing import Any

from slo.durations import format_duration
from slo.emit import promql
from slo.model import Promise, Window

Rule = dict[str, Any]

# Float noise (0.0010000000000000002) must not page somebody who is exactly at the objective, since thresholds are
# strict. 1e-10 is 100,000 times finer than the budget of 99.999 %, and its inverse is exact, which 1e-9's is not.
RATIO_STEP = "1e-10"


def window_rules(promise: Promise) -> list[Rule]:
    """What the alerts need, in order: objective, events and ratios of every alerting window, current burn rate."""
    rules = [
        _record(promise, promql.OBJECTIVE, f"vector({promql.number(promise.objective)})"),
        _record(promise, promql.ERROR_BUDGET, f"vector({promql.number(promise.budget)})"),
        _record(promise, promql.TIME_PERIOD_DAYS, f"vector({promql.number(promise.windows.period_days)})"),
    ]
    for window in promise.windows.windows:
        rules += _events_and_ratio(promise, window)
    rules.append(_burn_rate(promise, promql.CURRENT_BURN_RATE, promise.windows.base))
    return rules


def budget_rules(promise: Promise) -> list[Rule]:
    """What people and the deploy gate need: the same over the whole period, and what is left of the budget."""
    spent = promql.recorded(promql.PERIOD_BURN_RATE, promise)
    return [
        *_events_and_ratio(promise, promise.windows.period),
        _burn_rate(promise, promql.PERIOD_BURN_RATE, promise.windows.period),
        _record(promise, promql.PERIOD_BUDGET_REMAINING, f"1 - {spent}"),
    ]


def _events_and_ratio(promise: Promise, window: Window) -> list[Rule]:
    """Total, bad, and their ratio. Without events there is no ratio."""
    if window.length <= promise.windows.head.length:
        total, bad = _raw_total(promise, window), _raw_bad(promise, window)
    else:
        total, bad = _summed(promise, window, promql.total_name), _summed(promise, window, promql.bad_name)
    numerator = promql.recorded(promql.bad_name(window), promise)
    denominator = promql.recorded(promql.total_name(window), promise)
    ratio = f"clamp(round({numerator} / ({denominator} > 0), {RATIO_STEP}), 0, 1)"
    return [
        _record(promise, promql.total_name(window), total),
        _record(promise, promql.bad_name(window), bad),
        _record(promise, promql.ratio_name(window), ratio),
    ]


def _raw_total(promise: Promise, window: Window) -> str:
    return _increase(promql.render_selector(promise.indicator.total), window)


def _raw_bad(promise: Promise, window: Window) -> str:
    counted = _increase(promql.render_selector(promise.indicator.counted), window)
    total = f"sum({promql.recorded(promql.total_name(window), promise)})"
    zero_filled = f"{counted}\nor\n0 * {total}"
    return zero_filled if promise.indicator.counts == "bad" else f"{total} - (\n{_indent(zero_filled)}\n)"


def _increase(selector: str, window: Window) -> str:
    return f"sum(increase({selector}[{format_duration(window.length)}]))"


def _summed(promise: Promise, window: Window, name: Any) -> str:
    table = promise.windows
    head, base = promql.recorded(name(table.head), promise), promql.recorded(name(table.base), promise)
    offset = table.head.length - table.base.length / 2 - window.step / 2
    reach = window.length - offset - table.base.length
    samples = f"{base}[{format_duration(reach)}:{format_duration(window.step)}] offset {format_duration(offset)}"
    weight = f"{window.step / table.base.length:.10g}"
    factor = "" if weight == "1" else f"{weight} * "
    return f"{head}\n+ {factor}(\n{_indent(f'sum_over_time({samples})')}\n  or\n  0 * {head}\n)"


def _burn_rate(promise: Promise, name: str, window: Window) -> Rule:
    ratio = promql.recorded(promql.ratio_name(window), promise)
    return _record(promise, name, f"{ratio} / {promql.recorded(promql.ERROR_BUDGET, promise)}")


def _record(promise: Promise, name: str, expression: str) -> Rule:
    return {
        "record": name,
        "expr": expression,
        "labels": {"service": promise.service.name, "slo": promise.name},
    }


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))
