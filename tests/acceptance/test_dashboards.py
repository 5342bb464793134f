"""Every query of every dashboard, run against the live backends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.backends import Backends, eventually
from tests.acceptance.conftest import sign_in
from tests.conftest import ROOT, Stack

DASHBOARDS = sorted((ROOT / "observability/grafana").rglob("dashboards/*.json"))
VARIABLES = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "15m", "$instance": ".*", "$route": ".*"}


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


def plain(text: str, dashboard_variables: dict[str, str] | None = None) -> str:
    for name, value in {**VARIABLES, **(dashboard_variables or {})}.items():
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
            user.post("/v1/orders", json={"user_id": 3, "items": [{"product_id": 400 + number, "quantity": 1}]})


@pytest.mark.parametrize(("panel", "target"), queries())
def test_query_answers_with_data(
    backends: Backends, traffic: None, panel: dict[str, Any], target: dict[str, Any]
) -> None:
    source = (target.get("datasource") or panel["datasource"])["uid"]
    variables = {"$slo": ".*", "$service": ".*"}
    text = plain(target["expr"], variables)
    if source == "prometheus":
        eventually(lambda: backends.query(text), text, within_s=30)
    elif source == "loki":
        eventually(lambda: backends.logs(text) if "rate(" not in text and "count_over_time" not in text else True, text)
    else:
        raise AssertionError(f"unknown data source {source}")


def test_there_are_the_two_dashboards() -> None:
    assert {path.stem for path in DASHBOARDS} >= {"service-overview", "slo"}


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
