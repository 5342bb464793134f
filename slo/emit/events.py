"""What a promise counts in a short window: how many events there were, and how many of them were bad.

Owns how each kind of indicator becomes those two numbers. All the rest (long windows, ratios, alerts) is the same for
every kind.

- *Counters* are read directly: `increase` over the window, missing errors filled with zero from the total.
- *Gauges, ready-made ratios and thresholds* have no events, so they are looked at once an evaluation, and every look
  is recorded: what it weighs, and how much of that was bad. A window sums up the looks. NaN is no look: nothing is not
  good.
- *Slices of time* are judged as they pass: the share of bad events in the slice just over, or, against a target,
  whether that share is too high. It is recorded at every evaluation; a window counts those that stand at the slice's
  own multiples, so every slice counts once however often rules run. A slice without events is none.
- *Composites* have their parts' ratios, each by its share. A part without data burns nothing; its absence is an alert
  of its own. A composite of slices that are good or bad has slices of its own: bad where one of its parts' is.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from slo.durations import format_duration
from slo.emit import promql
from slo.indicators import RawIndicator, ThresholdIndicator
from slo.model import Part, Promise, RatioIndicator, Slices, Window

Rule = dict[str, Any]

# Float noise (0.0010000000000000002) must not page somebody who is exactly at the objective, since thresholds are
# strict. 1e-10 is 100,000 times finer than the budget of 99.999 %, and its inverse is exact, which 1e-9's is not.
RATIO_STEP = "1e-10"
BEYOND = {"lte": ">", "lt": ">=", "gte": "<", "gt": "<="}
A_NUMBER = ">= -Inf"  # which NaN is not


def source_rules(promise: Promise) -> list[Rule]:
    """What must be recorded before windows can be counted."""
    rules = [] if promise.counters or promise.parts else _looks(promise)
    if promise.slices:
        rules += _slice(promise, promise.slices)
    shares, table = _shares(promise), promise.windows
    if shares and shares[1] < table.base.length:
        for window in (table.base, table.head):
            rules.append(promql.record(promise, promql.bad_count_name(window), _count(promise, window, *shares)))
    return rules


def reads_directly(promise: Promise, window: Window) -> bool:
    """Whether a window is counted from counters, looks or slices, and not from shorter windows."""
    if promise.of_ratios or window.length <= promise.windows.head.length:
        return True
    return promise.slices is not None and promise.slices.length >= promise.windows.base.length


def total_events(promise: Promise, window: Window) -> str:
    """How many events there were in a window."""
    if promise.of_ratios:
        return promql.over("group", (_ratio_of(part, window) for part in promise.parts))
    if promise.slices:
        return f"count_over_time({_slices_of(promise, promise.slices, window)})"
    return _total(promise, window.length)


def bad_events(promise: Promise, window: Window) -> str:
    """How many of them were bad. Asks for the total that is recorded before it."""
    if promise.of_ratios:
        terms = (f"{promql.number(part.share)} * {_ratio_of(part, window)}" for part in promise.parts)
        return promql.over("sum", terms)
    if promise.slices:
        return f"sum_over_time({_slices_of(promise, promise.slices, window)})"
    return _bad(promise, window.length, promql.total_name(window))


def presence(promise: Promise) -> str:
    """Selects one series while there is something to judge, be it good, bad or none at all."""
    indicator = promise.indicator
    if isinstance(indicator, RatioIndicator):
        return f"sum({promql.render_selector(indicator.total)})"
    if isinstance(indicator, RawIndicator):
        return f"count(({indicator.ratio.text}) {A_NUMBER})"
    if isinstance(indicator, ThresholdIndicator):
        return f"count(({indicator.measured.text}) {A_NUMBER})"
    raise TypeError(f"{promise.name} is a composite: ask its parts")


def ratio(bad: str, total: str) -> str:
    """Bad of total: no ratio without events, and never outside 0 to 1."""
    return f"clamp(round({bad} / ({total} > 0), {RATIO_STEP}), 0, 1)"


def bad_count(promise: Promise, window: Window) -> str:
    """How many bad events, slices or looks a window holds, as whole numbers: what a minimum of events is asked of.

    Where badness is a share, those that are bad at all are counted.
    """
    if promise.of_ratios:
        return "sum(" + promql.join("or", (bad_count(part.promise, window) for part in promise.parts)) + ")"
    shares, table = _shares(promise), promise.windows
    if shares is None:
        return promql.recorded(promql.bad_name(window), promise)
    if shares[1] < table.base.length:
        if window in (table.base, table.head):
            return promql.recorded(promql.bad_count_name(window), promise)
        if window.length > table.head.length:
            return summed(promise, window, promql.bad_count_name, table.base.length)
    return _count(promise, window, *shares)


def summed(promise: Promise, window: Window, name: Callable[[Window], str], step: timedelta) -> str:
    """A long window from the head and samples of the base taken every `step` before it (see slo.emit.recording)."""
    table = promise.windows
    head, base = promql.recorded(name(table.head), promise), promql.recorded(name(table.base), promise)
    offset = table.head.length - table.base.length / 2 - step / 2
    reach = window.length - offset - table.base.length
    samples = f"{base}[{format_duration(reach)}:{format_duration(step)}] offset {format_duration(offset)}"
    weight = f"{step / table.base.length:.10g}"
    factor = "" if weight == "1" else f"{weight} * "
    return f"{head}\n+ {factor}(\n{promql.indent(f'sum_over_time({samples})')}\n  or\n  0 * {head}\n)"


def _shares(promise: Promise) -> tuple[str, timedelta] | None:
    """The series that says how bad each look or slice was, and how far they are apart; None where bad is bad."""
    if promise.slices:
        return (promql.SLICE_ERROR, promise.slices.length) if promise.slices.target is None else None
    return (promql.BAD_SAMPLE, promise.windows.interval) if isinstance(promise.indicator, RawIndicator) else None


def _count(promise: Promise, window: Window, name: str, step: timedelta) -> str:
    steps = f"[{format_duration(window.length)}:{format_duration(step)}]"
    return f"sum_over_time(({promql.recorded(name, promise)} > bool 0){steps})"


def _total(promise: Promise, length: timedelta) -> str:
    if promise.counters:
        return _increase(promql.render_selector(promise.counters.total), length)
    return f"sum_over_time({promql.recorded(promql.TOTAL_SAMPLE, promise)}[{format_duration(length)}])"


def _bad(promise: Promise, length: timedelta, total_name: str) -> str:
    if promise.counters is None:
        return f"sum_over_time({promql.recorded(promql.BAD_SAMPLE, promise)}[{format_duration(length)}])"
    counted = _increase(promql.render_selector(promise.counters.counted), length)
    return _bad_of(promise.counters, counted, promql.recorded(total_name, promise))


def _bad_of(indicator: RatioIndicator, counted: str, total: str) -> str:
    total = f"sum({total})"
    zero_filled = f"{counted}\nor\n0 * {total}"
    return zero_filled if indicator.counts == "bad" else f"{total} - (\n{promql.indent(zero_filled)}\n)"


def _increase(selector: str, length: timedelta) -> str:
    return f"sum(increase({selector}[{format_duration(length)}]))"


def _looks(promise: Promise) -> list[Rule]:
    indicator, seen = promise.indicator, promql.recorded(promql.TOTAL_SAMPLE, promise)
    if isinstance(indicator, RatioIndicator):
        total = f"sum({promql.render_selector(indicator.total)} >= 0)"
        bad = _bad_of(indicator, f"sum({promql.render_selector(indicator.counted)} >= 0)", seen)
    elif isinstance(indicator, RawIndicator):
        total = presence(promise)
        bad = f"sum(clamp(({indicator.ratio.text}) {A_NUMBER}, 0, 1))"
        bad = bad if indicator.means == "failure" else f"sum({seen}) - {bad}"
    elif isinstance(indicator, ThresholdIndicator):
        total = presence(promise)
        beyond = f"{BEYOND[indicator.operator]} {promql.number(indicator.limit)}"
        bad = f"count(({indicator.measured.text}) {beyond})\nor\n0 * sum({seen})"
    else:
        raise TypeError(f"{promise.name} is a composite")
    return [promql.record(promise, promql.TOTAL_SAMPLE, total), promql.record(promise, promql.BAD_SAMPLE, bad)]


def _slice(promise: Promise, slices: Slices) -> list[Rule]:
    if promise.parts:
        worst = promql.over("max", (promql.recorded(promql.SLICE_ERROR, part.promise) for part in promise.parts))
        return [promql.record(promise, promql.SLICE_ERROR, worst)]
    share = ratio(promql.recorded(promql.BAD_SLICE, promise), promql.recorded(promql.TOTAL_SLICE, promise))
    if slices.target is not None:
        share += f" {'>=' if slices.strict else '>'} bool {promql.number(1 - slices.target)}"
    return [
        promql.record(promise, promql.TOTAL_SLICE, _total(promise, slices.length)),
        promql.record(promise, promql.BAD_SLICE, _bad(promise, slices.length, promql.TOTAL_SLICE)),
        promql.record(promise, promql.SLICE_ERROR, share),
    ]


def _slices_of(promise: Promise, slices: Slices, window: Window) -> str:
    steps = f"[{format_duration(window.length)}:{format_duration(slices.length)}]"
    return f"{promql.recorded(promql.SLICE_ERROR, promise)}{steps}"


def _ratio_of(part: Part, window: Window) -> str:
    return promql.recorded(promql.ratio_name(window), part.promise)
