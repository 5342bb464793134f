"""How fast Kubernetes' autoscaler may go: the `behavior` that a plain HPA and KEDA share.

Owns these numbers. Up fast, down slowly; doubling every 15 s is what a start of a few seconds can follow, and a tenth a
minute is given back only after five minutes in which no less was ever asked for.
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
