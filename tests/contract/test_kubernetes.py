"""deploy/kubernetes is what the API server takes, and agrees with the components and the scaling policies."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from service.server import FINISH_TIMEOUT_S
from service.settings import Settings, find_refusals
from slo.parse.tree import parse_definitions
from stack import backends
from stack.components import STEPS
from stack.container import addresses
from tests.conftest import missing_backend
from tests.contract.manifests import (
    AGENTS,
    ENVIRONMENTS,
    KUBERNETES,
    OVERLAYS,
    PARTS,
    PINS,
    PROJECT,
    ROOT,
    SCHEMAS,
    SERVICES,
    Manifest,
    build,
    container,
    deployed,
    each_overlay,
    environment,
    labels,
    of_kind,
    pod,
    workloads,
)

# The API server takes it


@cache
def validators() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in SCHEMAS:
        document = json.loads((ROOT / "tests" / "schemas" / f"{name}.json").read_text())
        for kind, reference in document["kinds"].items():
            schema = {**reference, "definitions": document["definitions"]}
            found[kind] = jsonschema.Draft7Validator(schema)
    keda = json.loads((ROOT / "tests" / "schemas" / "keda-scaledobject-2.21.0.json").read_text())
    found["keda.sh/v1alpha1/ScaledObject"] = jsonschema.Draft7Validator(keda)
    return found


@each_overlay
def test_every_manifest_is_what_the_api_server_takes(overlay: str) -> None:
    problems = []
    for manifest in build(overlay):
        validator = validators()[f"{manifest['apiVersion']}/{manifest['kind']}"]
        for error in validator.iter_errors(manifest):
            where = "/".join(map(str, error.absolute_path))
            problems.append(f"{manifest['kind']} {manifest['metadata']['name']} {where}: {error.message}")
    assert not problems


@pytest.mark.parametrize(
    ("kind", "path", "wrong"),
    [
        ("Deployment", ("spec", "template", "spec", "containers", 0, "readynessProbe"), {}),
        ("Deployment", ("spec", "replicas"), "two"),
        ("NetworkPolicy", ("spec", "ingres"), []),
        ("PodDisruptionBudget", ("spec", "unhealthyPodEviction"), "AlwaysAllow"),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "interval"), "soon"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "expression"), "up"),
        ("ExternalSecret", ("spec", "data", 0, "remoteRef", "name"), "x"),
        ("StatefulSet", ("spec", "volumeClaimTemplate"), []),
    ],
)
def test_the_schemas_refuse_what_the_api_server_would(kind: str, path: tuple[Any, ...], wrong: Any) -> None:
    manifest = json.loads(json.dumps(of_kind("prod", kind)[0]))
    node = manifest
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = wrong
    assert not validators()[f"{manifest['apiVersion']}/{kind}"].is_valid(manifest)


# The same components


def test_every_process_of_the_service_is_deployed() -> None:
    assert {"gateway", "api", "worker", "payments", "migrate"} <= set(workloads("prod"))
    assert set(workloads("dev")) == set(workloads("prod")) | {"issuer", "prober"}
    for overlay in ("stage", "aks", "gke"):
        assert set(workloads(overlay)) == set(workloads("prod")), overlay


STORES = {"stage": "aws", "prod": "aws", "aks": "azurekv", "gke": "gcpsm"}


def test_every_store_of_secrets_is_in_an_overlay_and_read_by_a_service_account_that_there_is() -> None:
    found = {}
    for overlay in STORES:
        [store] = of_kind(overlay, "SecretStore")
        found[overlay] = next(iter(store["spec"]["provider"]))
        accounts = {one["metadata"]["name"] for one in of_kind(overlay, "ServiceAccount")}
        assert set(re.findall(r"'serviceAccountRef': {'name': '([\w-]+)'}", str(store))) <= accounts
        [wanted] = of_kind(overlay, "ExternalSecret")
        assert wanted["spec"]["secretStoreRef"]["name"] == store["metadata"]["name"]
    assert found == STORES
    components = {path.name.removeprefix("secrets-") for path in KUBERNETES.glob("components/secrets-*")}
    assert components == {"aws", "azure", "gcp"}
    built = [yaml.safe_load((folder / "kustomization.yaml").read_text()) for folder in OVERLAYS.values()]
    assert {Path(one).name for each in built for one in each["components"]} >= {f"secrets-{one}" for one in components}


def read_settings(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> Settings:
    """As the service reads them."""
    for name in [name for name in os.environ if name.startswith("SIGNALBOX_")]:
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return Settings()  # type: ignore[call-arg]  # the required fields come from the environment


@each_overlay
def test_each_environment_starts_with_its_own_settings(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So production's refusals are heard here already."""
    given = environment(overlay, workloads(overlay)["api"])
    assert given["SIGNALBOX_ENVIRONMENT"] == ENVIRONMENTS[overlay]
    assert find_refusals(read_settings(monkeypatch, given)) == []


