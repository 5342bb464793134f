"""What scaling policies may not do to one another.

Owns the checks across documents: no workload is scaled twice, and all workloads together fit into their database.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from slo.errors import Problem
from slo.scaling import Connections, ScalingPolicy


def refuse_conflicts(policies: Iterable[ScalingPolicy], problems: list[Problem]) -> None:
    """File what is wrong with the policies taken together."""
    ordered = sorted(policies, key=lambda policy: policy.name)
    _refuse_two_hands(ordered, problems)
    _refuse_overcommitment(ordered, problems)


def _refuse_two_hands(policies: list[ScalingPolicy], problems: list[Problem]) -> None:
    """Two autoscalers on one workload work against each other."""
    owners: dict[tuple[str, str], ScalingPolicy] = {}
    for policy in policies:
        other = owners.setdefault((policy.workload.namespace, policy.workload.name), policy)
        if other is not policy:
            what = f"{policy.workload.name!r} is scaled by {other.name!r} at {other.at} already"
            remedy = "Merge the two into one policy"
            problems.append(Problem(policy.at, "spec.workload.name", "scaling-twice", what, remedy))


def _refuse_overcommitment(policies: list[ScalingPolicy], problems: list[Problem]) -> None:
    """Every policy by itself leaves room for others; this adds them up."""
    connected = [(policy.connections, policy) for policy in policies if policy.connections]
    connected.sort(key=lambda each: each[0].database)
    for _, group in groupby(connected, key=lambda each: each[0].database):
        _refuse_together(list(group), problems)


def _refuse_together(members: list[tuple[Connections, ScalingPolicy]], problems: list[Problem]) -> None:
    (first, owner), last = members[0], members[-1][1]
    for connections, policy in members:
        if connections.maximum != first.maximum:
            what = f"{first.database} takes {connections.maximum} connections here and {first.maximum} at {owner.at}"
            remedy = "Write what SHOW max_connections says in both"
            problems.append(Problem(policy.at, "spec.database.maxConnections", "scaling-connections", what, remedy))
    needed = {policy.name: connections.needed(policy.maximum) for connections, policy in members}
    if sum(needed.values()) > first.maximum:
        named = ", ".join(f"{name} {count}" for name, count in needed.items())
        what = f"together they may open {sum(needed.values())} connections ({named})"
        what += f" and {first.database} takes {first.maximum}"
        remedy = "Lower replicas.max of one of them"
        problems.append(Problem(last.at, "spec.database", "scaling-connections", what, remedy))
