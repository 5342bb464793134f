"""deploy/ecs and deploy/cloudrun: what the clouds' own descriptions allow, and the same processes as everywhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from service.settings import Settings, find_refusals
from slo.parse.tree import parse_definitions
from stack.components import STEPS, components
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


def every_container() -> list[tuple[str, Document]]:
    """Family and container of every task definition, the collectors beside ours too."""
    return [
        (resource["Properties"]["Family"], container)
        for resource in ecs()["Resources"].values()
        if resource["Type"] == "AWS::ECS::TaskDefinition"
        for container in resource["Properties"]["ContainerDefinitions"]
    ]


def tasks() -> dict[str, Document]:
    """Container → what its task definition says of it, but for the collectors beside it."""
    return {container["Name"]: container for _, container in every_container() if container["Name"] != "collector"}


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
    spec = cloud_run()[name]["spec"]["template"]["spec"]
    if cloud_run()[name]["kind"] == "Job":
        spec = spec["template"]["spec"]
    return {one["name"]: one for one in spec["containers"]}


def secrets_of(container: Document) -> set[str]:
    return {one["name"].removeprefix("SIGNALBOX_SECRET_").lower() for one in container["env"] if "valueFrom" in one}


def started(command: list[str], job: str) -> None:
    part = PARTS[job]
    assert command == [addresses.adapt(word, part.name).format_map(addresses.values({})) for word in part.command]


# ECS


def cfn_lint(*words: str) -> subprocess.CompletedProcess[str]:
    """The pipeline's own, with the version that it pins; `make test` sees to it."""
    places = [str(ROOT / ".venv" / "pipeline" / "bin"), os.environ["PATH"]]
    program = shutil.which("cfn-lint", path=os.pathsep.join(places))
    if program is None:
        missing_backend("cfn-lint is not there, so nobody judges CloudFormation's templates: `make scan` gets it")
    assert program
    return subprocess.run([program, *words], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)


def test_cloudformation_takes_the_templates() -> None:
    asked = yaml.safe_load((ECS / "cfn-lint.yaml").read_text())
    named = {path for pattern in asked["templates"] for path in ROOT.glob(pattern)}
    assert named == {ECS / "signalbox.yaml", *(ECS / "_generated" / f"{one.name}.template.json" for one in POLICIES)}
    done = cfn_lint("--config-file", str(ECS / "cfn-lint.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_cloudformation_would_refuse_a_mistake(tmp_path: Path) -> None:
    wrong = tmp_path / "signalbox.yaml"
    wrong.write_text((ECS / "signalbox.yaml").read_text().replace("ReadonlyRootFilesystem", "ReadOnlyRootFilesystem"))
    done = cfn_lint("--template", str(wrong))
    assert "ReadOnlyRootFilesystem" in done.stdout
    assert done.returncode != 0


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


def test_every_container_of_ecs_is_hardened() -> None:
    found = every_container()
    assert {container["Name"] for _, container in found} == {*tasks(), "collector"}
    for where in found:
        _, container = where
        assert container["ReadonlyRootFilesystem"] is True, where
        assert container["User"] == "10001:10001", where
        assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}, where
        assert not container.get("Privileged"), where


def test_the_gateways_program_does_without_the_capability_that_its_image_gives_it() -> None:
    """Else the kernel refuses to execute it in a task that drops all of them."""
    steps = (ECS / "gateway.Dockerfile").read_text().split("\n")
    [copied] = [line for line in steps if line.startswith("RUN cp ")]
    assert copied == "RUN cp /usr/bin/caddy /usr/bin/caddy.plain && mv /usr/bin/caddy.plain /usr/bin/caddy"
    ports = [port["ContainerPort"] for port in tasks()["gateway"]["PortMappings"]]
    assert min(ports) >= 1024


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
        "migrate": [],
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
        assert secrets_of(container) == SECRETS


def test_cloud_run_migrates_by_the_command_of_the_step_once_at_a_time_with_the_services_own_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [step] = [step for step in STEPS if step.name == "migrate"]
    migrate = containers("migrate")["migrate"]
    assert migrate["command"] == ["python" if word == "{python}" else word for word in step.command]
    assert migrate["image"] == containers("api")["api"]["image"]
    assert secrets_of(migrate) == SECRETS
    execution = cloud_run()["migrate"]["spec"]["template"]["spec"]
    assert (execution["parallelism"], execution["taskCount"]) == (1, 1)
    plain = {one["name"]: one["value"] for one in migrate["env"] if "value" in one}
    same = {one["name"]: one.get("value") for one in containers("api")["api"]["env"]}
    assert {name for name, text in plain.items() if same[name] != text} == {"SIGNALBOX_OTLP_URL"}
    for name in [name for name in os.environ if name.startswith("SIGNALBOX_")]:
        monkeypatch.delenv(name)
    for name, text in plain.items():
        monkeypatch.setenv(name, text)
    assert find_refusals(Settings()) == []  # type: ignore[call-arg]  # from the environment


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
