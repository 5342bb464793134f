"""Every query of every dashboard, run against the live backends."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from tests.acceptance.backends import Backends, eventually
from tests.acceptance.conftest import sign_in
from tests.conftest import ROOT, Stack

DASHBOARDS = sorted((ROOT / "observability/grafana").rglob("dashboards/*.json"))
RANGES = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "15m"}
ALL = dict.fromkeys(("$job", "$instance", "$route", "$slo"), ".+")  # what a variable says when all is chosen


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def queries() -> list[Any]:
    found = []
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        for panel in panels(dashboard):
            for target in panel.get("targets", []):
                name = f"{path.stem}: {panel['title']} {target.get('refId', '')}"
                found.append(pytest.param(panel, target, id=name))
    return found


def plain(text: str) -> str:
    """The query as Grafana asks it."""
    for name, value in {**RANGES, **ALL}.items():
        text = (
            text.replace("${" + name[1:] + "}", value).replace("${" + name[1:] + ":regex}", value).replace(name, value)
        )
    assert "$" not in text.replace('$"', ""), f"unknown variable in {text}"
    return text


@pytest.fixture(scope="module")
def traffic(stack: Stack) -> None:
    """Enough of everything for every panel to have something to show, an error among it."""
    with sign_in(stack.urls) as user:
        for number in range(30):
            user.get("/v1/products", params={"limit": 5})
            user.get(f"/v1/products/{number + 1}")
            user.get(f"/v1/users/{number + 1}")
            place_order(user, 400 + number)
        fault = f"{stack.urls['payments']}/internal/faults/charge-errors"
        try:  # one bad order is no reason to page (min-events), and enough for the panels of errors
            assert httpx.put(fault, json={"percent": 100, "status": 500}).status_code == 200
            place_order(user, 399)
        finally:
            httpx.delete(fault)


def place_order(user: httpx.Client, product_id: int) -> None:
    user.post("/v1/orders", json={"user_id": 3, "items": [{"product_id": product_id, "quantity": 1}]})


@pytest.mark.parametrize(("panel", "target"), queries())
def test_query_answers_with_data(
    backends: Backends, traffic: None, panel: dict[str, Any], target: dict[str, Any]
) -> None:
    source = (target.get("datasource") or panel["datasource"])["uid"]
    text = plain(target["expr"])
    if source == "prometheus":
        eventually(lambda: [one for one in backends.query(text) if one["value"][1] != "NaN"], text, within_s=30)
    elif source == "loki":
        ask = backends.logs if panel["type"] == "logs" else backends.of_lines
        eventually(lambda: ask(text), text, within_s=30)
    else:
        raise AssertionError(f"unknown data source {source}")


@pytest.mark.parametrize("note", ["Deploys", "Faults", "Alerts"])
def test_annotations_are_queries_that_prometheus_can_answer(backends: Backends, note: str) -> None:
    for path in DASHBOARDS:
        (query,) = [
            each["expr"] for each in json.loads(path.read_text())["annotations"]["list"] if each["name"] == note
        ]
        backends.query(query)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: Path(path).stem)
def test_variables_have_values(backends: Backends, traffic: None, path: Path) -> None:
    for variable in json.loads(path.read_text())["templating"]["list"]:
        metric, label = re.fullmatch(r"label_values\((\S+), (\w+)\)", variable["definition"]).groups()
        values = {series["metric"].get(label) for series in backends.query(metric)}
        assert len(values) >= 2, f"${variable['name']}: {values}"


def test_a_panel_leads_to_lines_that_loki_can_find(backends: Backends, traffic: None) -> None:
    for path in DASHBOARDS:
        for panel in panels(json.loads(path.read_text())):
            for link in panel["links"] if panel["type"] != "row" else ():
                pane = json.loads(unquote(link["url"].partition("&panes=")[2]))["a"]
                if pane["datasource"] == "loki":
                    backends.logs(plain(pane["queries"][0]["expr"]))


def test_uids_are_fixed_and_unlike() -> None:
    uids = [json.loads(path.read_text())["uid"] for path in DASHBOARDS]
    assert len(uids) == len(set(uids))
    assert all(uids)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: Path(path).stem)
def test_latency_panels_show_exemplars(path: Path) -> None:
    for panel in panels(json.loads(path.read_text())):
        for target in panel.get("targets", []):
            if "histogram_quantile" in target["expr"] and "span_metrics" not in target["expr"]:
                assert target.get("exemplar"), panel["title"]
