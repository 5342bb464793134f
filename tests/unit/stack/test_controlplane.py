"""What the control plane is made of, and the kubelet's bookkeeping, without starting anything."""

from __future__ import annotations

import os
import re
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient

from slo.emit.scaling.hpa import emit_adapter_rules
from slo.parse.tree import parse_definitions
from stack.backends import load_pins
from stack.backends.job import Unavailable
from stack.backends.machine import version_of
from stack.components import base_ports, components
from stack.controlplane import documents, programs
from stack.controlplane.certificates import MASTERS, Authority
from stack.controlplane.cluster import path_of
from stack.controlplane.external import add_external_metrics, parse_rules, query_of
from stack.controlplane.kubelet import numbered
from stack.controlplane.plane import PORTS
from stack.controlplane.usage import GROUP, Meter, PodUsage, build_app, serving
from stack.layout import HIGHEST_BASE_PORT

ROOT = Path(__file__).parent.parent.parent.parent
PINS = programs.pins()
API = next(policy for policy in parse_definitions(ROOT / "slo" / "definitions").scaling if policy.name == "api")


GIVEN_UP_AFTER_MS = 50_000  # --node-monitor-grace-period of the controller manager, as it comes


def test_the_stack_itself_never_gets_a_control_plane() -> None:
    assert list(PINS) == ["etcd", "kubernetes", "kwok", "keda"]
    assert not set(PINS) & set(load_pins())
    assert not set(PINS) & {part.backend for part in components()}


@pytest.mark.parametrize("pin", PINS.values(), ids=PINS)
def test_the_recipe_requires_the_pinned_module_and_offers_the_pinned_programs(pin) -> None:
    recipe = (pin.build.recipe / "go.mod").read_text()
    assert re.search(
        rf"{re.escape(pin.build.module)} {re.escape(pin.build.module_version)}( // indirect)?$", recipe, re.MULTILINE
    )
    assert (pin.build.recipe / "go.sum").is_file()
    assert set(pin.build.packages) == set(pin.executables)
    assert pin.accepts(pin.version)
    for package in pin.build.packages.values():
        assert package == "." or re.search(rf"^(tool |\t){re.escape(package)}$", recipe, re.MULTILINE), package


def test_a_program_that_cannot_be_asked_is_read(tmp_path: Path) -> None:
    program = tmp_path / "keda-operator"
    program.write_bytes(b"\x7fELF\0dep\tgithub.com/kedacore/keda/v2\tv2.21.0\th1:abc=\n\0")
    assert version_of(PINS["keda"], program) == "2.21.0"
    program.write_bytes(b"\x7fELF nothing of the kind")
    with pytest.raises(Unavailable, match="does not state its version"):
        version_of(PINS["keda"], program)


def test_its_ports_are_nobody_elses() -> None:
    ports = [*PORTS.values(), *base_ports(components(40)).values()]
    assert len(ports) == len(set(ports))
    assert max(PORTS.values()) <= HIGHEST_BASE_PORT


def test_certificates_are_signed_and_private(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "certificates")
    authority.issue("admin", common_name="admin", organisation=MASTERS)
    authority.issue("server", common_name="server", hosts=("localhost", "127.0.0.1"))
    context = ssl.create_default_context(cafile=authority.certificate)
    for name in ("admin", "server"):
        context.load_cert_chain(authority.folder / f"{name}.crt", authority.folder / f"{name}.key")
        assert os.stat(authority.folder / f"{name}.key").st_mode & 0o077 == 0


def test_who_stays_keeps_its_number_and_nobody_is_beyond_the_last() -> None:
    assert numbered({}, ["a", "b"]) == {"a": 1, "b": 2}
    assert numbered({"a": 1, "b": 2}, ["b", "a", "c"]) == {"b": 2, "a": 1, "c": 3}
    assert numbered({"a": 1, "b": 2, "c": 3}, ["b", "c"]) == {"b": 2, "c": 1}
    assert numbered({"a": 1}, []) == {}


def test_a_pod_asks_for_what_its_policy_calls_its_capacity() -> None:
    document = documents.deployment(API, 2)
    (container,) = document["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"] == {"cpu": "1", "memory": str(512 * 2**20)}
    assert path_of(document) == "/apis/apps/v1/namespaces/signalbox/deployments/api"