@each_overlay
def test_processes_are_started_by_the_same_commands_on_the_same_ports(overlay: str) -> None:
    for part, workload in deployed(overlay):
        if part.backend is None:
            same = [addresses.adapt(word, part.name).format_map(addresses.values({})) for word in part.command]
            command = container(workload)["command"]
            assert command[: len(same)] == same, part.job
            assert command[len(same) :] in ([], ["--host", "0.0.0.0"])
        assert {port["containerPort"] for port in container(workload)["ports"]} == set(part.ports.values())
    [migrate] = [step for step in STEPS if step.name == "migrate"]
    assert container(workloads(overlay)["migrate"])["command"] == [
        "python" if word == "{python}" else word for word in migrate.command
    ]


@each_overlay
def test_processes_get_the_variables_that_their_component_has_and_no_others(overlay: str) -> None:
    by_image = {"SIGNALBOX_VERSION", "SIGNALBOX_REVISION"}
    from_files = {"SIGNALBOX_CURSOR_KEYS", "SIGNALBOX_CLIENT_SECRET"}  # secrets of SIGNALBOX_SECRETS
    for part, workload in deployed(overlay):
        known = {variable for one in PARTS.values() if one.job in SERVICES for variable in one.env} | set(part.env)
        actual = set(environment(overlay, workload))
        assert set(part.env) - by_image - from_files <= actual, part.job
        assert actual <= known | {"SIGNALBOX_SECRETS", "SIGNALBOX_API_DISCOVERY"}, part.job


@each_overlay
def test_no_password_stands_in_a_manifest(overlay: str) -> None:
    text = yaml.safe_dump_all(build(overlay))
    assert not re.search(r"://[^/\s@]*:[^/\s@]+@", text)
    assert not of_kind(overlay, "Secret")


@each_overlay
def test_addresses_name_services_that_there_are(overlay: str) -> None:
    services = {
        (one["metadata"]["name"], one["metadata"]["namespace"], port["port"])
        for one in of_kind(overlay, "Service")
        for port in one["spec"]["ports"]
    }
    for name, workload in workloads(overlay).items():
        for key, text in environment(overlay, workload).items():
            for host, port in re.findall(r"(?:^|[/@ ])([a-z][\w.-]*):(\d+)", text):
                service, _, rest = host.partition(".")
                namespace = rest.removesuffix("svc").strip(".") or "signalbox"
                if namespace in ("signalbox", AGENTS):
                    assert (service, namespace, int(port)) in services, f"{name}: {key}={text}"


@each_overlay
def test_images_are_the_pinned_ones(overlay: str) -> None:
    for name, workload in workloads(overlay).items():
        image = container(workload)["image"]
        pin = {"gateway": "caddy", "collector-agent": "collector", "collector-gateway": "collector"}.get(name)
        if pin:
            assert image == PINS[pin]["image"].format(version=PINS[pin]["version"])
        else:
            assert image.rsplit("/", 1)[-1] == f"signalbox:{PROJECT['version']}"


