"""deploy/cloudrun: Cloud Run, which scales services by CPU and concurrency only, and worker pools not at all.

Owns its spelling, and the choice that it leaves:

- `NAME.service.yaml`: the annotations and the concurrency to merge into a service. Cloud Run's own autoscaler then
  decides; it knows no hold, no band and no metric of ours. It does not read Prometheus and cannot be misled by it.
- `crema.yaml`: the whole policy, for services and worker pools, by Cloud Run External Metrics Autoscaling: KEDA's
  Prometheus scaler beside Cloud Run, which sets the number of instances by hand. An error leaves it as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from slo.emit.promql import number
from slo.emit.scaling.behavior import BEHAVIOR
from slo.emit.scaling.keda import POLLING_S, pressure_triggers
from slo.emit.yaml_text import emit_yaml
from slo.scaling import Driver, ScalingPolicy

# What may be configured; https://docs.cloud.google.com/run/docs/configuring/scaling-controls
LOWEST_TARGET, HIGHEST_TARGET = Decimal("0.1"), Decimal("0.95")
COLLECTIONS = {"service": "services", "worker": "workerpools"}


def emit_cloudrun_service(policy: ScalingPolicy) -> str:
    """What a service needs of a policy. `maxScale` is the service's, over all its revisions: a rollout does not add
    to it."""
    in_flight = policy.driver("inFlight")
    targets = {"cpu": policy.driver("cpu"), "concurrency": in_flight}
    template: dict[str, Any] = {
        "metadata": {
            "annotations": {
                f"run.googleapis.com/scaling-{name}-target": _target(driver)
                for name, driver in targets.items()
                if driver is not None
            }
        }
    }
    if in_flight:
        template["spec"] = {"containerConcurrency": int(in_flight.capacity)}
    return emit_yaml(
        {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {
                "name": policy.workload.name,
                "annotations": {
                    "run.googleapis.com/minScale": str(policy.minimum),
                    "run.googleapis.com/maxScale": str(policy.maximum),
                },
            },
            "spec": {"template": template},
        }
    )


def emit_crema(policies: Iterable[ScalingPolicy]) -> str:
    """The configuration of one CREMA service for all policies. `${PROJECT}` and `${REGION}` are the deployment's."""
    scaled = []
    for policy in policies:
        collection = COLLECTIONS[policy.workload.kind]
        target = f"projects/${{PROJECT}}/locations/${{REGION}}/{collection}/{policy.workload.name}"
        spec = {
            "scaleTargetRef": {"name": target},
            "minReplicaCount": policy.minimum,
            "maxReplicaCount": policy.maximum,
            "triggers": pressure_triggers(policy),
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": BEHAVIOR}},
        }
        scaled.append({"spec": spec})
    return emit_yaml(
        {
            "apiVersion": "crema/v1",
            "kind": "CremaConfig",
            "metadata": {"name": "signalbox"},
            "spec": {"pollingInterval": POLLING_S, "scaledObjects": scaled},
        }
    )


def _target(driver: Driver) -> str:
    return number(min(max(driver.scale_out_above, LOWEST_TARGET), HIGHEST_TARGET))
