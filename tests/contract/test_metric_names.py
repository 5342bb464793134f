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
# Of others: rules' own records, Prometheus itself, the collector, the gateway, the client library's process metrics.
FOREIGN = re.compile(r"(?:slo|scaling):.*|up|ALERTS|(?:otelcol|prometheus|caddy|process|traces_span_metrics)_\w+")
# A metric is a word with an underscore or colon (or `up`, `ALERTS`) before a selector, a range or the expression's end.
WORD = re.compile(r"(?<![\w:$])([a-zA-Z_:][\w:]*)(?![\w:(])")


def queries() -> Iterator[tuple[str, str]]:
    for path in sorted(OBSERVABILITY.glob("prometheus/*/*.yaml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from ((path.name, rule["expr"]) for rule in group["rules"])
    for path in sorted(OBSERVABILITY.glob("grafana/**/*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            yield from ((f"{path.name}: {panel['title']}", target["expr"]) for target in panel.get("targets", ()))


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
    unknown = {name for name in metric_names(expression) if not FOREIGN.fullmatch(name)} - catalog.series_names()
    assert not unknown, f"{where}: {unknown}"


def test_the_reading_of_names_finds_them() -> None:
    expression = 'sum by (http_route) (rate(no_such_total{job="api"}[5m])) / on (job) other_metric  # a comment_here'
    assert metric_names(expression) == {"no_such_total", "other_metric"}
