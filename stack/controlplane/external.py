"""External metrics out of Prometheus by the generated rules of prometheus-adapter, for a plain HPA.

Owns the form of external.metrics.k8s.io. Stands in for prometheus-adapter, whose rules it carries out; where KEDA runs,
KEDA's own adapter answers instead.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import yaml
from fastapi import FastAPI, HTTPException

GROUP = "external.metrics.k8s.io/v1beta1"
TIMEOUT_S = 2.0
MATCHERS = "<<.LabelMatchers>>"


def parse_rules(adapter_rules: str) -> dict[str, str]:
    """Metric → query template, of the values that the compiler writes for prometheus-adapter."""
    return {rule["name"]["as"]: rule["metricsQuery"] for rule in yaml.safe_load(adapter_rules)["rules"]["external"]}


def query_of(template: str, selector: str) -> str:
    """The query for a label selector of equalities (`policy=api`). Raises ValueError for any other."""
    matchers = []
    for each in filter(None, selector.split(",")):
        name, equals, value = each.partition("=")
        if not equals or not name.isidentifier() or '"' in value or "\\" in value:
            raise ValueError(f"{selector!r} is not a selector of equalities")
        matchers.append(f'{name}="{value}"')
    return template.replace(MATCHERS, ",".join(matchers))


def add_external_metrics(app: FastAPI, prometheus: str, rules: dict[str, str]) -> None:
    """Add the group's routes: what the rules say of Prometheus, or an error, so that nothing missing reads as zero."""
    client = httpx.Client(base_url=prometheus, timeout=TIMEOUT_S, trust_env=False)

    @app.get(f"/apis/{GROUP}")
    def describe() -> dict[str, Any]:
        resources = [
            {"name": name, "singularName": "", "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}
            for name in rules
        ]
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP, "resources": resources}

    @app.get(f"/apis/{GROUP}/namespaces/{{namespace}}/{{metric}}")
    def list_values(namespace: str, metric: str, labelSelector: str = "") -> dict[str, Any]:
        if metric not in rules:
            raise HTTPException(404, f"there is no metric {metric}")
        items = [_item(metric, series) for series in _ask(client, rules[metric], labelSelector)]
        return {"kind": "ExternalMetricValueList", "apiVersion": GROUP, "metadata": {}, "items": items}


def _ask(client: httpx.Client, template: str, selector: str) -> list[dict[str, Any]]:
    try:
        answer = client.get("/api/v1/query", params={"query": query_of(template, selector)})
        return list(answer.raise_for_status().json()["data"]["result"])
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise HTTPException(503, f"Prometheus does not say ({error or type(error).__name__})") from error


def _item(metric: str, series: dict[str, Any]) -> dict[str, Any]:
    at, value = series["value"]
    labels = {name: text for name, text in series["metric"].items() if name != "__name__"}
    timestamp = datetime.fromtimestamp(float(at), UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"metricName": metric, "metricLabels": labels, "timestamp": timestamp, "value": _quantity(float(value))}


def _quantity(value: float) -> str:
    """A Kubernetes quantity to a thousandth."""
    return f"{round(value * 1000)}m"
