"""What the real collector gives up is counted under the names that the alert TelemetryDropping asks for."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import httpx
import yaml

from bench.ports import free_port
from bench.promises.collector import find_binary
from stack.backends.resolve import Absent
from tests.conftest import ROOT, missing_backend

RULES = ROOT / "observability/prometheus/rules/stack.yaml"
CONFIG = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{otlp}"}}}}}}}}
exporters:
  otlp_grpc/jaeger:  # nobody listens there, and the queue holds one request
    endpoint: 127.0.0.1:{nobody}
    tls: {{insecure: true}}
    retry_on_failure: {{max_elapsed_time: 0s}}
    sending_queue: {{queue_size: 1, num_consumers: 1}}
  otlp_http/loki:
    endpoint: http://127.0.0.1:{nobody}
    sending_queue: {{enabled: false}}
    retry_on_failure: {{enabled: false}}
service:
  telemetry:
    logs: {{level: fatal}}
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_grpc/jaeger]}}
    logs: {{receivers: [otlp], exporters: [otlp_http/loki]}}
"""
SPAN = {"traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7", "name": "lost", "kind": 2}
SENT = {
    "traces": {"resourceSpans": [{"scopeSpans": [{"spans": [SPAN]}]}]},
    "logs": {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "lost"}}]}]}]},
}
WANTED = ("otelcol_exporter_enqueue_failed_spans", "otelcol_exporter_send_failed_log_records")


def test_losses_of_the_collector_have_the_names_that_the_alert_reads(tmp_path: Path) -> None:
    try:
        binary = find_binary()
    except Absent as absent:
        missing_backend(str(absent))
    asked = " ".join(rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"])
    assert all(f"rate({name}[" in asked for name in WANTED)

    ports = {name: free_port() for name in ("otlp", "metrics", "nobody")}
    config = tmp_path / "collector.yaml"
    config.write_text(CONFIG.format(**ports))
    process = subprocess.Popen(
        [str(binary), "--config", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        counted: dict[str, float] = {}
        deadline = time.monotonic() + 20
        while not all(counted.get(name, 0) > 0 for name in WANTED):
            assert time.monotonic() < deadline, f"counted so far: {counted}"
            try:
                for signal, document in SENT.items():
                    httpx.post(f"http://127.0.0.1:{ports['otlp']}/v1/{signal}", json=document, timeout=2)
                text = httpx.get(f"http://127.0.0.1:{ports['metrics']}/metrics", timeout=2).text
            except httpx.TransportError:
                time.sleep(0.1)
                continue
            samples = [line for line in text.splitlines() if not line.startswith("#")]
            counted = {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in samples}
    finally:
        process.terminate()
        process.wait(10)
