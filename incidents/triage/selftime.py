"""Where time goes: of each request, the seconds that every component itself took, now and before.

Pure. Owns the comparison, like for like: route by route, and less what the whole machine has become slower.
"""

from __future__ import annotations

from collections import defaultdict
from statistics import mean, median

from incidents.plot import emit_value
from incidents.triage.deviation import Deviation, strength
from incidents.triage.rules import Rules
from incidents.triage.tree import Callees, Tree, component_of

LEAST_TRACES = 3
MOST_SLOWDOWN = 4.0
"""A machine that is busier than this by comparison is a finding, not a disturbance."""

Seconds = dict[str, dict[str, list[tuple[float, str]]]]
"""By route and component: the seconds of each trace, and its id."""


def self_time_deviations(now: list[Tree], before: list[Tree], callees: Callees, rules: Rules) -> list[Deviation]:
    """Components in which requests now spend much more time than before."""
    seconds_now, seconds_before = _seconds(now, callees, rules), _seconds(before, callees, rules)
    totals: dict[str, tuple[float, float]] = {}
    worst: dict[str, tuple[float, str, str]] = {}
    requests = 0
    for route, parts in seconds_now.items():
        earlier = seconds_before.get(route, {})
        number, number_before = _traces(parts), _traces(earlier)
        if number < LEAST_TRACES or number_before < LEAST_TRACES:
            continue
        requests += number
        for component in parts.keys() | earlier.keys():
            spent = sum(s for s, _ in parts.get(component, ()))
            spent_before = sum(s for s, _ in earlier.get(component, ())) * number / number_before
            had, had_before = totals.get(component, (0.0, 0.0))
            totals[component] = (had + spent, had_before + spent_before)
            slowest = max(parts.get(component, ()), default=(0.0, ""))
            worst[component] = max(worst.get(component, (0.0, "", "")), (slowest[0], slowest[1], route))
    if not requests:
        return []
    means = {name: (spent / requests, earlier / requests) for name, (spent, earlier) in totals.items()}
    found = []
    for component, (spent, earlier) in means.items():
        others = [n / max(b, 1e-4) for name, (n, b) in means.items() if name != component]
        slowdown = min(max(median(others), 1.0), MOST_SLOWDOWN) if others else 1.0
        limit = rules.spans.self_time
        far = limit.excess(spent / slowdown, earlier)
        if far < 1 or component in rules.topology.outside:
            continue
        longest, trace_id, route = worst[component]
        says = (
            f"a request spends {emit_value(spent, 's')} in it ({emit_value(earlier, 's')} before); "
            f"up to {emit_value(longest, 's')} in {route}"
        )
        kind = "backlog" if component in rules.topology.consumers else "latency"
        found.append(Deviation(component, kind, strength(limit.weight, far), "spans", says, trace_id=trace_id))
    return found


def _seconds(trees: list[Tree], callees: Callees, rules: Rules) -> Seconds:
    found: Seconds = defaultdict(lambda: defaultdict(list))
    for tree in trees:
        spent: dict[str, float] = defaultdict(float)
        for span in tree.spans:
            spent[component_of(span, tree, callees, rules.topology)] += tree.self_time_s(span)
        for component, seconds in spent.items():
            found[tree.entrance()][component].append((seconds, tree.trace_id))
    return found


def _traces(parts: dict[str, list[tuple[float, str]]]) -> int:
    return max((len(own) for own in parts.values()), default=0)


def mean_self_time_s(trees: list[Tree], component: str, callees: Callees, rules: Rules) -> float:
    """The mean over all traces, for tests and readers; 0 where it is in none."""
    own = [s for parts in _seconds(trees, callees, rules).values() for s, _ in parts.get(component, ())]
    return mean(own) if own else 0.0
