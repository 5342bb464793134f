"""How fast Kubernetes' autoscaler may go: the `behavior` that a plain HPA and KEDA share.

Owns these numbers. Up fast, down slowly; doubling every 15 s is what a start of a few seconds can follow, and a tenth a
minute is given back only after five minutes in which no less was ever asked for. A clock divides every time, to whole
seconds, which is all that Kubernetes knows, and never below one.
"""

from __future__ import annotations

from typing import Any

BEHAVIOR: dict[str, Any] = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [
            {"type": "Percent", "value": 100, "periodSeconds": 15},
            {"type": "Pods", "value": 2, "periodSeconds": 15},  # so that one replica does not take a minute to be four
        ],
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 300,
        "selectPolicy": "Max",
        "policies": [
            {"type": "Percent", "value": 10, "periodSeconds": 60},
            {"type": "Pods", "value": 1, "periodSeconds": 60},  # a tenth of nine is none
        ],
    },
}


def behavior_at(clock: float) -> dict[str, Any]:
    """The behaviour in a world that runs `clock` times as fast."""
    return {
        direction: {
            **rules,
            "stabilizationWindowSeconds": seconds_at(rules["stabilizationWindowSeconds"], clock),
            "policies": [
                {**policy, "periodSeconds": seconds_at(policy["periodSeconds"], clock)} for policy in rules["policies"]
            ],
        }
        for direction, rules in BEHAVIOR.items()
    }


def seconds_at(seconds: int, clock: float) -> int:
    """A length of time divided by the clock, in whole seconds; none stays none."""
    return max(1, round(seconds / clock)) if seconds else 0
