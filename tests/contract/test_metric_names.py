"""The catalogue of the service holds every name that rules and dashboards ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from service.telemetry import catalog

OBSERVABILITY = Path(__file__).parent.parent.parent / "observability"
RECORDED = re.compile(r"(?:slo|scaling|telemetry):.*|up|ALERTS")  # by rules, and by Prometheus itself
# What we ask of others: the backends, the gateway, the pager, the client library. The acceptance tests find each live.
BACKENDS = {
    *("alertmanager_notifications_total", "alertmanager_notifications_failed_total"),
    *("caddy_http_request_duration_seconds_count", "caddy_http_request_duration_seconds_bucket"),
    *("caddy_http_requests_in_flight", "caddy_reverse_proxy_upstreams_healthy"),
    "loki_distributor_lines_received_total",
    *("otelcol_exporter_queue_size", "otelcol_exporter_queue_capacity", "otelcol_process_memory_rss"),
    "otelcol_processor_tail_sampling_global_count_traces_sampled",
    "otelcol_processor_tail_sampling_sampling_trace_dropped_too_early",
    *("otelcol_exporter_enqueue_failed_spans", "otelcol_exporter_send_failed_spans"),
    *("otelcol_exporter_enqueue_failed_log_records", "otelcol_exporter_send_failed_log_records"),
    *("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"),
    *("prometheus_notifications_alertmanagers_discovered", "prometheus_notifications_errors_total"),
    *("prometheus_rule_evaluation_failures_total", "prometheus_rule_group_interval_seconds"),
    *("prometheus_rule_group_last_duration_seconds", "prometheus_tsdb_head_series"),
    "prometheus_tsdb_head_samples_appended_total",
    *("probe_ssl_earliest_cert_expiry", "signalbox_pager_heartbeat_age_seconds"),
}
# A metric is a word with an underscore or colon (or `up`, `ALERTS`) before a selector, a range or the expression's end.
WORD = re.compile(r"(?<![\w:$])([a-zA-Z_:][\w:]*)(?![\w:(])")


def queries() -> Iterator[tuple[str, str]]:
    for path in sorted(OBSERVABILITY.glob("prometheus/*/*.yaml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from ((path.name, rule["expr"]) for rule in group["rules"])
    for path in sorted(OBSERVABILITY.glob("grafana/**/*.json")):
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            asked = [each for each in panel.get("targets", ()) if each["datasource"]["type"] == "prometheus"]
            yield from ((f"{path.name}: {panel['title']}", target["expr"]) for target in asked)
        for note in dashboard["annotations"]["list"]:
            if note["datasource"]["type"] == "prometheus":
                yield f"{path.name}: {note['name']}", note["expr"]
        for variable in dashboard["templating"]["list"]:
            yield (
                f"{path.name}: ${variable['name']}",
                variable["definition"].removeprefix("label_values(").split(",")[0],
            )


def metric_names(expression: str) -> set[str]:
    """Names of the series that a PromQL expression reads."""
    text = re.sub(r"#[^\n]*", "", expression)
    text = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", text)
    text = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", text)
    words = {word for word in WORD.findall(text) if "_" in word or ":" in word or word in ("up", "ALERTS")}
    return {word for word in words if not re.fullmatch(r"group_(?:left|right)", word)}


@pytest.mark.parametrize(("where", "expression"), sorted(set(queries())))
def test_every_name_is_in_the_catalogue_or_somebody_elses(where: str, expression: str) -> None:
    unknown = metric_names(expression) - catalog.series_names() - BACKENDS
    unknown = {name for name in unknown if not RECORDED.fullmatch(name)}
    assert not unknown, f"{where}: {unknown}"


def test_the_reading_of_names_finds_them() -> None:
    expression = 'sum by (http_route) (rate(no_such_total{job="api"}[5m])) / on (job) other_metric  # a comment_here'
    assert metric_names(expression) == {"no_such_total", "other_metric"}
