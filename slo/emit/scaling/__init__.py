"""ScalingPolicy → the rules that compute its pressure, and a document for each target that follows it.

Owns the paths. Every target scales on the same recorded number, so that all of them decide alike, and so that the
decision can be tested, plotted and explained in one place.
"""

from __future__ import annotations

from collections.abc import Iterable

from slo.emit.kubernetes import emit_kustomization
from slo.emit.scaling.cloudformation import emit_cloudformation
from slo.emit.scaling.cloudrun import emit_cloudrun_service, emit_crema
from slo.emit.scaling.ecs import emit_ecs
from slo.emit.scaling.hpa import emit_adapter_rules, emit_hpa
from slo.emit.scaling.keda import emit_scaled_object
from slo.emit.scaling.rules import emit_scaling_rules
from slo.scaling import ScalingPolicy

RULES = "prometheus/scaling-rules.yaml"


def emit_scaling(policies: Iterable[ScalingPolicy], *, clock: float = 1.0) -> dict[str, str]:
    """Relative path → text. Nothing without policies. `clock` divides the windows of the rules; targets keep real time:
    a clock is for rehearsals on one machine."""
    policies = list(policies)
    if not policies:
        return {}
    files = {RULES: emit_scaling_rules([policy.at_clock(clock) for policy in policies])}
    for policy in policies:
        files[f"deploy/kubernetes/keda/{policy.name}.yaml"] = emit_scaled_object(policy)
        files[f"deploy/kubernetes/hpa/{policy.name}.yaml"] = emit_hpa(policy)
        files[f"deploy/ecs/{policy.name}.json"] = emit_ecs(policy)
        files[f"deploy/ecs/{policy.name}.template.json"] = emit_cloudformation(policy)
        if policy.workload.kind == "service":
            files[f"deploy/cloudrun/{policy.name}.service.yaml"] = emit_cloudrun_service(policy)
    for form in ("keda", "hpa"):
        listed = emit_kustomization(f"{policy.name}.yaml" for policy in policies)
        files[f"deploy/kubernetes/{form}/kustomization.yaml"] = listed
    files["deploy/kubernetes/hpa/prometheus-adapter.yaml"] = emit_adapter_rules()
    files["deploy/cloudrun/crema.yaml"] = emit_crema(policies)
    return files
