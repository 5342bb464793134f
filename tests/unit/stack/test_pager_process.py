"""The pager as a process: killed, restarted, stopped, and started wrongly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.ports import free_port

pytestmark = pytest.mark.processes

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def pager(data: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIGNALBOX_")}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "stack.pager", "--port", str(port)],
            cwd=ROOT,
            env=environment | {"SIGNALBOX_PAGER_DATA": str(data)},
            stdout=output,
            stderr=output,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            deadline = time.monotonic() + 60
            while not answers(client):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield process, client
    finally:
        process.kill()
        process.wait()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def webhook(fingerprint: str) -> dict[str, Any]:
    alert = {
        "status": "firing",
        "labels": {"alertname": "A", "tier": "page"},
        "annotations": {},
        "startsAt": datetime.now(UTC).isoformat(),
        "fingerprint": fingerprint,
    }
    return {"version": "4", "status": "firing", "alerts": [alert]}


def test_pages_answered_with_200_survive_kill_9_and_a_polite_end_is_quick(tmp_path: Path) -> None:
    data, log = tmp_path / "data", tmp_path / "pager.log"
    with pager(data, log) as (process, client):
        for number in range(20):
            assert client.post("/api/v1/alerts", json=webhook(f"f{number}")).status_code == 200
        process.kill()
        process.wait()
    with pager(data, log) as (process, client):
        kept = {page["fingerprint"] for page in client.get("/api/v1/pages").json()["pages"]}
        assert kept == {f"f{number}" for number in range(20)}
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) in (0, -signal.SIGTERM), log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_wrong_start_is_one_line_that_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for data, code, said in ((None, 2, "SIGNALBOX_PAGER_DATA"), (tmp_path / "file", 1, "Check its disk and owner")):
        environment = os.environ | {"SIGNALBOX_PAGER_DATA": str(data or "")}
        ended = subprocess.run(
            [sys.executable, "-m", "stack.pager", "--port", "0"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ended.returncode, said in ended.stderr) == (code, True), ended.stderr
        assert ended.stderr.count("\n") == 1, ended.stderr
