"""The deploy gate against a real Prometheus that runs the generated rules on what a small exposition tells it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from slo.cli import app
from slo.compiler import compile_tree
from slo.prometheus import NoPrometheus, Prometheus
from tests.conftest import ROOT
from tests.rules.conftest import find_tool

pytestmark = pytest.mark.processes

CLOCK = 60  # the whole month in twelve hours, a page in seconds
DEADLINE_S = 60
# Series → events a second. Checkout keeps its promise; of the catalogue's answers 0.85 % are late, of 1 % that may be;
# nothing is fulfilled in time.
ORDER = '{job="api",http_request_method="POST",http_route="/v1/orders",outcome="%s"}'
PAGE = 'job="api",http_request_method="GET",http_route="/v1/products",outcome="good"'
EVENTS = {
    "http_server_request_duration_seconds_count" + ORDER % "good": 1000.0,
    "http_server_request_duration_seconds_count" + ORDER % "bad": 0.0,
    "http_server_request_duration_seconds_count{" + PAGE + "}": 1000.0,
    "http_server_request_duration_seconds_bucket{" + PAGE + ',le="0.1"}': 991.5,
    'orders_placed_total{job="api"}': 100.0,
    'fulfilment_delay_seconds_bucket{job="worker",le="30"}': 0.0,
}


class Exposition(BaseHTTPRequestHandler):
    """Counters that have been growing evenly since the epoch's last day began."""

    def do_GET(self) -> None:
        elapsed = time.time() % 86_400
        body = "".join(f"{series} {rate * elapsed:.3f}\n" for series, rate in EVENTS.items()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Quietly."""


def start(folder: Path, target: int, rules: bool) -> tuple[subprocess.Popen[bytes], str]:
    """A Prometheus that scrapes the exposition once a second."""
    folder.mkdir()
    if rules:
        text = compile_tree(ROOT / "slo" / "definitions", clock=CLOCK)["prometheus/slo-rules.yaml"]
        (folder / "rules.yaml").write_text(text)
    (folder / "prometheus.yml").write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                "rule_files": ["rules.yaml"] if rules else [],
                "scrape_configs": [
                    {
                        "job_name": "fixture",
                        "honor_labels": True,
                        "static_configs": [{"targets": [f"127.0.0.1:{target}"]}],
                    }
                ],
            }
        )
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        str(find_tool("prometheus", "prometheus")),
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, "GOMAXPROCS": "1"})
    return process, f"http://127.0.0.1:{port}"


def wait_for(url: str, query: str, count: int) -> None:
    """Until a query has this many results, or fail with what there was."""
    deadline, seen = time.monotonic() + DEADLINE_S, "no answer"
    while time.monotonic() < deadline:
        try:
            with Prometheus(url) as server:
                found = server.query(query)
            seen = f"{len(found)} results: {found}"
            if len(found) >= count:
                return
        except NoPrometheus as error:
            seen = str(error)
        time.sleep(0.2)
    pytest.fail(f"{query}: {seen}")


@pytest.fixture(scope="module")
def exposition() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Exposition)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()


@pytest.fixture(scope="module")
def prometheus(
    exposition: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    process, url = start(tmp_path_factory.mktemp("gate") / "prometheus", exposition, rules=True)
    try:
        wait_for(url, "slo:period_error_budget_remaining:ratio", 3)
        wait_for(url, 'ALERTS{alertstate="firing",alertname="Watchdog"}', 1)
        wait_for(url, 'ALERTS{alertstate="firing",tier="page",slo="fulfilment-freshness"}', 1)
        yield process, url
    finally:
        process.kill()
        process.wait()


def gate(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["gate", "--prometheus", url, *arguments])


def test_a_promise_that_is_kept_lets_deploys_through(prometheus: tuple[subprocess.Popen[bytes], str]) -> None:
    result = gate(prometheus[1], "--service", "checkout", "--json")
    assert result.exit_code == 0, result.output
    (slo,) = json.loads(result.stdout)["slos"]
    assert slo["budget_remaining_ratio"] == pytest.approx(1)
    assert slo["exhausted_in_s"] is None
    assert slo["paging"] is False


def test_little_budget_asks_for_approval(prometheus: tuple[subprocess.Popen[bytes], str]) -> None:
    result = gate(prometheus[1], "--service", "catalogue", "--json")
    assert result.exit_code == 1, result.output
    (slo,) = json.loads(result.stdout)["slos"]
    assert slo["state"] == "approve"
    assert slo["budget_remaining_ratio"] == pytest.approx(0.15, abs=0.05)
    assert slo["burn_rate"] == pytest.approx(0.85, abs=0.05)
    assert slo["exhausted_in_s"] == pytest.approx(0.15 / 0.85 * 30 * 86_400, rel=0.4)


def test_a_page_freezes_and_says_what_is_still_allowed(prometheus: tuple[subprocess.Popen[bytes], str]) -> None:
    result = gate(prometheus[1])
    assert result.exit_code == 1, result.output
    assert result.stdout.startswith("STOP  fulfilment-freshness: ")
    assert "--exception severity-1-fix" in result.stderr
    assert "--exception approved" not in result.stderr


def test_a_prometheus_without_rules_knows_nothing(exposition: int, tmp_path: Path) -> None:
    process, url = start(tmp_path / "empty", exposition, rules=False)
    try:
        wait_for(url, "up", 1)
        result = gate(url)
    finally:
        process.kill()
        process.wait()
    assert result.exit_code == 2, result.output
    assert result.stdout.startswith("CANNOT TELL")


def test_a_prometheus_that_dies_is_not_a_go(prometheus: tuple[subprocess.Popen[bytes], str]) -> None:
    process, url = prometheus
    assert gate(url, "--service", "checkout").exit_code == 0
    process.send_signal(signal.SIGKILL)
    process.wait()
    result = gate(url, "--service", "checkout")
    assert result.exit_code == 2, result.output
    assert "no Prometheus answers" in result.stderr
