"""A new version beside the one that runs: events of both → promote, roll back, or cannot tell yet.

Owns what counts as worse and what counts as enough. Three questions, each answered with an accepted doubt:

- Is it worse? More of its events are bad than the stable version's in the same minutes, whatever befell both (Fisher's
  exact test), and it certainly burns: the lower bound of its burn is above 1.
- Does it cost too much? By itself it has spent a share of the whole period's budget, whoever is to blame.
- Is it good? The upper bound of its burn is below the rate at which somebody is paged. Few events cannot show that.

Nothing seen is never good. Refuses to know how events are counted and what is done with the answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from slo.budget import percent
from slo.model import Promise
from slo.prometheus import Prometheus
from slo.proportions import bounds, chance_of_no_difference, events_needed
from slo.releases import Tally, is_told_apart, observe_lives, observe_tallies

Outcome = Literal["promote", "roll back", "unknown"]
STRICTEST: tuple[Outcome, ...] = ("roll back", "unknown", "promote")


@dataclass(frozen=True)
class Caution:
    """How sure one wants to be. `looks`: how often the same canary is judged, which share the doubt among them.
    `most_budget`: the share of a period's budget that a canary may spend."""

    doubt: float = 0.05
    looks: int = 1
    most_budget: float = 0.02

    @property
    def doubt_a_look(self) -> float:
        return self.doubt / self.looks


@dataclass(frozen=True)
class Evidence:
    """What two versions did, and what follows. Burns are bounds of the canary's, each with the accepted doubt."""

    canary: Tally
    stable: Tally
    least_burn: float
    most_burn: float
    chance: float  # that so many bad events fall to the canary if it is no worse
    spent: float  # by the canary, of the whole period's budget


@dataclass(frozen=True)
class Comparison:
    """One promise kept by two versions, and what that says of the new one."""

    promise: str
    evidence: Evidence
    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class Judgement:
    """All promises together. `untold` are those whose events nobody can tell apart by version."""

    comparisons: tuple[Comparison, ...]
    untold: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The strictest of them; of nothing at all nobody can tell."""
        return min((each.outcome for each in self.comparisons), key=STRICTEST.index, default="unknown")

    @property
    def reason(self) -> str:
        """What decided, in one sentence."""
        deciding = [each for each in self.comparisons if each.outcome == self.outcome]
        if not deciding:
            return "no promise's events can be told apart by version"
        if self.outcome == "promote":
            return "; ".join(f"{each.promise}: {each.reason}" for each in deciding)
        return f"{deciding[0].promise}: {deciding[0].reason}"


def compare(promise: Promise, canary: Tally, stable: Tally, window_s: float, caution: Caution) -> Comparison:
    """Judge one promise on the events of the same `window_s` seconds."""
    budget, doubt = float(promise.budget), caution.doubt_a_look
    least, most = bounds(canary.bad, canary.events, doubt)
    chance = chance_of_no_difference(canary.bad, canary.events, stable.bad, stable.events)
    spent = _spent(promise, canary, stable, window_s)
    evidence = Evidence(canary, stable, least / budget, most / budget, chance, spent)
    outcome, reason = _decide(promise, evidence, caution)
    return Comparison(promise.name, evidence, outcome, reason)


def observe(
    prometheus: Prometheus, promises: Iterable[Promise], version: str, stable: str, window_s: float, caution: Caution
) -> Judgement:
    """Ask a Prometheus and judge. Without `stable` every other version is. Raises slo.prometheus.NoPrometheus."""
    promises = list(promises)
    at_s = time.time()
    lives = observe_lives(prometheus, window_s, at_s)
    comparisons = []
    for promise in promises:
        if not is_told_apart(promise) or promise.counters is None:
            continue
        tallies = observe_tallies(prometheus, promise.counters, lives, window_s, at_s)
        canary = tallies.pop(version, Tally())
        others = tallies.get(stable, Tally()) if stable else sum(tallies.values(), Tally())
        comparisons.append(compare(promise, canary, others, window_s, caution))
    return judge(comparisons, [promise.name for promise in promises if not is_told_apart(promise)])


def judge(comparisons: Iterable[Comparison], untold: Iterable[str] = ()) -> Judgement:
    """All of them, what decides first."""
    found = sorted(comparisons, key=lambda each: (STRICTEST.index(each.outcome), each.promise))
    return Judgement(tuple(found), tuple(untold))


def _decide(promise: Promise, seen: Evidence, caution: Caution) -> tuple[Outcome, str]:
    canary, doubt = seen.canary, caution.doubt_a_look
    if canary.events == 0:
        return "unknown", "the canary has answered nothing yet"
    words = f"{_share(canary)} of the canary's events are bad, {_share(seen.stable)} of the others'"
    burns, worse = seen.least_burn > 1, seen.chance < doubt
    if worse and burns:
        return "roll back", f"{words}; by chance alone {seen.chance:.2g}"
    if canary.bad >= max(1, promise.min_bad_events) and burns and seen.spent >= caution.most_budget:
        limit = f"more than {percent(caution.most_budget)}"
        return "roll back", f"{words}; by itself it has spent {percent(seen.spent)} of the period's budget, {limit}"
    limit_burn = _limit(promise)
    if seen.most_burn < (1 if worse else limit_burn):
        return "promote", f"{words}; it burns less than {1 if worse else limit_burn:g} times the budget"
    needed = events_needed(limit_burn * float(promise.budget), doubt)
    if canary.events < needed:
        return "unknown", f"{words}; {canary.events} events are too few, about {needed} are needed"
    return "unknown", f"{words}; it may burn up to {seen.most_burn:.3g} times the budget, {limit_burn:g} is the limit"


def _limit(promise: Promise) -> float:
    """The burn at which somebody is alerted; 1 where no share of bad events is so high."""
    burn = promise.urgent_tiers[0].burn
    return float(burn) if burn * promise.budget < 1 else 1.0


def _spent(promise: Promise, canary: Tally, stable: Tally, window_s: float) -> float:
    """The share of the period's budget that the canary's bad events are, at the traffic of now."""
    periods = promise.windows.period.length.total_seconds() / window_s
    allowed = (canary.events + stable.events) * periods * float(promise.budget)
    return canary.bad / allowed if allowed else 0.0


def _share(tally: Tally) -> str:
    return f"{tally.bad} of {tally.events}"