@each_overlay
def test_probes_ask_what_the_component_answers(overlay: str) -> None:
    for part, workload in deployed(overlay):
        ports = {port["name"]: port["containerPort"] for port in container(workload)["ports"]}
        asked = {
            kind: (probe["httpGet"]["path"], ports[probe["httpGet"]["port"]])
            for kind in ("startupProbe", "livenessProbe", "readinessProbe")
            if (probe := container(workload)[kind])
        }
        own = part.ports[part.probe.port]
        if part.job in SERVICES:
            assert asked == {
                "startupProbe": ("/startupz", own),
                "livenessProbe": ("/livez", own),
                "readinessProbe": ("/readyz", own),
            }
        elif part.job == "prober":
            assert asked["readinessProbe"] == (part.probe.target, own)
        else:
            assert asked["livenessProbe"] == (part.probe.target, own)


@each_overlay
def test_a_pod_has_the_time_to_leave_in_peace(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before SIGTERM, the drain, the requests in hand and the telemetry's flush, less than the kill."""
    settings = read_settings(monkeypatch, environment(overlay, workloads(overlay)["api"]))
    for part, workload in deployed(overlay):
        hook = container(workload).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if part.job in ("api", "payments", "gateway"):
            assert hook >= 5, f"{part.job} is told to stop while others still send to it"
        drain = settings.drain_s if part.job in SERVICES else 0
        least = hook + max(part.stop_grace_s, drain + FINISH_TIMEOUT_S + 5 if part.job in SERVICES else 0)
        assert pod(workload)["terminationGracePeriodSeconds"] >= least, part.job


def test_prometheus_scrapes_every_workload_that_has_metrics_under_its_job() -> None:
    for part, workload in deployed("dev"):
        ports = {port["name"]: port["containerPort"] for port in container(workload)["ports"]}
        name = labels(workload)["app.kubernetes.io/name"]
        assert name == part.job
        scraped = {
            ports[endpoint["port"]]
            for monitor in of_kind("dev", "PodMonitor")
            if name in monitor["spec"]["selector"]["matchExpressions"][0]["values"]
            and monitor["spec"]["jobLabel"] == "app.kubernetes.io/name"
            for endpoint in monitor["spec"]["podMetricsEndpoints"]
        }
        assert scraped == {part.ports[part.metrics]}, part.job


# Scaling


def test_what_keda_scales_is_deployed_and_as_large_as_the_policy_says() -> None:
    found = workloads("prod")
    for policy in parse_definitions(ROOT / "slo" / "definitions").scaling:
        workload = found[policy.workload.name]
        assert workload["metadata"]["namespace"] == policy.workload.namespace
        assert "replicas" not in workload["spec"], "KEDA's number would be reset at every apply"
        requests = container(workload)["resources"]["requests"]
        cpu, memory = policy.driver("cpu"), policy.driver("memory")
        assert cpu is None or float(requests["cpu"]) == cpu.capacity
        assert memory is None or int(requests["memory"].removesuffix("Mi")) * 2**20 == memory.capacity
        surge = workload["spec"]["strategy"]["rollingUpdate"]
        assert surge == {"maxSurge": "25%", "maxUnavailable": 0}, "the database's cap counts on a quarter more"


@pytest.mark.parametrize("form", ["keda", "hpa", "rules"])
def test_the_generated_folders_list_all_that_is_in_them(form: str) -> None:
    folder = KUBERNETES / "_generated" / form
    listed = set(yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"])
    values_of_a_chart = {"prometheus-adapter.yaml"}
    assert listed == {path.name for path in folder.iterdir()} - {"kustomization.yaml"} - values_of_a_chart


def test_the_operator_gets_every_rule_that_prometheus_has() -> None:
    folder = ROOT / "observability" / "prometheus"
    wanted = [yaml.safe_load(path.read_text())["groups"] for path in sorted(folder.glob("*/*.yaml"))]
    given = [manifest["spec"]["groups"] for manifest in of_kind("prod", "PrometheusRule")]
    assert sorted(map(in_order, given)) == sorted(map(in_order, wanted))


def in_order(document: Any) -> str:
    return json.dumps(document, sort_keys=True)


# The collectors


def test_agents_read_lines_as_the_one_collector_does() -> None:
    one = yaml.safe_load((ROOT / "observability" / "collector" / "collector.yaml").read_text())
    agent = yaml.safe_load((KUBERNETES / "base" / "collector" / "agent.yaml").read_text())

    def but_for_the_file(operators: list[Manifest]) -> list[Manifest]:
        return [one for one in operators if one.get("id") not in ("container", "plain", "plain_name")]

    assert but_for_the_file(agent["receivers"]["file_log"]["operators"]) == but_for_the_file(
        one["receivers"]["file_log"]["operators"]
    )


def test_all_spans_of_a_trace_meet_where_it_is_decided_on() -> None:
    agent = yaml.safe_load((KUBERNETES / "base" / "collector" / "agent.yaml").read_text())
    balancing = agent["exporters"]["load_balancing"]
    assert balancing["routing_key"] == "traceID"
    host = balancing["resolver"]["dns"]["hostname"]
    [service] = [one for one in of_kind("prod", "Service") if f"{one['metadata']['name']}.signalbox.svc" == host]
    assert service["spec"]["clusterIP"] == "None"
    assert agent["service"]["pipelines"]["traces"]["exporters"] == ["load_balancing"]
    assert not {name for name in agent["processors"] if name.startswith("tail_sampling")}


@pytest.mark.processes
def test_the_collector_takes_its_file_and_the_one_of_the_gateway_over_it(tmp_path: Path) -> None:
    found = backends.probe("collector")
    if found is None:
        missing_backend("there is no collector to judge its configuration: `signalbox up` gets one")
    assert found
    files = [
        ROOT / "observability" / "collector" / "collector.yaml",
        KUBERNETES / "base" / "collector" / "gateway.yaml",
    ]
    variables = environment("prod", workloads("prod")["collector-gateway"]) | {
        "SIGNALBOX_COLLECTOR_DATA": str(tmp_path)
    }
    done = subprocess.run(
        [found.executables["otelcol-contrib"], "validate", *(word for file in files for word in ("--config", file))],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.processes
def test_the_gateway_finds_replicas_by_name(tmp_path: Path) -> None:
    found = backends.probe("caddy")
    if found is None:
        missing_backend("there is no Caddy to judge its configuration")
    assert found
    done = subprocess.run(
        [found.executables["caddy"], "adapt", "--config", ROOT / "deploy" / "gateway" / "Caddyfile"],
        env=environment("prod", workloads("prod")["gateway"]) | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    proxies = list(handlers(json.loads(done.stdout), "reverse_proxy"))
    assert proxies
    for proxy in proxies:
        assert proxy["dynamic_upstreams"]["name"] == "api.signalbox.svc"
        assert int(proxy["dynamic_upstreams"]["port"]) == PARTS["api"].ports["api-1"]
        assert "upstreams" not in proxy


def handlers(node: Any, kind: str) -> Iterator[Manifest]:
    if isinstance(node, dict):
        if node.get("handler") == kind:
            yield node
        for value in node.values():
            yield from handlers(value, kind)
    elif isinstance(node, list):
        for value in node:
            yield from handlers(value, kind)


def test_the_gateways_pages_are_those_of_the_checkout() -> None:
    static = ROOT / "deploy" / "gateway" / "static"
    mounted = {
        item["path"]
        for volume in pod(workloads("prod")["gateway"])["volumes"]
        for item in volume.get("configMap", {}).get("items", [])
    }
    there = {f"static/{path.relative_to(static)}" for path in static.rglob("*") if path.is_file()}
    assert mounted == there | {"Caddyfile"}
