"""From deviations to a ranked list of causes.

Pure. Owns the arithmetic: independent evidence for one trouble adds up, and trouble that other trouble explains counts
for less. Refuses to know where deviations come from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from incidents.triage.deviation import Deviation
from incidents.triage.rules import Rules

UNUSUAL = 0.4
"""Less is not told: one weak sign alone, or what other trouble explains nearly whole."""
TAKEN = 0.85
"""The share of an effect that a certain cause takes away. Not all: two troubles at once are rare, not impossible."""
WEAKER_SAME = 0.5
"""A second sign of the same origin for the same trouble counts for half: they often share their reason."""


@dataclass(frozen=True)
class Cause:
    """A candidate. `score` is what is left of `raw` after `explained_by`."""

    component: str
    kind: str
    score: float
    raw: float
    explained_by: tuple[str, ...]
    evidence: tuple[Deviation, ...]


def rank(deviations: Iterable[Deviation], rules: Rules) -> list[Cause]:
    """Every candidate, the likeliest first; those below UNUSUAL too."""
    by_place: dict[tuple[str, str], list[Deviation]] = defaultdict(list)
    for deviation in deviations:
        by_place[deviation.component, deviation.kind].append(deviation)
    raw = {place: _together(own) for place, own in by_place.items()}
    causes = []
    for (component, kind), own in by_place.items():
        left, explained_by = raw[component, kind], []
        for (other, other_kind), power in sorted(raw.items(), key=lambda item: -item[1]):
            if (other, other_kind) != (component, kind) and _explains(other, other_kind, component, kind, rules):
                left *= 1 - TAKEN * power
                explained_by.append(f"{other} {other_kind}")
        evidence = tuple(sorted(own, key=lambda one: -one.strength))
        causes.append(Cause(component, kind, left, raw[component, kind], tuple(explained_by), evidence))
    return sorted(causes, key=lambda cause: (-cause.score, cause.component, cause.kind))


def unusual(causes: Iterable[Cause]) -> list[Cause]:
    """Those that are worth telling."""
    return [cause for cause in causes if cause.score >= UNUSUAL]


def place_of(causes: Iterable[Cause], component: str, kind: str) -> int | None:
    """At which place, from 1, a cause stands among those told; None when it does not."""
    told = [(cause.component, cause.kind) for cause in unusual(causes)]
    return told.index((component, kind)) + 1 if (component, kind) in told else None


def _together(deviations: list[Deviation]) -> float:
    """Signs of different origin are independent; of those of the same origin the strongest counts whole."""
    doubt = 1.0
    seen: set[str] = set()
    for deviation in sorted(deviations, key=lambda one: -one.strength):
        share = WEAKER_SAME if deviation.origin in seen else 1.0
        seen.add(deviation.origin)
        doubt *= 1 - share * deviation.strength
    return 1 - doubt


def _explains(cause: str, cause_kind: str, effect: str, effect_kind: str, rules: Rules) -> bool:
    return any(
        cause_kind in rule.causes and effect_kind in rule.effects and rules.topology.holds(rule.where, cause, effect)
        for rule in rules.explanations
    )