def test_kwok_makes_a_pod_ready_only_when_its_process_is() -> None:
    stages = {
        each["metadata"]["name"]: each for each in yaml.safe_load_all((programs.FOLDER / "stages.yaml").read_text())
    }
    wanted = {"key": '.metadata.annotations["signalbox.dev/process"]', "operator": "In", "values": ["ready"]}
    assert wanted in stages["pod-ready"]["spec"]["selector"]["matchExpressions"]
    assert {"node-initialize", "pod-unready", "pod-delete"} <= set(stages)
    # Seen: a node that the controllers had given up at the wrong moment stayed so for ten minutes, and its pods waited.
    heartbeat = stages["node-heartbeat-with-lease"]["spec"]["delay"]
    assert heartbeat["durationMilliseconds"] < heartbeat["jitterDurationMilliseconds"] < GIVEN_UP_AFTER_MS / 2


def test_usage_is_told_as_metrics_server_tells_it() -> None:
    usage = PodUsage("api-x", "signalbox", "api", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), 0.25, 100 * 2**20)
    client = TestClient(build_app(lambda: [usage]))
    assert client.get(f"/apis/{GROUP}").json()["groupVersion"] == GROUP
    (found,) = client.get(f"/apis/{GROUP}/namespaces/signalbox/pods").json()["items"]
    assert found["containers"] == [{"name": "api", "usage": {"cpu": "250000000n", "memory": "102400Ki"}}]
    assert found["timestamp"] == "2026-01-02T03:04:05Z"
    assert client.get(f"/apis/{GROUP}/namespaces/other/pods").json()["items"] == []


def test_the_meter_tells_nothing_of_what_it_read_once() -> None:
    meter = Meter()
    meter.read({1: os.getpid()})
    assert meter.figures(1) is None
    meter.read({1: os.getpid()})
    cores, resident = meter.figures(1) or (-1.0, 0)
    assert cores >= 0
    assert resident > 2**20
    meter.read({})
    assert meter.figures(1) is None


def test_external_metrics_follow_the_rules_generated_for_the_adapter() -> None:
    rules = parse_rules(emit_adapter_rules(clock=6))
    assert set(rules) == {"scaling_pressure_ratio", "scaling_floor_replicas"}
    query = query_of(rules["scaling_pressure_ratio"], "policy=api")
    assert query.startswith('max by (policy) (scaling:pressure:ratio{policy="api"} and')
    assert query.endswith("< 10))")


@pytest.mark.parametrize("selector", ["policy in (api)", 'policy=a"} or up{', "=x", "policy"])
def test_a_selector_of_anything_but_equalities_is_refused(selector: str) -> None:
    with pytest.raises(ValueError, match="not a selector of equalities"):
        query_of("up{<<.LabelMatchers>>}", selector)


def test_what_prometheus_does_not_say_is_an_error_and_never_zero() -> None:
    app = build_app(lambda: [])
    add_external_metrics(app, "http://127.0.0.1:9", {"pressure": "up{<<.LabelMatchers>>}"})
    client = TestClient(app)
    group = "/apis/external.metrics.k8s.io/v1beta1"
    assert client.get(f"{group}/namespaces/signalbox/pressure?labelSelector=policy%3Dapi").status_code == 503
    assert client.get(f"{group}/namespaces/signalbox/other").status_code == 404
    assert [each["name"] for each in client.get(group).json()["resources"]] == ["pressure"]


def test_usage_is_served_under_the_name_that_the_api_server_asks_for(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "certificates")
    authority.issue("usage", common_name="usage", hosts=("localhost", documents.USAGE_HOST))
    context = ssl.create_default_context(cafile=authority.certificate)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (
        serving(build_app(lambda: []), port, authority.folder / "usage.crt", authority.folder / "usage.key"),
        socket.create_connection(("127.0.0.1", port), timeout=5) as raw,
        context.wrap_socket(raw, server_hostname=documents.USAGE_HOST) as connection,
    ):
        connection.sendall(f"GET /apis/{GROUP} HTTP/1.0\r\n\r\n".encode())
        assert connection.recv(20).startswith(b"HTTP/1.1 200")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
