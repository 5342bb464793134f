"""A whole process with no backend behind it: it starts, tells what it misses, drains, and leaves in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from bench.ports import free_port

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[3]
DRAIN_S = 1.5


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGNALBOX_")}
    nobody = f"postgresql+asyncpg://signalbox:hunter2@127.0.0.1:{free_port()}/signalbox"
    ours = {"DATABASE_URL": nobody, "OTLP_URL": "", "DRAIN_S": str(DRAIN_S), "SIGN_IN": "off", **changes}
    return kept | {f"SIGNALBOX_{name}": value for name, value in ours.items()}


def probe(client: httpx2.Client, path: str, wanted: int, within_s: float = 60) -> httpx2.Response:
    """Ask until the answer has the wanted status."""
    deadline, seen = time.monotonic() + within_s, "no answer"
    while time.monotonic() < deadline:
        try:
            answer = client.get(path)
            if answer.status_code == wanted:
                return answer
            seen = f"{answer.status_code} {answer.text}"
        except httpx2.TransportError as error:
            seen = repr(error)
        time.sleep(0.02)
    raise AssertionError(f"{path} did not answer {wanted} within {within_s:g} s; last seen: {seen}")


@pytest.fixture
def payments(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx2.Client]]:
    port = free_port()
    with (tmp_path / "payments.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "payments", "--port", str(port)],
            cwd=ROOT,
            env=environment(),
            stdout=log,
            stderr=log,
        )
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            try:
                probe(client, "/livez", 200)
                yield process, client
            finally:
                process.kill()
                process.wait()


def test_a_process_says_what_it_misses_drains_and_leaves(
    payments: tuple[subprocess.Popen[bytes], httpx2.Client], tmp_path: Path
) -> None:
    process, client = payments
    assert client.get("/startupz").status_code == 200
    assert client.get("/readyz").json() == {"status": "failing", "failing": {"postgres": "DatabaseUnreachable"}}
    assert "signalbox_build_info" in client.get("/metrics").text

    charge = {"order_id": "0b8f7f0e-5a0c-4d5f-9a5e-2f6f3f0d7c11", "amount_cents": 1, "currency": "EUR"}
    answer = client.post("/v1/charges", json=charge)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:signalbox:problem:database-unavailable")
    assert answer.json()["trace_id"] == answer.headers["x-trace-id"]

    told = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert probe(client, "/readyz", 503, within_s=DRAIN_S).json()["status"] in ("draining", "failing")
    while time.monotonic() < told + DRAIN_S * 0.8:  # the door stays open while the gateway takes the process out
        assert client.get("/livez").status_code == 200
        time.sleep(0.05)
    assert client.get("/readyz").json()["status"] == "draining"
    assert process.wait(timeout=20) == 0
    assert time.monotonic() - told >= DRAIN_S
    assert "hunter2" not in (tmp_path / "payments.log").read_text()


def test_a_second_signal_skips_the_wait(payments: tuple[subprocess.Popen[bytes], httpx2.Client]) -> None:
    process, client = payments
    process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + DRAIN_S
    while client.get("/readyz").json()["status"] != "draining":
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0


def test_a_successor_takes_over_the_port_and_nobody_is_refused(tmp_path: Path) -> None:
    port, env = free_port(), environment(SHARE_PORT="on", DRAIN_S="0.5")
    with (tmp_path / "payments.log").open("wb") as log:

        def start() -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "service", "payments", "--port", str(port)]
            return subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)

        def listens(process: subprocess.Popen[bytes]) -> bool:
            found = psutil.Process(process.pid).net_connections(kind="tcp")
            return any(one.status == psutil.CONN_LISTEN for one in found)

        def ask() -> int:
            try:
                return httpx2.get(f"http://127.0.0.1:{port}/livez", timeout=10).status_code
            except httpx2.TransportError:  # it stood in line with the one that left; callers ask again, as the api does
                return httpx2.get(f"http://127.0.0.1:{port}/livez", timeout=10).status_code

        first = start()
        processes = [first]
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
                probe(client, "/livez", 200)
            processes.append(start())
            while not listens(processes[1]):
                assert ask() == 200
                assert processes[1].poll() is None
            first.send_signal(signal.SIGTERM)
            while first.poll() is None:
                assert ask() == 200
            assert first.returncode == 0
            assert ask() == 200
        finally:
            for process in processes:
                process.kill()
                process.wait()
