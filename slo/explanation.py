"""The arithmetic of one promise in numbers and sentences: budget, tiers, reactions, low traffic, liveness.

Owns the sentences. The formulas are `slo.burn`'s and the choice of tiers `slo.reaction`'s; knows no terminal.
"""

from __future__ import annotations

from typing import Any

from slo import burn
from slo.durations import format_duration
from slo.model import Promise, Tier
from slo.quantities import say_count, say_share, say_time
from slo.reaction import ERROR_RATIOS, SEVERITIES, Reaction, react, slowest_reset_s

OVERHEAD = "one scrape and one evaluation on top, and Alertmanager's group_wait"


def explain(promise: Promise, rate: float | None = None) -> dict[str, Any]:
    """Everything as plain data. `rate` is events a second, where they are known. Times are in seconds."""
    period_s = promise.windows.period.length.total_seconds()
    budget = float(promise.budget)
    return {
        "name": promise.name,
        "title": promise.title,
        "service": promise.service.name,
        "team": promise.team,
        "objective": float(promise.objective),
        "period": promise.windows.period.name,
        "budget": {
            "ratio": budget,
            "outage_s": budget * period_s,
            "events": None if rate is None else budget * period_s * rate,
            "events_in_period": None if rate is None else period_s * rate,
        },
        "tiers": [_tier(promise, tier) for severity in SEVERITIES for tier in promise.tiers(severity)],
        "unreachable": [_tier(promise, tier) for tier in promise.unreachable_tiers()],
        "reactions": [
            {"error_ratio": ratio, **{severity: _reaction(promise, severity, ratio) for severity in SEVERITIES}}
            for ratio in ERROR_RATIOS
        ],
        "sentences": [
            *_counting(promise),
            *_budget(promise, rate),
            *_detection(promise),
            *_low_traffic(promise, rate),
            *_silence(promise),
        ],
    }


def _tier(promise: Promise, tier: Tier) -> dict[str, Any]:
    period_s = promise.windows.period.length.total_seconds()
    threshold = float(promise.threshold(tier))
    return {
        "severity": tier.severity,
        "long": tier.long.name,
        "short": tier.short.name,
        "burn": float(tier.burn),
        "threshold": threshold,
        "spent_at_firing": burn.budget_spent_ratio(float(tier.burn), tier.long.length.total_seconds(), period_s),
        "events_that_dilute_one_error": burn.events_that_dilute_one_error(threshold),
        "resets_within_s": tier.short.length.total_seconds(),
    }


def _reaction(promise: Promise, severity: Any, ratio: float) -> dict[str, Any] | None:
    found = react(promise, severity, ratio)
    if found is None:
        return None
    return {
        "after_s": found.after_s,
        "window": found.tier.long.name,
        "spent": found.spent_ratio,
        "reset_s": found.reset_s,
        "reset_after_long_s": slowest_reset_s(promise, severity, ratio),
    }


def _counting(promise: Promise) -> list[str]:
    """What an error is, where it is not simply a bad event."""
    if promise.parts:
        names = [
            part.promise.name if part.weight == 1 else f"{part.promise.name} (times {part.weight})"
            for part in promise.parts
        ]
        if promise.slices:
            length = format_duration(promise.slices.length)
            return [f"Errors are slices of {length} that are bad for any of its parts: {', '.join(names)}."]
        return [f"Its budget burns as fast as those of its parts together: {', '.join(names)}."]
    if promise.slices and promise.slices.target is not None:
        limit = say_share(float(1 - promise.slices.target))
        return [
            f"Errors are slices of {format_duration(promise.slices.length)}: one is bad as a whole when more than "
            f"{limit} of what is in it is."
        ]
    if promise.slices:
        length = format_duration(promise.slices.length)
        return [f"Errors are counted by slices of {length}, which all weigh the same however much happens in them."]
    if not promise.counters:
        return ["Errors are looks at a value, one an evaluation, of which each weighs the same."]
    return []


