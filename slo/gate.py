"""The deploy gate: live budgets → go, stop or cannot tell.

Owns which recorded series say how promises stand, how old they may be, and how an exemption lifts a stop. What a policy
makes of a reading is `slo.budget`. Refuses to know any terminal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from slo.budget import BudgetPolicy, Exemption, Reading, State, Verdict, decide, judge
from slo.emit import promql
from slo.emit.alerts import WATCHDOG
from slo.model import Promise
from slo.prometheus import Prometheus

Decision = Literal["go", "stop", "unknown"]

# The budget is evaluated once a minute; what is older than five of them is not how things stand.
EVALUATIONS = 5
SHORTEST_FRESHNESS = timedelta(seconds=15)
PAGES = 'ALERTS{alertstate="firing",tier="page",slo!=""}'
WATCHED = f'ALERTS{{alertstate="firing",alertname="{WATCHDOG}"}}'


@dataclass(frozen=True)
class Gate:
    """What came out: verdicts, strictest first, and what they come to. `exemption` is the one that lifted a stop."""

    verdicts: tuple[Verdict, ...]
    state: State
    exemption: str = ""

    @property
    def decision(self) -> Decision:
        if self.state == "allow" or self.exemption:
            return "go"
        return "unknown" if self.state == "unknown" else "stop"

    @property
    def reason(self) -> str:
        """The verdict that decided, in one sentence."""
        if not self.verdicts:
            return "no budget policy is about these promises"
        first = self.verdicts[0]
        if self.state == "allow":
            least = min(self.verdicts, key=lambda verdict: verdict.reading.remaining or 0.0)
            return f"{least.reading.promise} has the least: {least.reason}"
        why = f"{first.reading.promise}: {first.reason}"
        return f"by the exception {self.exemption!r}, although {why}" if self.exemption else why


def observe_readings(prometheus: Prometheus, promises: Iterable[Promise], clock: float = 1.0) -> list[Reading]:
    """How promises stand now. Raises slo.prometheus.NoPrometheus. A series that is old or missing gives None."""
    scaled = [promise.at_clock(clock) for promise in promises]
    remaining = _fresh(prometheus, promql.PERIOD_BUDGET_REMAINING, scaled)
    heads = sorted({promql.ratio_name(promise.windows.head) for promise in scaled})
    errors = {name: _fresh(prometheus, name, scaled) for name in heads}
    evaluated = bool(prometheus.query(WATCHED))
    paging = {sample.labels.get("slo", "") for sample in prometheus.query(PAGES)}
    readings = []
    for promise in scaled:
        error = errors[promql.ratio_name(promise.windows.head)].get(promise.name)
        readings.append(
            Reading(
                promise=promise.name,
                service=promise.service.name,
                remaining=remaining.get(promise.name),
                burn=None if error is None else error / float(promise.budget),
                # a page that is seen to fire does fire, whatever became of the watchdog
                paging=True if promise.name in paging else False if evaluated else None,
                period_s=promise.windows.period.length.total_seconds(),
            )
        )
    return readings


def blind_readings(promises: Iterable[Promise]) -> list[Reading]:
    """What is known without a Prometheus: nothing."""
    return [
        Reading(promise.name, promise.service.name, None, None, None, promise.windows.period.length.total_seconds())
        for promise in promises
    ]


def open_gate(policies: Iterable[BudgetPolicy], readings: Iterable[Reading], exemption: str = "") -> Gate:
    """The decision. An exemption counts only where each policy that stops has one of this name for what it says."""
    readings = list(readings)
    policies = list(policies)
    verdicts = [judge(policy, reading) for policy in policies for reading in readings if policy.covers(reading.promise)]
    order: dict[State, int] = {"freeze": 0, "unknown": 1, "approve": 2, "allow": 3}
    verdicts.sort(key=lambda verdict: (order[verdict.state], verdict.reading.promise, verdict.policy))
    state = decide(verdicts)
    lifted = state != "allow" and bool(verdicts) and exemption in {each.name for each in ways_out(policies, verdicts)}
    return Gate(tuple(verdicts), state, exemption if lifted else "")


def ways_out(policies: Iterable[BudgetPolicy], verdicts: Iterable[Verdict]) -> list[Exemption]:
    """The exemptions that lift everything that these verdicts say."""
    by_name = {policy.name: policy for policy in policies}
    stopping = [verdict for verdict in verdicts if verdict.state != "allow"]
    found: dict[str, Exemption] = {}
    for verdict in stopping:
        for exemption in by_name[verdict.policy].exemptions:
            if verdict.state in exemption.overrides:
                found.setdefault(exemption.name, exemption)
    return [
        exemption
        for exemption in found.values()
        if all(_lifts(by_name[verdict.policy], exemption.name, verdict.state) for verdict in stopping)
    ]


def _lifts(policy: BudgetPolicy, name: str, state: State) -> bool:
    return any(exemption.name == name and state in exemption.overrides for exemption in policy.exemptions)


def _fresh(prometheus: Prometheus, name: str, promises: list[Promise]) -> dict[str, float]:
    """Promise → value of a recorded series, without what was not evaluated lately: Prometheus goes on answering with
    the last value for a while."""
    slowest = max((promise.windows.budget_interval for promise in promises), default=timedelta())
    age_s = max(slowest * EVALUATIONS, SHORTEST_FRESHNESS).total_seconds()
    query = f'{name}{{slo!=""}} and (time() - timestamp({name}{{slo!=""}}) < {age_s:g})'
    return {sample.labels.get("slo", ""): sample.value for sample in prometheus.query(query)}
