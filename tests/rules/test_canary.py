"""The canary's judgement against a real Prometheus that scrapes two processes, one of which changes its version."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from slo.cli import app
from slo.prometheus import NoPrometheus, Prometheus
from tests.rules.conftest import find_tool

pytestmark = pytest.mark.processes

DEADLINE_S = 90
WINDOW = "10m"  # longer than the test: what came before is in it, and must not count for the canary
ORDERS = 'http_server_request_duration_seconds_count{http_request_method="POST",http_route="/v1/orders",outcome="%s"}'


class Process:
    """Something to scrape, that counts orders evenly from its start, and can be started anew as another version."""

    def __init__(self, version: str) -> None:
        self.start(version)

    def start(self, version: str, good_per_s: int = 60, bad_per_s: int = 0) -> None:
        self.version, self.rates, self.since = version, {"good": good_per_s, "bad": bad_per_s}, time.monotonic()
        self.told: dict[str, set[int]] = {"good": set(), "bad": set()}

    def exposition(self) -> str:
        elapsed = time.monotonic() - self.since
        lines = [f'signalbox_build_info{{service_name="api",service_version="{self.version}"}} 1']
        for outcome, rate in self.rates.items():
            count = int(rate * elapsed)
            self.told[outcome].add(count)
            lines += [f"{ORDERS % outcome} {count}"] if count else []
        return "\n".join(lines) + "\n"


@contextmanager
def serving(process: Process) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = process.exposition().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Quietly."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def scraping(folder: Path, ports: list[int]) -> Iterator[str]:
    targets = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"job": "api", "instance": f"api-{number}"}}
        for number, port in enumerate(ports, 1)
    ]
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "api", "static_configs": targets}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [str(find_tool("prometheus", "prometheus")), "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    command += [f"--web.listen-address={address}", "--log.level=error"]
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, "GOMAXPROCS": "1"})
    try:
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def processes() -> tuple[Process, Process]:
    return Process("1.0.0"), Process("1.0.0")


@pytest.fixture(scope="module")
def url(processes: tuple[Process, Process], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ExitStack() as parts:
        ports = [parts.enter_context(serving(process)) for process in processes]
        url = parts.enter_context(scraping(tmp_path_factory.mktemp("canary"), ports))
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            try:
                with Prometheus(url) as server:
                    if len(server.query("http_server_request_duration_seconds_count")) == len(processes):
                        break
            except NoPrometheus:
                time.sleep(0.2)
        yield url


def judged(url: str, version: str, *wanted: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document, asked again until the decision is one of these."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        words = ["canary", "--canary", version, "--prometheus", url, "--window", WINDOW, "--json"]
        result = CliRunner().invoke(app, [*words, "--slo", "checkout-availability"])
        document = json.loads(result.stdout)
        if document["decision"] in wanted:
            return result.exit_code, document
        assert time.monotonic() < deadline, document
        time.sleep(0.5)


def test_a_version_that_nobody_runs_cannot_be_told(url: str) -> None:
    code, document = judged(url, "7.0.0", "unknown")
    assert code == 2
    assert document["reason"] == "checkout-availability: the canary has answered nothing yet"


def test_a_good_version_is_promoted_and_its_events_are_counted_to_the_last(
    url: str, processes: tuple[Process, Process]
) -> None:
    processes[1].start("2.0.0")
    code, document = judged(url, "2.0.0", "promote", "roll back")
    assert (code, document["decision"]) == (0, "promote"), document
    (slo,) = document["slos"]
    assert slo["canary"]["bad"] == slo["stable"]["bad"] == 0
    assert slo["canary"]["events"] in processes[1].told["good"], "not what the process said at a scrape"
    assert slo["stable"]["events"] > 0


def test_a_bad_version_is_rolled_back_and_the_good_one_before_it_is_not_blamed(
    url: str, processes: tuple[Process, Process]
) -> None:
    processes[1].start("3.0.0", good_per_s=54, bad_per_s=6)
    code, document = judged(url, "3.0.0", "promote", "roll back")
    assert (code, document["decision"]) == (1, "roll back"), document
    (slo,) = document["slos"]
    assert slo["stable"]["bad"] == 0
    assert slo["canary"]["bad"] in processes[1].told["bad"]
    assert slo["burn_rate"]["least"] > 1
    assert slo["chance_ratio"] < 0.05


def test_a_bad_day_for_everybody_is_not_the_canarys_fault(url: str, processes: tuple[Process, Process]) -> None:
    """Both fail alike, as when what they depend on does: no blame for being worse, and no promotion either."""
    for process, version in zip(processes, ("4.0.0", "5.0.0"), strict=True):
        process.start(version, good_per_s=59, bad_per_s=1)
    deadline = time.monotonic() + DEADLINE_S
    words = ["canary", "--canary", "5.0.0", "--stable", "4.0.0", "--prometheus", url, "--window", WINDOW, "--json"]
    while True:
        result = CliRunner().invoke(app, [*words, "--slo", "checkout-availability", "--most-budget", "1"])
        (slo,) = json.loads(result.stdout)["slos"]
        assert slo["decision"] == "unknown", slo
        if slo["canary"]["events"] > 400 and slo["stable"]["bad"] > 3:
            assert "of the canary's events are bad" in slo["reason"]
            return
        assert time.monotonic() < deadline, slo
        time.sleep(0.5)
