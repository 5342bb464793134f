"""deploy/kubernetes/keda: a ScaledObject (keda.sh/v1alpha1), which AKS, EKS and GKE take alike.

Owns KEDA's spelling. What matters in it:

- `metricType: Value` for the pressure: with the default, AverageValue, it would be divided by the replicas. The floor
  is a number of replicas, which is what AverageValue takes.
- `ignoreNullValues: "false"`. With the default, no answer reads as zero and scales in.
- `fallback` keeps the replicas there are when Prometheus has failed three polls, and never fewer than the minimum.
- CPU and memory are triggers of their own too: they come from the kubelet, so that growth does not need Prometheus.
  The largest wish of all triggers counts, so they cannot undo a hold or the band between in and out.
- `minReplicaCount` is written, since it would be 0.
"""

from __future__ import annotations

from typing import Any

from slo.emit.scaling.behavior import behavior_at, seconds_at
from slo.emit.scaling.rules import FLOOR, PRESSURE, fresh
from slo.emit.yaml_text import emit_yaml
from slo.scaling import ScalingPolicy

PROMETHEUS = "http://prometheus.monitoring.svc:9090"  # an overlay patches it where it is another
POLLING_S = 15
FAILURES = 3


def emit_scaled_object(policy: ScalingPolicy, *, clock: float = 1.0, prometheus: str = PROMETHEUS) -> str:
    """The ScaledObject of a policy. `clock` divides its times, for rehearsals; `policy` is as it is without one."""
    workload, behavior = policy.workload, behavior_at(clock)
    return emit_yaml(
        {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": {"name": policy.name, "namespace": workload.namespace},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload.name},
                "pollingInterval": seconds_at(POLLING_S, clock),
                "cooldownPeriod": behavior["scaleDown"]["stabilizationWindowSeconds"],
                "minReplicaCount": policy.minimum,
                "maxReplicaCount": policy.maximum,
                "fallback": {
                    "failureThreshold": FAILURES,
                    "replicas": policy.minimum,
                    "behavior": "currentReplicasIfHigher",
                },
                "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
                "triggers": [*pressure_triggers(policy.at_clock(clock), prometheus), *_resource_triggers(policy)],
            },
        }
    )


def pressure_triggers(policy: ScalingPolicy, prometheus: str = PROMETHEUS) -> list[dict[str, Any]]:
    """The triggers that ask Prometheus for pressure and floor; their metadata are strings, as KEDA reads them."""
    wanted = (("pressure", "Value", PRESSURE), ("floor", "AverageValue", FLOOR))
    return [
        {
            "type": "prometheus",
            "name": name,
            "metricType": metric_type,
            "metadata": {
                "serverAddress": prometheus,
                "query": fresh(series, policy),
                "threshold": "1",
                "ignoreNullValues": "false",
            },
        }
        for name, metric_type, series in wanted
    ]


def _resource_triggers(policy: ScalingPolicy) -> list[dict[str, Any]]:
    found = []
    for signal in ("cpu", "memory"):
        driver = policy.driver(signal)  # type: ignore[arg-type]
        if driver:
            target = str(int(driver.scale_out_above * 100))
            found.append({"type": signal, "metricType": "Utilization", "metadata": {"value": target}})
    return found
