"""The stack as containers: what each may do, what the host is given, and that nothing but the gateway leads out."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import httpx
import pytest

from stack.components import components
from stack.container.addresses import published
from stack.container.engine import Engine
from stack.layout import Layout
from stack.native.launch import Wish
from tests.acceptance.backends import Backends, eventually
from tests.conftest import ROOT, Stack, container_of

pytestmark = pytest.mark.compose_only
LOOPBACK = "127.0.0.1"
PAGES = ("pager", "prometheus", "alertmanager", "jaeger")


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(scope="module")
def containers(stack: Stack) -> dict[str, dict[str, Any]]:
    """What the engine tells of every running container, by service."""
    project = Engine(Layout(ROOT, stack.state_dir, stack.port_offset)).project
    ids = docker("ps", "--quiet", "--filter", f"label=com.docker.compose.project={project}").split()
    found = json.loads(docker("inspect", *ids))
    return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}


def read(container: dict[str, Any], path: str) -> str:
    """A file of the container's first process, as the kernel of this machine tells it."""
    with open(f"/proc/{container['State']['Pid']}/{path}") as file:
        return file.read()


def test_every_component_runs_in_a_container(containers: dict[str, dict[str, Any]]) -> None:
    assert {part.name for part in components() if not part.optional} | {"loopback"} <= set(containers)


def test_every_process_is_without_root_capabilities_and_a_way_to_gain_them(
    containers: dict[str, dict[str, Any]],
) -> None:
    """Promise 12, asked of the kernel."""
    for name, container in containers.items():
        status = dict(line.split(":\t", 1) for line in read(container, "status").splitlines() if ":\t" in line)
        assert "0" not in status["Uid"].split(), name
        assert (status["CapEff"], status["CapPrm"], status["CapInh"]) == ("0" * 16,) * 3, name
        assert int(status["CapBnd"], 16) == (1 << 10 if name == "gateway" else 0), name
        assert status["NoNewPrivs"] == "1", name
        assert status["Seccomp"] == "2", name


def test_every_root_is_read_only_and_every_size_has_a_limit(containers: dict[str, dict[str, Any]]) -> None:
    for name, container in containers.items():
        root = next(line for line in read(container, "mounts").splitlines() if line.split()[1] == "/")
        assert "ro" in root.split()[3].split(","), name
        host = container["HostConfig"]
        assert host["Memory"] > 0, name
        assert host["PidsLimit"] > 0, name
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}, name
        assert not host["Privileged"], name


def test_the_host_is_given_ports_at_loopback_only(containers: dict[str, dict[str, Any]]) -> None:
    """Promise 11: only the gateway may listen elsewhere, and was not asked to."""
    given = {
        (name, binding["HostIp"])
        for name, container in containers.items()
        for bindings in container["HostConfig"]["PortBindings"].values()
        for binding in bindings
    }
    assert given == {("gateway", LOOPBACK), ("loopback", LOOPBACK)}
    ports = {port for one in containers.values() for port in one["HostConfig"]["PortBindings"]}
    assert ports == {f"{port}/tcp" for port in published().values()}


def test_nothing_but_the_gateway_knows_a_way_out(containers: dict[str, dict[str, Any]]) -> None:
    """No default route, so not even a name server outside can be asked; the host's way in has one, untranslated.

    Engines before 25 give every container a default route: there the firewall drops what takes it.
    """
    leads_out = {
        name
        for name, container in containers.items()
        for line in read(container, "net/route").splitlines()[1:]
        if line.split()[1] == "00000000"
    }
    assert leads_out >= {"gateway", "loopback"}
    for name in leads_out - {"gateway", "loopback"}:
        for network in containers[name]["NetworkSettings"]["Networks"]:
            assert_dropped(network)
    [network] = [one for one in containers["loopback"]["NetworkSettings"]["Networks"] if one.endswith("_loopback")]
    options = json.loads(docker("network", "inspect", network))[0]["Options"]
    assert options == {"com.docker.network.bridge.enable_ip_masquerade": "false"}


def assert_dropped(network: str) -> None:
    """Nothing leaves this network and nothing comes in, whatever routes say."""
    [told] = json.loads(docker("network", "inspect", network))
    assert told["Internal"], network
    bridge, subnet = f"br-{told['Id'][:12]}", told["IPAM"]["Config"][0]["Subnet"]
    rules = subprocess.run(["iptables", "-S"], capture_output=True, text=True, check=True).stdout
    assert f"! -d {subnet} -i {bridge} -j DROP" in rules, network
    assert f"! -s {subnet} -o {bridge} -j DROP" in rules, network


