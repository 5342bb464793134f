"""What is generated for Kubernetes, ECS and Cloud Run, judged by the schemas of those who will read it."""

from __future__ import annotations

import copy
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import botocore.session
import botocore.validate
import jsonschema
import pytest
import yaml

from slo.emit.scaling import emit_scaling
from slo.emit.scaling.keda import emit_scaled_object
from slo.parse.tree import parse_definitions
from slo.publish import REPOSITORY
from slo.scaling import ScalingPolicy

SCHEMAS = REPOSITORY / "tests" / "schemas"
POLICIES = parse_definitions(REPOSITORY / "slo" / "definitions").scaling
FILES = emit_scaling(POLICIES)
each_policy = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)


def validator(name: str) -> Any:
    return jsonschema.Draft7Validator(json.loads((SCHEMAS / name).read_text()))


KEDA, HPA = validator("keda-scaledobject-2.21.0.json"), validator("kubernetes-hpa-1.37.2.json")


def keda(policy: ScalingPolicy) -> dict[str, Any]:
    return dict(yaml.safe_load(FILES[f"deploy/kubernetes/keda/{policy.name}.yaml"]))


def hpa(policy: ScalingPolicy) -> dict[str, Any]:
    return dict(yaml.safe_load(FILES[f"deploy/kubernetes/hpa/{policy.name}.yaml"]))


def calls(policy: ScalingPolicy, operation: str) -> list[dict[str, Any]]:
    document = json.loads(FILES[f"deploy/ecs/{policy.name}.json"])
    return [call["parameters"] for call in document["calls"] if call["operation"] == operation]


@each_policy
def test_keda_takes_the_scaled_object(policy: ScalingPolicy) -> None:
    assert [error.message for error in KEDA.iter_errors(keda(policy))] == []


@each_policy
def test_the_api_server_takes_the_hpa(policy: ScalingPolicy) -> None:
    assert [error.message for error in HPA.iter_errors(hpa(policy))] == []


def test_the_schemas_refuse_what_kubernetes_would() -> None:
    for validate, document, break_it in [
        (KEDA, keda(POLICIES[0]), lambda spec: spec["triggers"][0]["metadata"].update(threshold=1)),
        (KEDA, keda(POLICIES[0]), lambda spec: spec.update(minReplicas=1)),
        (KEDA, keda(POLICIES[0]), lambda spec: spec["fallback"].update(behavior="whatever")),
        (HPA, hpa(POLICIES[0]), lambda spec: spec.update(maxReplicaCount=1)),
        (HPA, hpa(POLICIES[0]), lambda spec: spec["metrics"][0].pop("type")),
    ]:
        broken = copy.deepcopy(document)
        break_it(broken["spec"])
        assert not validate.is_valid(broken)


@each_policy
def test_no_answer_and_no_prometheus_never_scale_in(policy: ScalingPolicy) -> None:
    spec = keda(policy)["spec"]
    pressure, floor = (trigger for trigger in spec["triggers"] if trigger["type"] == "prometheus")
    assert pressure["metadata"]["ignoreNullValues"] == floor["metadata"]["ignoreNullValues"] == "false"
    assert (pressure["metricType"], floor["metricType"]) == ("Value", "AverageValue")
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    assert spec["fallback"]["replicas"] == spec["minReplicaCount"] == policy.minimum >= 1
    assert spec["maxReplicaCount"] == policy.maximum


