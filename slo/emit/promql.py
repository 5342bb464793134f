"""The words of PromQL that the emitters share: record names, selectors, numbers.

Owns every record name in one place. They are Sloth's, whose users' dashboards know them; events, slices and periods
of the calendar, which Sloth does not record, have names of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

from slo.model import Matcher, Promise, Selector, Window

OBJECTIVE = "slo:objective:ratio"
ERROR_BUDGET = "slo:error_budget:ratio"
TIME_PERIOD_DAYS = "slo:time_period:days"
# What is not counted by counters is looked at, once an evaluation: how much there was, and how much of it was bad.
TOTAL_SAMPLE = "slo:total_events:sample"
BAD_SAMPLE = "slo:bad_events:sample"
# The slice of time that has just passed: its events, the bad ones, and how bad that makes the slice (0 to 1).
TOTAL_SLICE = "slo:total_events:slice"
BAD_SLICE = "slo:bad_events:slice"
SLICE_ERROR = "slo:slice_error:ratio"
# Periods of a calendar: when the present one began and when it will end, in seconds since 1970.
PERIOD_BEGIN = "slo:calendar_period:begin"
PERIOD_END = "slo:calendar_period:end"
CURRENT_BURN_RATE = "slo:current_burn_rate:ratio"
PERIOD_BURN_RATE = "slo:period_burn_rate:ratio"
PERIOD_BUDGET_REMAINING = "slo:period_error_budget_remaining:ratio"


def ratio_name(window: Window) -> str:
    """The share of bad events in a window."""
    return f"slo:sli_error:ratio_rate{window.name}"


def total_name(window: Window) -> str:
    """How many events there were in a window."""
    return f"slo:total_events:increase{window.name}"


def bad_name(window: Window) -> str:
    """How many of them were bad; below zero for a moment when good ones are counted late by another process."""
    return f"slo:bad_events:increase{window.name}"


def bad_count_name(window: Window) -> str:
    """How many looks or slices were bad at all in a window, where badness is a share and its sum no count."""
    return f"slo:bad_count:increase{window.name}"


def recorded(name: str, promise: Promise) -> str:
    """One recorded series of a promise."""
    return f'{name}{{slo="{promise.name}"}}'


def record(promise: Promise, name: str, expression: str) -> dict[str, Any]:
    """A recording rule of a promise."""
    return {
        "record": name,
        "expr": expression,
        "labels": {"service": promise.service.name, "slo": promise.name},
    }


def indent(text: str) -> str:
    """A text two columns to the right."""
    return "\n".join(f"  {line}" for line in text.split("\n"))


def render_selector(selector: Selector) -> str:
    """Selector → PromQL. An equality on `le` matches the number, however the exposition spells it."""
    return f"{selector.metric}{{{','.join(map(_render_matcher, selector.matchers))}}}"


def regex_literal(text: str) -> str:
    """A text as a regular expression that matches just it (dots are all that names and numbers contain)."""
    return text.replace("\\", "\\\\").replace(".", "\\.").replace("+", "\\+")


def bucket_edge(matcher: Matcher) -> Decimal | None:
    """The edge that `le="0.1"` names; None for other matchers and for +Inf."""
    if matcher.label != "le" or matcher.operator != "=":
        return None
    try:
        edge = Decimal(matcher.value)
    except InvalidOperation:
        return None
    return edge if edge.is_finite() else None


def edge_pattern(edge: Decimal) -> str:
    """A bucket edge as Prometheus 2 (`1`) and 3 (`1.0`) write it: `1(\\.0)?`, `0\\.1`."""
    text = f"{edge.normalize():f}"
    return regex_literal(text) if "." in text else f"{text}(\\.0)?"


def beyond_edge_pattern(edge: Decimal) -> str:
    """The numbers above an edge of at least zero, as buckets spell them: the buckets in which slow events land."""
    whole, _, fraction = f"{edge.normalize():f}".partition(".")
    longer = f"[1-9][0-9]{{{len(whole)},}}(\\..+)?" if whole != "0" else "[1-9][0-9]*(\\..+)?"
    greater = [longer]
    for index, digit in enumerate(whole if whole != "0" else ""):
        if digit != "9":
            rest = len(whole) - index - 1
            greater.append(f"{whole[:index]}[{int(digit) + 1}-9][0-9]{{{rest}}}(\\..+)?")
    for index, digit in enumerate(fraction):
        if digit != "9":
            greater.append(f"{whole}\\.{fraction[:index]}[{int(digit) + 1}-9][0-9]*")
    greater.append(f"{whole}\\.{fraction}[0-9]*[1-9][0-9]*")
    return "|".join([*greater, "\\+Inf"])


def number(value: Decimal | float) -> str:
    """A number as a person writes it, never 0.014399999999999999."""
    return f"{Decimal(str(value)).normalize():f}"


def join(operator: str, terms: Iterable[str]) -> str:
    """Terms of one operator, one a line."""
    return f"\n{operator}\n".join(terms)


def over(aggregation: str, terms: Iterable[str]) -> str:
    """An aggregation of the series of all terms, as many as there are."""
    return f"{aggregation}(\n{indent(join('or', terms))}\n)"


def quote(text: str) -> str:
    """A PromQL string."""
    return json.dumps(text, ensure_ascii=False)


def _render_matcher(matcher: Matcher) -> str:
    edge = bucket_edge(matcher)
    if edge is None:
        return f"{matcher.label}{matcher.operator}{quote(matcher.value)}"
    return f"le=~{quote(edge_pattern(edge))}"