def _budget(promise: Promise, rate: float | None) -> list[str]:
    period = promise.windows.period
    outage_s = float(promise.budget) * period.length.total_seconds()
    said = (
        f"The budget is 1 − {promise.objective} = {say_share(float(promise.budget))} of what happens in {period.name}: "
        f"{say_time(outage_s)} of total outage at even traffic."
    )
    if rate is not None:
        events = rate * period.length.total_seconds()
        said += (
            f" At {say_count(rate)} a second that is {say_count(float(promise.budget) * events)} of "
            f"{say_count(events)}."
        )
    return [said]


def _detection(promise: Promise) -> list[str]:
    said = []
    example = next((found for ratio in (0.05, 0.1, 0.2, 0.5, 1.0) if (found := react(promise, "page", ratio))), None)
    if example is not None:
        said += [_in_numbers(promise, example), _reset_in_numbers(promise, example)]
    for tier in promise.unreachable_tiers():
        said.append(
            f"The {tier.severity} tier of {tier.long.name} and {tier.short.name} is left out: {tier.burn} × "
            f"{promise.budget} = {say_share(float(promise.threshold(tier)))}, which no error ratio exceeds."
        )
    return said


def _in_numbers(promise: Promise, found: Reaction) -> str:
    tier, threshold = found.tier, float(promise.threshold(found.tier))
    return (
        f"A tier fires when the long window's share of errors e exceeds T = burn × budget = {tier.burn} × "
        f"{promise.budget} = {threshold:g}: after t = W · T / e. At {say_share(found.error_ratio)} errors that is "
        f"{tier.long.name} × {threshold:g} / {found.error_ratio:g} = {say_time(found.after_s)} ({OVERHEAD})."
    )


def _reset_in_numbers(promise: Promise, found: Reaction) -> str:
    threshold = float(promise.threshold(found.tier))
    return (
        "It stops when the short window is back at T: w · (1 − T / e) after the errors, so "
        f"{found.tier.short.name} × (1 − {threshold:g} / {found.error_ratio:g}) = {say_time(found.reset_s)}."
    )


def _low_traffic(promise: Promise, rate: float | None) -> list[str]:
    tier = promise.tiers("page")[0]
    dilute = burn.events_that_dilute_one_error(float(promise.threshold(tier)))
    said = [
        f"With fewer than 1 / T = {say_count(dilute)} events in {tier.long.name} a single bad one is above the "
        f"threshold. So no tier fires below {promise.min_bad_events} bad events in its long window "
        "(signalbox.dev/min-events)."
    ]
    if rate is not None:
        expected = rate * tier.long.length.total_seconds()
        if expected < promise.min_bad_events:
            verdict = f"a page over {tier.long.name} cannot fire at all"
        elif expected < dilute:
            verdict = f"it takes {say_share(promise.min_bad_events / expected)} errors or more for a page"
        else:
            verdict = "the minimum does not delay anything worth a page"
        said.append(f"At {say_count(rate)} a second there are {say_count(expected)} in {tier.long.name}: {verdict}.")
    tenth = burn.traffic_loss_detection_s(tier.burn_window(promise.budget), 1.0, 0.1)
    said.append(
        f"An outage that also takes nine tenths of the traffic is seen after {say_time(tenth)}, one that takes all "
        f"of it only after {tier.long.name}: burn rates need events."
    )
    return said


def _silence(promise: Promise) -> list[str]:
    table = promise.windows
    lasting = format_duration(table.liveness_for)
    if promise.liveness == "zero":
        what = f"counts nothing over {format_duration(table.liveness_window)}, or is gone, for {lasting}"
    else:
        what = f"is gone for {lasting}"
    guard = f" while a target of job {promise.job} is up" if promise.job else ""
    return [f"Therefore another page comes when the total {what}{guard}. No data is never a promise met."]
