"""Canaries and rollouts against a real Prometheus that scrapes two processes, which change their versions."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from slo.cli import app
from slo.parse.tree import parse_definitions
from slo.prometheus import NoPrometheus, Prometheus
from stack.rollout.rollout import News, Plan, Rollout
from tests.conftest import ROOT
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


# The whole rollout, with these two processes as what it rolls


class Ground:
    """The two processes; `good_per_s` and `bad_per_s` are what the new version is like."""

    canary = "api-2"

    def __init__(self, processes: tuple[Process, Process], version: str, good_per_s: int, bad_per_s: int) -> None:
        self.processes, self.version, self.rates = processes, version, (good_per_s, bad_per_s)
        self.stable = processes[0].version
        self.why_not = ""

    def start_canary(self) -> str:
        self.processes[1].start(self.version, *self.rates)
        return self.why_not

    def trouble(self) -> str:
        return ""

    def promote(self, tell: Callable[[str], None]) -> str:
        tell("api-1 follows")
        self.processes[0].start(self.version, *self.rates)
        return ""

    def roll_back(self) -> None:
        for process in self.processes:
            if process.version != self.stable:
                process.start(self.stable)


def rollout(url: str, ground: Ground, tell: Callable[[News], None] = lambda news: None) -> Rollout:
    for process in ground.processes:
        process.start(ground.stable)
    promises = parse_definitions(ROOT / "slo" / "definitions").promises
    checkout = tuple(promise for promise in promises if promise.name == "checkout-availability")
    plan = Plan(ground.version, watch_s=2, patience_s=DEADLINE_S, look_s=1)
    return Rollout(ground, plan, checkout, url, tell)


def test_a_rollout_promotes_a_good_version_to_all(url: str, processes: tuple[Process, Process]) -> None:
    told: list[News] = []
    result = rollout(url, Ground(processes, "11.0.0", 60, 0), told.append).run()
    assert (result.promoted, result.version) == (True, "11.0.0"), result.reason
    assert [process.version for process in processes] == ["11.0.0", "11.0.0"]
    stages = [news.stage for news in told if news.stage != "look"]
    assert stages == ["canary", "promote", "promoted"]


def test_a_rollout_takes_a_bad_version_back_by_itself(url: str, processes: tuple[Process, Process]) -> None:
    told: list[News] = []
    ground = Ground(processes, "12.0.0", 50, 10)
    result = rollout(url, ground, told.append).run()
    assert (result.promoted, result.version) == (False, ground.stable), result.reason
    assert "of the canary's events are bad" in result.reason
    assert [process.version for process in processes] == [ground.stable, ground.stable]
    assert told[-1] == News("rolled back", result.reason)


def test_a_version_that_does_not_come_up_is_taken_back(url: str, processes: tuple[Process, Process]) -> None:
    ground = Ground(processes, "13.0.0", 60, 0)
    ground.why_not = "it crashes"
    result = rollout(url, ground).run()
    assert (result.promoted, result.reason) == (False, "api-2 did not become ready: it crashes")
    assert processes[1].version == ground.stable


def test_who_interrupts_a_rollout_gets_the_old_version_back(url: str, processes: tuple[Process, Process]) -> None:
    def interrupt(news: News) -> None:
        if news.stage == "look":
            raise KeyboardInterrupt

    ground = Ground(processes, "14.0.0", 60, 0)
    with pytest.raises(KeyboardInterrupt):
        rollout(url, ground, interrupt).run()
    assert [process.version for process in processes] == [ground.stable, ground.stable]
