"""deploy/ecs and deploy/cloudrun: what the clouds' own descriptions allow, and the same processes as everywhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from slo.parse.tree import parse_definitions
from stack.components import components
from stack.container import addresses
from tests.conftest import missing_backend

ROOT = Path(__file__).resolve().parents[2]
ECS, CLOUD_RUN = ROOT / "deploy" / "ecs", ROOT / "deploy" / "cloudrun"
POLICIES = parse_definitions(ROOT / "slo" / "definitions").scaling
PARTS = {part.job: part for part in reversed(components())}
SECRETS = {"database_password", "valkey_password", "cursor_keys", "client_secret"}  # service.settings.fill_in
PROBES = {"startupProbe": "/startupz", "livenessProbe": "/livez"}

Document = dict[str, Any]


class Template(yaml.SafeLoader):
    """CloudFormation's short forms: `!Ref X` is {"Ref": "X"}."""


def _short_form(loader: Template, name: str, node: yaml.Node) -> Document:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        raise TypeError(node)
    return {name if name == "Ref" else f"Fn::{name}": value}


Template.add_multi_constructor("!", _short_form)


def ecs() -> Document:
    return dict(yaml.load((ECS / "signalbox.yaml").read_text(), Loader=Template))


def tasks() -> dict[str, Document]:
    """Container → what its task definition says of it, but for the collectors beside it."""
    return {
        container["Name"]: container
        for resource in ecs()["Resources"].values()
        if resource["Type"] == "AWS::ECS::TaskDefinition"
        for container in resource["Properties"]["ContainerDefinitions"]
        if container["Name"] != "collector"
    }