@pytest.mark.parametrize("host", ["postgres", "valkey", "loopback"])
def test_the_data_cannot_be_reached_by_who_has_no_use_for_it(stack: Stack, host: str) -> None:
    """Nor through the host's way in, which shares a network with both sides."""
    code = f"import socket; [socket.create_connection(({host!r}, port), 2) for port in (15432,)]"
    done = subprocess.run(
        ["docker", "exec", container_of(stack, "pager"), "python", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    said = done.stderr
    assert any(why in said for why in ("refused", "Name or service not known", "resolution", "timed out")), said


def test_no_password_is_in_what_the_engine_tells(stack: Stack, containers: dict[str, dict[str, Any]]) -> None:
    passwords = {name: stack.secret(name) for name in ("database_password", "postgres_password", "valkey_password")}
    told = json.dumps(list(containers.values()))
    assert [name for name, password in passwords.items() if password in told] == []
    assert all(len(password) >= 32 for password in passwords.values())


@pytest.mark.parametrize("name", PAGES)
def test_a_person_on_the_host_reaches_the_pages(stack: Stack, name: str) -> None:
    # A Prometheus that was built from its module has no page of its own, so it is asked for what every one has.
    page = f"{stack.urls[name]}/-/ready" if name == "prometheus" else stack.urls[name]
    assert httpx.get(page, follow_redirects=True, timeout=10).status_code in (200, 404)


def test_the_log_command_prints_what_a_container_said(stack: Stack) -> None:
    httpx.get(f"{stack.urls['gateway']}/v1/nothing-of-the-kind")
    said = stack.signalbox("logs", "gateway", "-n", "5")
    assert said.returncode == 0, said.stderr
    assert len(said.stdout.splitlines()) == 5
    refused = stack.signalbox("logs", "no-such-part")
    assert refused.returncode == 2
    assert "there is no log of 'no-such-part'" in refused.stderr


@pytest.mark.parametrize(("name", "said"), [("valkey", "Ready to accept connections"), ("postgres", "ready to accept")])
def test_the_lines_of_a_server_that_is_not_ours_reach_loki(backends: Backends, name: str, said: str) -> None:
    """Said at its start, which was at the beginning of this run or, where the stack was up before, of this day."""
    asked = f'{{service_name="{name}"}} |= "{said}"'
    eventually(lambda: backends.logs(asked, since_s=86_400), f"what {name} says when it has started", within_s=30)


def test_the_queue_can_be_looked_into(stack: Stack) -> None:
    listed = stack.signalbox("jobs", "list")
    assert listed.returncode == 0, listed.stderr


def test_a_process_of_the_host_does_to_containers_what_a_fault_asks_for(stack: Stack) -> None:
    """One is paused and goes on, another is killed and comes back; whoever did that is the host's own process."""

    def status(service: str) -> str:
        return docker("inspect", "--format", "{{.State.Status}}", container_of(stack, service, every=True)).strip()

    for fault, service, broken in (("stop-process", "jaeger", "paused"), ("kill-process", "valkey", "exited")):
        on = stack.signalbox("fault", "set", fault, "--param", f"component={service}")
        assert on.returncode == 0, on.stderr
        assert status(service) == broken
        assert stack.signalbox("fault", "clear", fault).returncode == 0
        eventually(lambda name=service: stack.component(name)["state"] == "ready", f"{service} again", within_s=40)


def test_what_the_form_cannot_do_is_said_so(stack: Stack) -> None:
    refused = stack.signalbox("up", "--replicas", "3")
    assert refused.returncode == 2
    assert "--form native" in refused.stderr
    refused = stack.signalbox("up", "--form", "native")
    assert refused.returncode == 1
    assert "the stack runs in its compose form" in refused.stderr


def test_the_profile_load_sends_what_it_says(stack: Stack) -> None:
    engine, wish = Engine(Layout(ROOT, stack.state_dir, stack.port_offset)), Wish(clock=stack.clock)
    done = subprocess.run(
        engine.compose(wish, "run", "--rm", "--no-deps", "-T", "load"),
        env={**engine.variables(wish), "SIGNALBOX_LOAD_S": "6", "SIGNALBOX_LOAD_PER_S": "20"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    [result] = (document["result"] for document in map(json.loads, done.stdout.splitlines()) if "result" in document)
    assert result["answered"] == result["sent"] > 60, result
    assert {status for route in result["routes"].values() for status in route["statuses"]} <= {"200", "201"}, result
