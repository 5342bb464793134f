"""The dashboards of promises: what they show, and that every query asks for something that exists."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from slo.emit.grafana.budgets import emit_budgets, emit_promise
from slo.emit.grafana.services import dashboard_uid, emit_services
from slo.emit.recording import budget_rules, window_rules
from slo.model import RatioIndicator, Service
from slo.parse.selector import parse_selector
from tests.unit.slo.example import LATENCY, PROMISE, promise

OTHER = promise(name="shop-is-fast", title="Shop is fast", indicator=LATENCY)
(SERVICE,) = [json.loads(text) for text in emit_services([PROMISE, OTHER]).values()]
BUDGETS, ONE = json.loads(emit_budgets()), json.loads(emit_promise())


def panels_of(indicator: RatioIndicator) -> dict[str, dict[str, Any]]:
    (text,) = emit_services([promise(indicator=indicator)]).values()
    return {panel["title"]: panel for panel in json.loads(text)["panels"]}


def test_a_service_has_a_row_for_each_promise() -> None:
    rows = [panel["title"] for panel in SERVICE["panels"] if panel["type"] == "row"]
    assert rows == ["Shop answers: 99.9 %", "Shop is fast: 99.9 %"]
    assert SERVICE["uid"] == "signalbox-service-shop"


def test_a_row_shows_budget_indicator_burn_rates_consumers_and_alerts() -> None:
    rows = [index for index, panel in enumerate(SERVICE["panels"]) if panel["type"] == "row"]
    assert [panel["title"] for panel in SERVICE["panels"][rows[0] + 1 : rows[1]]] == [
        "Budget lasts for",
        "Good events",
        "Burn rates and what alerts on them",
        "Budget burn-down",
        "Bad events a second",
        "What consumed it",
        "Alerts",
    ]


def test_the_overview_shows_what_is_left_for_how_long_and_what_consumed_it() -> None:
    assert [panel["title"] for panel in BUDGETS["panels"]] == [
        *("What is left", "Budget remaining", "Time to exhaustion", "Burn-down"),
        *("What consumed it", "By SLO", "By service", "When"),
        *("What alerts", "Alerts"),
    ]


def test_a_page_finds_the_dashboard_of_its_slo() -> None:
    assert ONE["uid"] == "signalbox-slo"
    assert [variable["name"] for variable in ONE["templating"]["list"]] == ["slo"]


@pytest.mark.parametrize("document", [SERVICE, BUDGETS, ONE], ids=["service", "budgets", "slo"])
def test_every_recorded_series_that_is_shown_is_recorded(document: dict[str, Any]) -> None:
    recorded = {rule["record"] for rule in window_rules(PROMISE) + budget_rules(PROMISE)}
    asked = " ".join(target["expr"] for panel in document["panels"] for target in panel.get("targets", []))
    shown = set(re.findall(r"slo:[a-z_]+:[a-z_0-9]+(?![a-z_0-9.])", asked))
    assert len(shown) >= 4
    assert shown <= recorded


@pytest.mark.parametrize(
    ("indicator", "exemplars"),
    [(PROMISE.indicator, "requests_total"), (LATENCY, "duration_seconds_bucket")],
)
def test_traces_are_one_click_away(indicator: RatioIndicator, exemplars: str) -> None:
    asked = [target for panel in panels_of(indicator).values() for target in panel.get("targets", [])]
    with_exemplars = [target["expr"] for target in asked if target["exemplar"]]
    assert with_exemplars
    assert all(exemplars in expression for expression in with_exemplars)


def test_a_latency_panel_shows_all_events_and_the_objective_as_a_line() -> None:
    panel = panels_of(LATENCY)["Duration of all events"]
    assert all('outcome="good"' not in target["expr"] for target in panel["targets"])
    assert all("le=" not in target["expr"] for target in panel["targets"])
    defaults = panel["fieldConfig"]["defaults"]
    assert [step["value"] for step in defaults["thresholds"]["steps"]] == [None, 0.25]
    assert defaults["custom"]["thresholdsStyle"] == {"mode": "line"}


def test_a_counter_without_histogram_shows_its_rate() -> None:
    indicator = RatioIndicator(parse_selector("a_total"), parse_selector('a_total{ok="no"}'), "bad")
    panel = panels_of(indicator)["Bad events a second"]
    assert panel["targets"][0]["expr"] == 'sum(rate(a_total{ok="no"}[5m]))'


def test_what_consumed_the_budget_is_told_by_what_the_total_selects_several_of() -> None:
    by_route = parse_selector('a_total{job="shop",route=~"/a|/b"}'), parse_selector('a_total{job="shop",ok="no"}')
    (target,) = panels_of(RatioIndicator(*by_route, "bad"))["What consumed it"]["targets"]
    assert 'sum by (instance, route) (increase(a_total{job="shop",ok="no"}[$__range]))' in target["expr"]
    assert target["legendFormat"] == "{{instance}} {{route}}"


def test_services_with_long_names_have_dashboards_of_their_own() -> None:
    names = ("customer-checkout-frontend-north", "customer-checkout-frontend-south", "s" * 63, "shop")
    uids = [dashboard_uid(Service(name, name, "sales")) for name in names]
    assert len(set(uids)) == len(names)
    assert all(len(uid) <= 40 for uid in uids)
    assert uids[-1] == "signalbox-service-shop"
