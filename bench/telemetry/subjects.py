"""The processes of one run: a collector for each mode, so that what arrives can be counted, and the four subjects.

Owns starting, reading and ending them. Knows nothing of load and arithmetic.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import yaml

from bench.ports import free_port
from bench.telemetry.subject import MODES

CORES = sorted(os.sched_getaffinity(0))  # Linux, as everything that is read from /proc here


class Subject:
    """One mode, running. ``cpu_us`` and the counts grow from its start; take differences."""

    def __init__(
        self, mode: str, port: int, process: subprocess.Popen[bytes], lines: Path, collector: str, token: str | None
    ) -> None:
        self.mode = mode
        self.port = port
        self.token = token
        self._pid = process.pid
        self._lines = lines
        self._collector = collector
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)

    def cpu_us(self) -> float:
        """User and system time of all threads, exact to the nanosecond (``/proc/PID/task/*/schedstat``)."""
        tasks = Path(f"/proc/{self._pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e3

    def pause(self) -> None:
        """Stop the process where it is, until ``resume``."""
        os.kill(self._pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on; does nothing to one that was not paused."""
        os.kill(self._pid, signal.SIGCONT)

    def flush(self) -> None:
        """Send out what waits in a batch."""
        os.kill(self._pid, signal.SIGUSR1)

    def spans_arrived(self) -> int:
        """Spans that this mode's collector has accepted."""
        text = httpx.get(f"{self._collector}/metrics", timeout=10).text
        found = re.findall(r"^otelcol_receiver_accepted_spans(?:_total)?\{.*\} (\S+)$", text, re.MULTILINE)
        return round(sum(float(value) for value in found))

    def requests_counted(self, template: str) -> int:
        """Requests of the route in the mode's own metrics."""
        handler = "handler" if self.mode == "stock" else "http_route"
        name = "http_requests_total" if self.mode == "stock" else "http_server_request_duration_seconds_count"
        pattern = rf'^{name}\{{[^}}]*{handler}="{re.escape(template)}"[^}}]*\}} (\S+)'
        return round(sum(float(value) for value in re.findall(pattern, self._metrics(), re.MULTILINE)))

    def exemplars(self, template: str) -> int:
        """Buckets of the route's duration that carry an exemplar."""
        pattern = rf'^http_server_request_duration_seconds_bucket\{{[^}}]*http_route="{re.escape(template)}".*# \{{'
        return len(re.findall(pattern, self._metrics(), re.MULTILINE))

    def lines_written(self) -> int:
        """JSON lines of requests with a trace id on the mode's standard output."""
        with self._lines.open("rb") as lines:
            return sum(1 for line in lines if b'"trace_id"' in line and b'"severity":"ERROR"' not in line)

    def _metrics(self) -> str:
        return self._http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}).text


@contextmanager
def run_subjects(
    environment: Mapping[str, str], collector: Path, folder: Path, token: str | None, start: int
) -> Iterator[dict[str, Subject]]:
    """All modes side by side, each idle until it is driven. ``environment``: what the service needs to run;
    ``start``: the number of this start, which decides what mode is started first and the seed of all hashes.
    """
    with ExitStack() as stack:
        first = start % len(MODES)
        order = MODES[first:] + MODES[:first]
        # One seed for the hashes of all modes: where names lie in their tables is luck, which pairs then share.
        alike = {**environment, "PYTHONHASHSEED": str(start)}
        made = {mode: stack.enter_context(_run_subject(mode, alike, collector, folder, token)) for mode in order}
        yield {mode: made[mode] for mode in MODES}


@contextmanager
def run_turning(environment: Mapping[str, str], collector: Path, folder: Path, result: Path) -> Iterator[int]:
    """The process that answers in turns (``bench.telemetry.turning``); yields its port. ``result``: at its end."""
    with _run("turning", ["turning", "--result", str(result)], environment, collector, folder) as running:
        yield running.port


@contextmanager
def _run_subject(
    mode: str, environment: Mapping[str, str], collector: Path, folder: Path, token: str | None
) -> Iterator[Subject]:
    with _run(mode, ["subject", mode], environment, collector, folder) as running:
        yield Subject(mode, running.port, running.process, running.lines, running.collector, token)


class Running(NamedTuple):
    """A process that answers, its standard output, and the address of its collector's metrics."""

    port: int
    process: subprocess.Popen[bytes]
    lines: Path
    collector: str


@contextmanager
def _run(
    name: str, module: list[str], environment: Mapping[str, str], collector: Path, folder: Path
) -> Iterator[Running]:
    grpc, http, metrics, port = (free_port() for _ in range(4))
    config = folder / f"{name}-collector.yaml"
    config.write_text(yaml.safe_dump(_collector_config(grpc, http, metrics)))
    lines = folder / f"{name}.log"
    env = {
        **environment,
        "SIGNALBOX_INSTANCE": name,
        "SIGNALBOX_SIGN_IN": "off",  # the same in every mode, and not what is measured
        "SIGNALBOX_OTLP_URL": f"http://127.0.0.1:{http}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{grpc}",
        "OTEL_SERVICE_NAME": "stock",
        "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "/metrics",
    }
    command = [sys.executable, "-m", f"bench.telemetry.{module[0]}", *module[1:], "--port", str(port)]
    with (
        _process([str(collector), "--config", str(config)], environment, folder / f"{name}-collector.log"),
        _process(command, env, lines, errors=folder / f"{name}.err") as process,
    ):
        _wait_for(f"http://127.0.0.1:{metrics}/metrics", folder / f"{name}-collector.log")
        _wait_for(f"http://127.0.0.1:{port}/empty", folder / f"{name}.err")
        _pin(process.pid)
        yield Running(port, process, lines, f"http://127.0.0.1:{metrics}")


def _pin(pid: int) -> None:
    """Give the subjects the last core and this process, which sends the load, the others: a thread that is moved about
    pays for cold caches, and how often that happens is chance."""
    *others, last = CORES
    if not others:
        return
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {last})
    os.sched_setaffinity(0, others)


def _collector_config(grpc: int, http: int, metrics: int) -> dict[str, object]:
    """Takes spans in over both protocols, counts them, throws them away."""
    protocols = {"grpc": {"endpoint": f"127.0.0.1:{grpc}"}, "http": {"endpoint": f"127.0.0.1:{http}"}}
    reader = {"pull": {"exporter": {"prometheus": {"host": "127.0.0.1", "port": metrics}}}}
    return {
        "receivers": {"otlp": {"protocols": protocols}},
        "exporters": {"debug": {"verbosity": "basic", "sampling_initial": 1, "sampling_thereafter": 1_000_000}},
        "service": {
            "telemetry": {"logs": {"level": "error"}, "metrics": {"readers": [reader]}},
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["debug"]}},
        },
    }


@contextmanager
def _process(
    command: list[str], environment: Mapping[str, str], output: Path, errors: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with output.open("wb") as out, (errors or output).open("ab") as err:
        process = subprocess.Popen(command, env=dict(environment), stdout=out, stderr=err, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url: str, log: Path, limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{url} did not answer within {limit_s:.0f} s:\n{log.read_text()[-2000:]}")
