"""Scaling policies alone: what compiles and is probably not meant.

Owns no texts but what it saw; what a finding means is in `rules.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterable

from slo.errors import Problem
from slo.scaling import ScalingPolicy


def lint_policies(policies: Iterable[ScalingPolicy]) -> list[Problem]:
    """Warnings about scaling policies that compile."""
    found = []
    for policy in policies:
        if policy.maximum < policy.wished_maximum:
            what = f"max is {policy.wished_maximum}; the database allows {policy.maximum}, which is what targets get"
            remedy = "Make room in the database, or write that number"
            found.append(Problem(policy.at, "spec.replicas.max", "scaling-capped", what, remedy))
        if policy.connections is None:
            what = "nothing says how many connections a replica opens: the maximum may exhaust the database"
            found.append(Problem(policy.at, "spec.database", "scaling-uncapped", what, "Add spec.database"))
    return found
