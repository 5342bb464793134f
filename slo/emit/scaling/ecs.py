"""deploy/ecs: Application Auto Scaling for an ECS service, as the calls that set it up, in order.

Owns their spelling (botocore's `application-autoscaling` and `cloudwatch`). ECS knows no hold. The alternative:

- Everything that scales on ECS' own metrics (CPU, memory, requests a target) has `DisableScaleIn`: it only adds.
- Taking away is left to one step policy, whose alarm needs five minutes of pressure below 1 without a gap, published to
  CloudWatch as a metric of ours. A hold lifts the pressure to 1, and then the alarm is silent; a metric that is missing
  keeps it silent (`TreatMissingData: notBreaching`).
- Adding follows the pressure in steps after one minute, so that a spike need not wait for target tracking's three.

`${arn:NAME}` stands for the ARN that the call for the policy NAME returned, `${alb}` for the load balancer's resource
label; docs/scaling.md has the lines that apply the file.
"""

from __future__ import annotations

import json
from typing import Any

from slo.scaling import ScalingPolicy

CLOUDWATCH_NAMESPACE = "Signalbox/Scaling"
CLOUDWATCH_METRIC = "pressure"
OUT_COOLDOWN_S, IN_COOLDOWN_S = 60, 300
POINT_S, POINTS_BELOW = 60, 5
# Per cent more at a distance of the pressure from 1: a little over what it asks for at the lower end of each step.
STEPS_OUT: tuple[tuple[float, float | None, int], ...] = ((0.0, 0.5, 25), (0.5, 1.0, 75), (1.0, None, 100))
STEP_IN_PERCENT = -10

Call = dict[str, Any]


def emit_ecs(policy: ScalingPolicy) -> str:
    """`{"policy", "calls": [{"service", "operation", "parameters"}]}`, to be made from first to last."""
    step_out, step_in = f"{policy.name}-out", f"{policy.name}-in"
    calls = [
        _call("application-autoscaling", "RegisterScalableTarget", _target(policy, capacity=True)),
        *(_put_policy(policy, name, tracking) for name, tracking in _trackings(policy)),
        _put_step(policy, step_out, [_step(*step) for step in STEPS_OUT], OUT_COOLDOWN_S),
        _put_step(policy, step_in, [_step(None, 0.0, STEP_IN_PERCENT)], IN_COOLDOWN_S),
        _alarm(policy, step_out, "GreaterThanThreshold", points=1),
        _alarm(policy, step_in, "LessThanThreshold", points=POINTS_BELOW),
    ]
    return json.dumps({"policy": policy.name, "calls": calls}, indent=2) + "\n"


def _call(service: str, operation: str, parameters: dict[str, Any]) -> Call:
    return {"service": service, "operation": operation, "parameters": parameters}


def _target(policy: ScalingPolicy, *, capacity: bool = False) -> dict[str, Any]:
    bounds = {"MinCapacity": policy.minimum, "MaxCapacity": policy.maximum} if capacity else {}
    return {
        "ServiceNamespace": "ecs",
        "ResourceId": f"service/{policy.workload.namespace}/{policy.workload.name}",
        "ScalableDimension": "ecs:service:DesiredCount",
        **bounds,
    }


def _trackings(policy: ScalingPolicy) -> list[tuple[str, dict[str, Any]]]:
    """What ECS and the load balancer measure themselves, by the name of its policy."""
    found: list[tuple[str, dict[str, Any]]] = []
    for signal, metric in (
        ("cpu", "ECSServiceAverageCPUUtilization"),
        ("memory", "ECSServiceAverageMemoryUtilization"),
    ):
        driver = policy.driver(signal)  # type: ignore[arg-type]
        if driver:
            target = float(driver.scale_out_above * 100)
            found.append((signal, _tracking({"PredefinedMetricType": metric}, target)))
    if requests := policy.driver("requests"):
        metric_of = {"PredefinedMetricType": "ALBRequestCountPerTarget", "ResourceLabel": "${alb}"}
        a_minute = float(requests.capacity * requests.scale_out_above * 60)
        found.append(("requests", _tracking(metric_of, a_minute)))
    return [(f"{policy.name}-{name}", tracking) for name, tracking in found]


def _tracking(metric: dict[str, str], target: float) -> dict[str, Any]:
    return {
        "TargetValue": target,
        "PredefinedMetricSpecification": metric,
        "ScaleOutCooldown": OUT_COOLDOWN_S,
        "ScaleInCooldown": IN_COOLDOWN_S,
        "DisableScaleIn": True,
    }


def _put_policy(policy: ScalingPolicy, name: str, tracking: dict[str, Any]) -> Call:
    parameters = {
        "PolicyName": name,
        **_target(policy),
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": tracking,
    }
    return _call("application-autoscaling", "PutScalingPolicy", parameters)


def _put_step(policy: ScalingPolicy, name: str, steps: list[dict[str, Any]], cooldown_s: int) -> Call:
    parameters = {
        "PolicyName": name,
        **_target(policy),
        "PolicyType": "StepScaling",
        "StepScalingPolicyConfiguration": {
            "AdjustmentType": "PercentChangeInCapacity",
            "StepAdjustments": steps,
            "MinAdjustmentMagnitude": 1,
            "Cooldown": cooldown_s,
            "MetricAggregationType": "Maximum",
        },
    }
    return _call("application-autoscaling", "PutScalingPolicy", parameters)


def _step(lower: float | None, upper: float | None, percent: int) -> dict[str, Any]:
    bounds = {"MetricIntervalLowerBound": lower, "MetricIntervalUpperBound": upper}
    return {**{key: value for key, value in bounds.items() if value is not None}, "ScalingAdjustment": percent}


def _alarm(policy: ScalingPolicy, name: str, comparison: str, points: int) -> Call:
    parameters = {
        "AlarmName": f"signalbox-{name}",
        "AlarmDescription": f"The pressure of {policy.title}: the factor by which its replicas ought to change.",
        "ActionsEnabled": True,
        "AlarmActions": [f"${{arn:{name}}}"],
        "Namespace": CLOUDWATCH_NAMESPACE,
        "MetricName": CLOUDWATCH_METRIC,
        "Dimensions": [{"Name": "policy", "Value": policy.name}],
        "Statistic": "Maximum",
        "Period": POINT_S,
        "EvaluationPeriods": points,
        "DatapointsToAlarm": points,
        "Threshold": 1.0,
        "ComparisonOperator": comparison,
        "TreatMissingData": "notBreaching",
    }
    return _call("cloudwatch", "PutMetricAlarm", parameters)
