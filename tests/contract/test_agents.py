"""The agents' configuration on real collectors: each trace's spans meet at one gateway, whichever agent they came by.

Runs where a collector has the load-balancing exporter, as the official contrib distribution does; the one that is built
from source has what one machine needs. `SIGNALBOX_AGENT_BIN` names another.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from stack import backends
from tests.acceptance.backends import eventually
from tests.acceptance.service.conftest import free_port
from tests.conftest import ROOT

pytestmark = pytest.mark.processes
AGENT = ROOT / "deploy" / "kubernetes" / "base" / "collector" / "agent.yaml"
TRACES, SPANS = 100, 4


@pytest.fixture(scope="module")
def collector() -> Path:
    """One that can do what agents do."""
    named = os.environ.get("SIGNALBOX_AGENT_BIN")
    found = backends.probe("collector")
    path = Path(named) if named else found.executables["otelcol-contrib"] if found else None
    if path is None or "load_balancing" not in ask(path, "components").stdout:
        pytest.skip("no collector with the load-balancing exporter: SIGNALBOX_AGENT_BIN may name one")
    return path


def ask(collector: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([collector, *words], env=os.environ | env, capture_output=True, text=True, check=False)


class Ports:
    """Where one agent listens."""

    def __init__(self, folder: Path) -> None:
        self.otlp, self.health = free_port(), free_port()
        self.environment = {
            "SIGNALBOX_BIND": "127.0.0.1",
            "SIGNALBOX_PORT_COLLECTOR_HEALTH": str(self.health),
            "SIGNALBOX_PORT_OTLP_GRPC": str(free_port()),
            "SIGNALBOX_PORT_OTLP_HTTP": str(self.otlp),
            "SIGNALBOX_PORT_COLLECTOR_METRICS": str(free_port()),
            "SIGNALBOX_COLLECTOR_DATA": str(folder / f"data-{self.otlp}"),
        }


@contextmanager
def running(collector: Path, log: Path, *configs: str, **env: str) -> Iterator[None]:
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [collector, *(f"--config={config}" for config in configs)], env=os.environ | env, stderr=output
        ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def gateway(port: int) -> dict[str, Any]:
    """Tells what it gets."""
    return {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{port}"}}}},
        "exporters": {"debug": {"verbosity": "detailed"}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["debug"]}},
        },
    }


def send(port: int, trace_id: str) -> None:
    now = time.time_ns()
    span = {
        "traceId": trace_id,
        "spanId": secrets.token_hex(8),
        "name": "tested",
        "kind": 2,
        "startTimeUnixNano": str(now),
        "endTimeUnixNano": str(now + 1000),
    }
    document = {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": [span]}]}]}
    httpx.post(f"http://127.0.0.1:{port}/v1/traces", json=document, timeout=10).raise_for_status()


def healthy(port: int) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/", timeout=2).status_code == 200
    return False


def test_the_agents_file_is_taken_as_it_is(collector: Path, tmp_path: Path) -> None:
    done = ask(collector, "validate", f"--config={AGENT}", **Ports(tmp_path).environment)
    assert (done.returncode, done.stderr) == (0, "")


def test_each_trace_meets_at_one_gateway_whichever_agents_its_spans_came_by(collector: Path, tmp_path: Path) -> None:
    gateways = {free_port(): tmp_path / f"gateway-{number}.log" for number in (1, 2)}
    where = ", ".join(f'"127.0.0.1:{port}"' for port in gateways)
    # In a cluster names lead to the gateways; here they are told.
    told = f"yaml:{{exporters: {{load_balancing: {{resolver: {{dns: null, static: {{hostnames: [{where}]}}}}}}}}}}"
    agents = [Ports(tmp_path) for _ in range(2)]
    with ExitStack() as stack:
        for port, log in gateways.items():
            config = tmp_path / f"{port}.json"
            config.write_text(json.dumps(gateway(port)))
            stack.enter_context(running(collector, log, str(config)))
        for agent in agents:
            log = tmp_path / f"agent-{agent.otlp}.log"
            stack.enter_context(running(collector, log, str(AGENT), told, **agent.environment))
        for agent in agents:
            eventually(lambda agent=agent: healthy(agent.health), "an agent")  # type: ignore[misc]
        trace_ids = [secrets.token_hex(16) for _ in range(TRACES)]
        for number in range(SPANS):
            for trace_id in trace_ids:
                send(agents[number % 2].otlp, trace_id)

        def arrived() -> dict[str, Counter[int]]:
            seen = defaultdict[str, Counter[int]](Counter)
            for port, log in gateways.items():
                for trace_id in re.findall(r"Trace ID\s*: ([0-9a-f]{32})", log.read_text()):
                    seen[trace_id][port] += 1
            return seen

        eventually(lambda: sum(map(Counter.total, arrived().values())) == TRACES * SPANS, "all spans at the gateways")
        met = arrived()
    assert set(met) == set(trace_ids)
    assert {tuple(counts.values()) for counts in met.values()} == {(SPANS,)}, "a trace was divided"
    assert len({port for counts in met.values() for port in counts}) == 2, "one gateway got them all"
