"""What a change of definitions means: when it pages, what may be lost, which rules, what they cost.

Owns the comparison of two sets of promises and its sentences. Refuses to know where either came from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from slo.cost import DEFAULT_SERIES, FREE, Cost, cost_of
from slo.emit.prometheus import emit_rules
from slo.lint.collisions import FoundRule, read_rules
from slo.model import Promise, Severity
from slo.quantities import say_count, say_objective, say_share, say_time
from slo.reaction import ERROR_RATIOS, SEVERITIES, react

DOES = {"page": "pages", "ticket": "writes a ticket"}
WOULD = {"page": "page", "ticket": "write a ticket"}
SAME = 0.01  # detection times that differ by less are alike


@dataclass(frozen=True)
class Difference:
    """When one severity reacts to one share of errors, before and after, in seconds; None is never."""

    severity: str
    error_ratio: float
    before_s: float | None
    after_s: float | None


@dataclass(frozen=True)
class Change:
    """What happens to one promise."""

    name: str
    kind: Literal["added", "removed", "changed"]
    sentences: tuple[str, ...]
    reactions: tuple[Difference, ...]
    rules: dict[str, list[str]]  # added, removed and changed, by name
    before: Cost
    after: Cost

    def document(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def compare(before: Iterable[Promise], after: Iterable[Promise], series: int = DEFAULT_SERIES) -> list[Change]:
    """Every promise that differs, by name. Promises that compile to the same rules and texts are not told."""
    old, new = ({promise.name: promise for promise in promises} for promises in (before, after))
    changes = (_change(name, old.get(name), new.get(name), series) for name in sorted({*old, *new}))
    return [change for change in changes if change is not None]


def _change(name: str, old: Promise | None, new: Promise | None, series: int) -> Change | None:
    rules = _rule_changes(old, new)
    kind: Literal["added", "removed", "changed"] = "changed"
    if old and new:
        sentences = [*_plain_facts(old, new), *_reaction_sentences(old, new)]
        if not sentences and not any(rules.values()):
            return None
    elif new:
        kind, sentences = "added", list(_whole(new, "is new", DOES))
    elif old:
        kind, sentences = (
            "removed",
            list(_whole(old, "is gone", {key: f"used to {word}" for key, word in WOULD.items()})),
        )
    else:
        return None
    return Change(
        name,
        kind,
        tuple(sentences),
        tuple(_differences(old, new)),
        rules,
        cost_of([old], series) if old else FREE,
        cost_of([new], series) if new else FREE,
    )


def _whole(promise: Promise, what: str, does: dict[str, str]) -> Iterator[str]:
    objective, period = say_objective(float(promise.objective)), promise.windows.period.name
    yield f"{what}: {objective} of {promise.unit} over {period}, owned by {promise.team}"
    for severity in SEVERITIES:
        told = [(ratio, found) for ratio in (1.0, 0.05, 0.01) if (found := react(promise, severity, ratio))]
        if told:
            times = ", ".join(f"{say_share(ratio)} errors after {say_time(found.after_s)}" for ratio, found in told)
            yield f"{does[severity]} at {times}"


def _plain_facts(old: Promise, new: Promise) -> Iterator[str]:
    facts: list[tuple[str, Any, Any]] = [
        ("promises", say_objective(float(old.objective)), say_objective(float(new.objective))),
        ("may lose", _budget(old), _budget(new)),
        ("pages the team", old.team, new.team),
        ("counts", old.unit, new.unit),
        ("needs so many bad events in the long window", old.min_bad_events, new.min_bad_events),
        ("takes for missing data", _missing(old), _missing(new)),
        ("is of the service", old.service.name, new.service.name),
        ("is called", old.title, new.title),
        ("says it hurts", old.impact or "nobody", new.impact or "nobody"),
    ]
    for words, was, now in facts:
        if was != now:
            yield f"{words} {now} instead of {was}"
    if old.indicator != new.indicator:
        yield "measures something else: its query has changed"


def _budget(promise: Promise) -> str:
    period = promise.windows.period
    outage_s = float(promise.budget) * period.length.total_seconds()
    return f"{say_time(outage_s)} of outage in {period.name} ({say_share(float(promise.budget))})"


def _missing(promise: Promise) -> str:
    return "absent series, or no events at all" if promise.liveness == "zero" else "absent series only"


def _reaction_sentences(old: Promise, new: Promise) -> Iterator[str]:
    for found in _differences(old, new):
        errors = f"at {say_share(found.error_ratio)} {'errors' if new.unit == 'events' else f'bad {new.unit}'}"
        if found.after_s is None and found.before_s is not None:
            yield f"no longer {DOES[found.severity]} {errors} (did after {say_time(found.before_s)})"
        elif found.after_s is not None:
            was = "never" if found.before_s is None else say_time(found.before_s)
            yield f"{DOES[found.severity]} {errors} after {say_time(found.after_s)} instead of {was}"


def _differences(old: Promise | None, new: Promise | None) -> Iterator[Difference]:
    for severity in SEVERITIES:
        for ratio in ERROR_RATIOS:
            was, now = _after_s(old, severity, ratio), _after_s(new, severity, ratio)
            alike = was is not None and now is not None and abs(was - now) <= SAME * max(was, now)
            if was != now and not alike:
                yield Difference(severity, ratio, was, now)


def _after_s(promise: Promise | None, severity: Severity, error_ratio: float) -> float | None:
    found = react(promise, severity, error_ratio) if promise else None
    return found.after_s if found else None


def _rule_changes(old: Promise | None, new: Promise | None) -> dict[str, list[str]]:
    was, now = _rules(old), _rules(new)
    return {
        "added": sorted(rule.name for key, rule in now.items() if key not in was),
        "removed": sorted(rule.name for key, rule in was.items() if key not in now),
        "changed": sorted(
            rule.name for key, rule in now.items() if key in was and rule.expression != was[key].expression
        ),
    }


def _rules(promise: Promise | None) -> dict[str, FoundRule]:
    if promise is None:
        return {}
    rules = read_rules(emit_rules([promise]), promise.name)
    return {json.dumps([rule.kind, rule.name, rule.labels]): rule for rule in rules}


def say_cost(before: Cost, after: Cost) -> str:
    """Both in one sentence."""

    def both(was: float, now: float) -> str:
        return say_count(now) if round(was) == round(now) else f"{say_count(now)} (was {say_count(was)})"

    return (
        f"{both(before.samples, after.samples)} samples an evaluation, "
        f"{both(before.samples_per_hour / 1e6, after.samples_per_hour / 1e6)} million an hour, "
        f"{both(before.series, after.series)} rules; counters are read {say_time(after.counters_back_s)} back, "
        f"recorded series {say_time(after.recorded_back_s)}"
    )
