"""deploy/kubernetes/hpa: a plain HorizontalPodAutoscaler (autoscaling/v2), for clusters without KEDA.

Owns its spelling, and the rule by which prometheus-adapter serves the pressure as an external metric. A workload takes
this or the ScaledObject, never both: KEDA makes an HPA of its own. An external metric that cannot be had forbids the
HPA to scale in; CPU and memory may still scale out.
"""

from __future__ import annotations

from typing import Any

from slo.emit.scaling.behavior import behavior_at
from slo.emit.scaling.rules import FLOOR, PRESSURE
from slo.emit.yaml_text import emit_yaml
from slo.model import SHORTEST_RATE_WINDOW
from slo.scaling import FRESH_WITHIN, ScalingPolicy

# Recorded series → how the HPA compares it with its target of 1.
EXTERNAL = {PRESSURE: ("Value", "value"), FLOOR: ("AverageValue", "averageValue")}


def emit_hpa(policy: ScalingPolicy, *, clock: float = 1.0) -> str:
    """The HorizontalPodAutoscaler of a policy. `clock` divides its times, for rehearsals."""
    workload = policy.workload
    return emit_yaml(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": policy.name, "namespace": workload.namespace},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload.name},
                "minReplicas": policy.minimum,
                "maxReplicas": policy.maximum,
                "metrics": [*_external_metrics(policy), *_resource_metrics(policy)],
                "behavior": behavior_at(clock),
            },
        }
    )


def emit_adapter_rules(*, clock: float = 1.0) -> str:
    """Values for prometheus-adapter: pressure and floor of every policy, and nothing for what has grown old."""
    age = int(max(FRESH_WITHIN / clock, SHORTEST_RATE_WINDOW).total_seconds())
    rules = []
    for series in EXTERNAL:
        selected = f"{series}{{<<.LabelMatchers>>}}"
        query = f"max by (policy) ({selected} and on (policy) (time() - timestamp({selected}) < {age}))"
        rules.append(
            {
                "seriesQuery": series,
                "resources": {"namespaced": False},
                "name": {"as": _external_name(series)},
                "metricsQuery": query,
            }
        )
    return emit_yaml({"rules": {"external": rules}})


def _external_metrics(policy: ScalingPolicy) -> list[dict[str, Any]]:
    return [
        {
            "type": "External",
            "external": {
                "metric": {"name": _external_name(series), "selector": {"matchLabels": {"policy": policy.name}}},
                "target": {"type": kind, key: "1"},
            },
        }
        for series, (kind, key) in EXTERNAL.items()
    ]


def _external_name(series: str) -> str:
    """An external metric is a path segment of an API."""
    return series.replace(":", "_")


def _resource_metrics(policy: ScalingPolicy) -> list[dict[str, Any]]:
    found = []
    for signal in ("cpu", "memory"):
        driver = policy.driver(signal)  # type: ignore[arg-type]
        if driver:
            target = {"type": "Utilization", "averageUtilization": int(driver.scale_out_above * 100)}
            found.append({"type": "Resource", "resource": {"name": signal, "target": target}})
    return found
