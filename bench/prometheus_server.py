"""A real Prometheus on loopback: started on a folder, asked, stopped.

Owns its configuration and its own statistics of a query.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from bench.backfill import SCRAPE_S
from bench.ports import free_port


class Server:
    """A Prometheus with a folder of its own; `*.rules.yaml` in it are its rules."""

    def __init__(self, executable: Path, folder: Path, target_port: int) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        config = {
            "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": "1m"},
            "rule_files": ["*.rules.yaml"],
            "scrape_configs": [
                {
                    "job_name": "shop",
                    "honor_labels": True,
                    "static_configs": [{"targets": [f"127.0.0.1:{target_port}"]}],
                }
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        log = (folder / "prometheus.log").open("w")
        self.process = subprocess.Popen(
            [str(executable), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=60d", "--query.timeout=10m"],
            stdout=log, stderr=log,
        )  # fmt: skip
        self._log = folder / "prometheus.log"

    def wait(self) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.url}/-/ready", timeout=2)
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.5)
        raise SystemExit(f"Prometheus did not start:\n{self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    def ask(self, path: str, **form: str) -> dict[str, Any]:
        data = urllib.parse.urlencode(form).encode() if form else None
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", data=data, timeout=660) as answer:
            document: dict[str, Any] = json.load(answer)
        return document["data"]

    def cost(self, expression: str) -> tuple[int, float]:
        """Samples touched and seconds of one evaluation now."""
        stats = self.ask("query", query=expression, stats="all")["stats"]
        return stats["samples"]["totalQueryableSamples"], stats["timings"]["evalTotalTime"]

    def value(self, expression: str) -> float:
        result = self.ask("query", query=expression)["result"]
        return float(result[0]["value"][1]) if result else float("nan")
