"""Bad days of the native stack: things die, people type twice."""

from __future__ import annotations

import json
import os
import signal

import httpx
import psutil
import pytest

from tests.acceptance.backends import eventually
from tests.conftest import Stack


@pytest.mark.parametrize("name", ["payments", "collector", "valkey"])
def test_a_part_that_is_killed_is_seen_and_comes_back(stack: Stack, name: str) -> None:
    before = stack.component(name)
    os.kill(before["pid"], signal.SIGKILL)

    def back() -> bool:
        part = stack.component(name)
        return part["state"] == "ready" and part["pid"] not in (None, before["pid"])

    eventually(back, f"{name} ready again", within_s=40, every_s=0.5)
    eventually(lambda: stack.status()["ready"], "the stack ready again", within_s=20, every_s=0.5)


def test_a_second_up_says_so_and_changes_nothing(stack: Stack) -> None:
    before = {part["name"]: part["pid"] for part in stack.status()["components"]}
    again = stack.signalbox("up", "--clock", str(stack.clock))
    assert again.returncode == 0, again.stderr
    assert {part["name"]: part["pid"] for part in stack.status()["components"]} == before


@pytest.mark.native_only(
    reason="reads the sockets of processes; tests/acceptance/test_containers.py reads what is published"
)
def test_everything_listens_on_loopback_only(stack: Stack) -> None:
    """Promise 11: only the gateway may listen elsewhere, and was not asked to."""
    pids = {part["pid"] for part in stack.status()["components"] if part["pid"]}
    family = pids | {child.pid for pid in pids for child in psutil.Process(pid).children(recursive=True)}
    listening = [c for c in psutil.net_connections("inet") if c.pid in family and c.status == psutil.CONN_LISTEN]
    assert len(listening) > 10
    assert not [c for c in listening if c.laddr.ip not in ("127.0.0.1", "::1")]


def test_what_is_for_the_platform_does_not_pass_the_gateway(stack: Stack) -> None:
    for path in ("/metrics", "/internal/faults", "/livez", "/readyz", "/startupz"):
        assert httpx.get(stack.urls["gateway"] + path).status_code == 404, path


def test_status_json_is_the_documented_document(stack: Stack) -> None:
    status = stack.status()
    assert status["ready"] is True
    for part in status["components"]:
        assert set(part) >= {"name", "state", "version", "source", "pid", "url", "detail"}
        assert part["state"] in ("ready", "absent"), part
    names = {part["name"] for part in status["components"]}
    assert names >= {
        "gateway", "api-1", "api-2", "worker", "payments", "postgres", "postgres-replica", "valkey", "collector",
        "prometheus", "alertmanager", "loki", "jaeger", "grafana", "pager",
    }  # fmt: skip
    assert json.dumps(status)


def test_memory_of_everything_is_bounded_after_load(stack: Stack) -> None:
    """Each page counted once (proportional set size where the kernel tells it).

    A stack that has just come up needs 1.2 GiB; this one has the load of the tests before behind it.
    """
    pids = {part["pid"] for part in stack.status()["components"] if part["pid"]}
    total = 0
    for pid in pids:
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            info = member.memory_full_info()
            total += getattr(info, "pss", 0) or info.rss
    assert total < 1.75 * 2**30, f"{total / 2**20:.0f} MiB"