@cache
def cloud_run() -> dict[str, Document]:
    """What `gcloud run services replace` would be given."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        missing_backend("there is no kubectl on PATH: nobody can put Cloud Run's files together")
    assert kubectl
    done = subprocess.run(
        [kubectl, "kustomize", str(CLOUD_RUN)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return {document["metadata"]["name"]: document for document in yaml.safe_load_all(done.stdout)}


def containers(name: str) -> dict[str, Document]:
    return {one["name"]: one for one in cloud_run()[name]["spec"]["template"]["spec"]["containers"]}


def started(command: list[str], job: str) -> None:
    part = PARTS[job]
    assert command == [addresses.adapt(word, part.name).format_map(addresses.values({})) for word in part.command]


# ECS


def test_cloudformation_takes_the_templates() -> None:
    pytest.importorskip("cfnlint", reason="cfn-lint is not installed; `make scan` asks it")
    from cfnlint.api import ManualArgs, lint_file

    # Aliases and nested files are what `aws cloudformation package` resolves.
    allowed = ManualArgs(ignore_checks=["W1100", "W1101", "W3002"])
    for path in [ECS / "signalbox.yaml", *sorted((ECS / "_generated").glob("*.template.json"))]:
        assert [str(match) for match in lint_file(path, config=allowed)] == [], path.name


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_the_template_of_a_policy_asks_for_what_its_calls_ask_for(policy: Any) -> None:
    calls = json.loads((ECS / "_generated" / f"{policy.name}.json").read_text())["calls"]
    resources = json.loads((ECS / "_generated" / f"{policy.name}.template.json").read_text())["Resources"]
    kinds = {"RegisterScalableTarget": "ScalableTarget", "PutScalingPolicy": "ScalingPolicy", "PutMetricAlarm": "Alarm"}
    wanted = sorted(kinds[call["operation"]] for call in calls)
    assert sorted(resource["Type"].rpartition(":")[2] for resource in resources.values()) == wanted
    target = resources["Target"]["Properties"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (policy.minimum, policy.maximum)
    for resource in resources.values():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            (action,) = resource["Properties"]["AlarmActions"]
            assert resources[action["Ref"]]["Type"] == "AWS::ApplicationAutoScaling::ScalingPolicy"
    assert "${" not in json.dumps({name: one for name, one in resources.items() if name != "Target"})


def test_ecs_scales_the_services_that_have_a_policy_and_leaves_them_their_number() -> None:
    resources = ecs()["Resources"]
    services = {
        one["Properties"]["ServiceName"]: one["Properties"]
        for one in resources.values()
        if one["Type"] == "AWS::ECS::Service"
    }
    nested = {
        Path(one["Properties"]["TemplateURL"]).name
        for one in resources.values()
        if one["Type"] == "AWS::CloudFormation::Stack"
    }
    assert nested == {f"{policy.name}.template.json" for policy in POLICIES}
    for name, service in services.items():
        scaled = any(policy.workload.name == name for policy in POLICIES)
        assert ("DesiredCount" in service) != scaled, name
        assert service["DeploymentConfiguration"]["MaximumPercent"] == 125, (
            "the database's cap counts on a quarter more"
        )
    for resource in ecs()["Resources"].values():
        if resource["Type"] == "AWS::ECS::TaskDefinition":
            properties = resource["Properties"]
            assert sum(one["Memory"] for one in properties["ContainerDefinitions"] if "Memory" in one) <= int(
                properties["Memory"]
            )


def test_ecs_starts_the_same_processes_hardened_and_with_time_to_leave() -> None:
    found = tasks()
    for job in ("api", "worker", "payments"):
        started(found[job]["Command"], job)
        port = next(iter(PARTS[job].ports.values()))
        assert found[job]["PortMappings"] == [{"ContainerPort": port}]
        assert f"127.0.0.1:{port}/livez" in " ".join(found[job]["HealthCheck"]["Command"])
        assert found[job]["StopTimeout"] >= PARTS[job].stop_grace_s
        given = {one["Name"].removeprefix("SIGNALBOX_SECRET_").lower() for one in found[job]["Secrets"]}
        assert given == SECRETS
        assert {"Name": "SIGNALBOX_SECRETS", "Value": "environment"} in found[job]["Environment"]
    for name, container in found.items():
        assert container["ReadonlyRootFilesystem"] is True, name
        assert container["User"] == "10001:10001"


# Cloud Run


@cache
def schema() -> Document:
    return dict(json.loads((ROOT / "tests" / "schemas" / "cloudrun-v1.json").read_text()))


def is_valid(document: Document) -> list[str]:
    reference = schema()["kinds"][f"{document['apiVersion']}/{document['kind']}"]
    validator = jsonschema.Draft7Validator({**reference, "definitions": schema()["definitions"]})
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(document)]


def test_cloud_run_takes_the_documents() -> None:
    assert {name: is_valid(document) for name, document in cloud_run().items()} == {
        "api": [],
        "payments": [],
        "worker": [],
    }


@pytest.mark.parametrize("path", [("spec", "templates"), ("spec", "template", "spec", "concurrency")])
def test_the_description_refuses_what_cloud_run_would(path: tuple[str, ...]) -> None:
    document = json.loads(json.dumps(cloud_run()["api"]))
    node = document
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = 1
    assert is_valid(document)


def test_cloud_run_starts_the_same_processes_and_asks_them_the_same() -> None:
    for job in ("api", "worker", "payments"):
        container = containers(job)[job]
        started(container["command"], job)
        port = next(iter(PARTS[job].ports.values()))
        for probe, path in PROBES.items():
            assert container[probe]["httpGet"] == {"path": path, "port": port}, (job, probe)
        secrets = {
            one["name"].removeprefix("SIGNALBOX_SECRET_").lower() for one in container["env"] if "valueFrom" in one
        }
        assert secrets == SECRETS


def test_cloud_run_gets_its_numbers_from_the_policy() -> None:
    [policy] = [policy for policy in POLICIES if policy.name == "api"]
    annotations = cloud_run()["api"]["metadata"]["annotations"]
    assert annotations["run.googleapis.com/maxScale"] == str(policy.maximum)
    assert annotations["run.googleapis.com/minScale"] == str(policy.minimum)


def test_only_the_gateway_can_be_reached_from_outside() -> None:
    assert [name for name, one in containers("api").items() if "ports" in one] == ["gateway"]
    assert cloud_run()["payments"]["metadata"]["annotations"]["run.googleapis.com/ingress"] == "internal"


def test_no_password_stands_in_a_template() -> None:
    for path in [ECS / "signalbox.yaml", *CLOUD_RUN.glob("*.yaml")]:
        assert not re.search(r"://[^/\s@$]*:[^/\s@]+@", path.read_text()), path