@each_policy
def test_up_fast_and_down_slowly(policy: ScalingPolicy) -> None:
    for behavior in (
        keda(policy)["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
        hpa(policy)["spec"]["behavior"],
    ):
        assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
        assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 300
        assert {"type": "Percent", "value": 10, "periodSeconds": 60} in behavior["scaleDown"]["policies"]


def test_only_one_autoscaler_is_asked_about_errors() -> None:
    """Burn never drives: no query of a target, and no driver, reads an error ratio."""
    for name, text in FILES.items():
        if name.startswith("deploy/"):
            assert "slo:" not in text
            assert "outcome" not in text


BOTOCORE = botocore.session.Session()
SHAPES = {service: BOTOCORE.get_service_model(service) for service in ("application-autoscaling", "cloudwatch")}


@each_policy
def test_aws_takes_every_call(policy: ScalingPolicy) -> None:
    document = json.loads(FILES[f"deploy/ecs/{policy.name}.json"])
    for call in document["calls"]:
        shape = SHAPES[call["service"]].operation_model(call["operation"]).input_shape
        report = botocore.validate.ParamValidator().validate(call["parameters"], shape)
        assert not report.has_errors(), report.generate_report()
        assert enums_outside(call["parameters"], shape) == []


def enums_outside(value: Any, shape: Any, path: str = "") -> list[str]:
    """Words that the service model does not list; botocore itself leaves those to the server."""
    if shape.type_name == "structure":
        return [e for k, v in value.items() for e in enums_outside(v, shape.members[k], f"{path}.{k}")]
    if shape.type_name == "list":
        return [e for item in value for e in enums_outside(item, shape.member, path)]
    words = getattr(shape, "enum", None)
    return [f"{path}: {value}"] if words and value not in words else []


def test_the_service_model_refuses_what_aws_would() -> None:
    shape = SHAPES["application-autoscaling"].operation_model("RegisterScalableTarget").input_shape
    (target,) = calls(POLICIES[0], "RegisterScalableTarget")
    wrong = {**target, "MaxCapacity": "17", "Maximum": 3}
    assert botocore.validate.ParamValidator().validate(wrong, shape).has_errors()
    assert enums_outside({**target, "ScalableDimension": "ecs:service:Count"}, shape)


@each_policy
def test_on_ecs_only_the_pressure_takes_away(policy: ScalingPolicy) -> None:
    taking = []
    for put in calls(policy, "PutScalingPolicy"):
        if put["PolicyType"] == "TargetTrackingScaling":
            assert put["TargetTrackingScalingPolicyConfiguration"]["DisableScaleIn"] is True
        else:
            steps = put["StepScalingPolicyConfiguration"]["StepAdjustments"]
            taking += [put["PolicyName"] for step in steps if step["ScalingAdjustment"] < 0]
    assert taking == [f"{policy.name}-in"]
    (alarm,) = [
        alarm for alarm in calls(policy, "PutMetricAlarm") if alarm["AlarmActions"] == [f"${{arn:{taking[0]}}}"]
    ]
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1.0)
    assert alarm["TreatMissingData"] == "notBreaching"
    assert alarm["DatapointsToAlarm"] == alarm["EvaluationPeriods"] == 5


def test_the_steps_out_have_neither_gap_nor_overlap() -> None:
    (out,) = [put for put in calls(POLICIES[0], "PutScalingPolicy") if put["PolicyName"] == "api-out"]
    steps = out["StepScalingPolicyConfiguration"]["StepAdjustments"]
    bounds = [(step["MetricIntervalLowerBound"], step.get("MetricIntervalUpperBound")) for step in steps]
    assert bounds[0][0] == 0
    assert bounds[-1][1] is None
    assert all(one[1] == other[0] for one, other in pairwise(bounds))
    assert all(step["ScalingAdjustment"] >= bound[0] * 100 for step, bound in zip(steps, bounds, strict=True))


def test_cloud_run_gets_what_it_can_express_and_crema_the_rest() -> None:
    service = yaml.safe_load(FILES["deploy/cloudrun/api.service.yaml"])
    assert service["metadata"]["annotations"] == {
        "run.googleapis.com/minScale": "2",
        "run.googleapis.com/maxScale": "17",
    }
    template = service["spec"]["template"]
    assert template["metadata"]["annotations"] == {
        "run.googleapis.com/scaling-cpu-target": "0.7",
        "run.googleapis.com/scaling-concurrency-target": "0.7",
    }
    assert template["spec"]["containerConcurrency"] == 10
    assert "deploy/cloudrun/worker.service.yaml" not in FILES
    crema = yaml.safe_load(FILES["deploy/cloudrun/crema.yaml"])
    names = [
        each["spec"]["scaleTargetRef"]["name"].rpartition("locations/${REGION}/")[2]
        for each in crema["spec"]["scaledObjects"]
    ]
    assert names == ["services/api", "workerpools/worker"]


def test_without_policies_nothing_is_written() -> None:
    assert emit_scaling([]) == {}


@pytest.mark.parametrize("path", sorted((REPOSITORY / "slo" / "emit" / "scaling").glob("*.py")), ids=lambda p: p.stem)
def test_no_generator_is_longer_than_it_may_be(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 250


@each_policy
def test_a_clock_divides_every_time_and_nothing_else(policy: ScalingPolicy) -> None:
    usual, quick = keda(policy), dict(yaml.safe_load(emit_scaled_object(policy, clock=6, prometheus="http://here:1")))
    assert [error.message for error in KEDA.iter_errors(quick)] == []
    assert {trigger["metadata"].pop("serverAddress") for trigger in pressure_of(quick)} == {"http://here:1"}
    assert quick["spec"]["pollingInterval"] == 2
    assert quick["spec"]["cooldownPeriod"] == 50
    behavior = quick["spec"]["advanced"]["horizontalPodAutoscalerConfig"].pop("behavior")
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 50
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert {each["periodSeconds"] for each in behavior["scaleDown"]["policies"]} == {10}
    assert all("< 10)" in trigger["metadata"].pop("query") for trigger in pressure_of(quick))
    for trigger in pressure_of(usual):
        del trigger["metadata"]["serverAddress"], trigger["metadata"]["query"]
    for document in (usual, quick):
        document["spec"]["advanced"]["horizontalPodAutoscalerConfig"].pop("behavior", None)
        del document["spec"]["pollingInterval"], document["spec"]["cooldownPeriod"]
    assert quick == usual


def pressure_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [trigger for trigger in document["spec"]["triggers"] if trigger["type"] == "prometheus"]
