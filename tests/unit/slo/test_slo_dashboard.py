"""The SLO dashboard: its form, and that every query asks for something that exists."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from slo.emit.grafana import emit_dashboard
from slo.emit.recording import budget_rules, window_rules
from slo.model import RatioIndicator
from slo.parse.selector import parse_selector
from tests.unit.slo.example import LATENCY, PROMISE, promise

OTHER = promise(name="shop-is-fast", title="Shop is fast", indicator=LATENCY)
DASHBOARD = json.loads(emit_dashboard([PROMISE, OTHER]))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
TARGETS = [target for panel in PANELS for target in panel.get("targets", [])]


def test_there_is_one_row_for_each_promise_and_one_for_all() -> None:
    rows = [panel["title"] for panel in PANELS if panel["type"] == "row"]
    assert rows == ["All budgets", "Shop answers: 99.9 %", "Shop is fast: 99.9 %"]


def test_a_row_shows_indicator_burn_rates_budget_burn_down_and_alerts() -> None:
    rows = [index for index, panel in enumerate(PANELS) if panel["type"] == "row"]
    titles = [panel["title"] for panel in PANELS[rows[1] + 1 : rows[2]]]
    assert titles == [
        "Budget remaining",
        "Budget lasts for",
        "Good events",
        "Burn rates and what alerts on them",
        "Budget burn-down",
        "Bad events a second",
        "Alerts",
    ]


def test_identity_is_fixed() -> None:
    assert DASHBOARD["uid"] == "signalbox-slo"
    assert DASHBOARD["schemaVersion"] >= 39
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["slo"]


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_every_panel_asks_the_shared_data_source() -> None:
    for panel in PANELS:
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}
            assert panel["targets"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_every_recorded_series_that_is_shown_is_recorded() -> None:
    recorded = {rule["record"] for rule in window_rules(PROMISE) + budget_rules(PROMISE)}
    shown = {name for target in TARGETS for name in re.findall(r"slo:[a-z_]+:[a-z_0-9]+", target["expr"])}
    assert shown
    assert shown <= recorded


@pytest.mark.parametrize(
    ("indicator", "exemplars"),
    [(PROMISE.indicator, "requests_total"), (LATENCY, "duration_seconds_bucket")],
)
def test_traces_are_one_click_away(indicator: RatioIndicator, exemplars: str) -> None:
    document = json.loads(emit_dashboard([promise(indicator=indicator)]))
    with_exemplars = [
        target["expr"] for panel in document["panels"] for target in panel.get("targets", []) if target["exemplar"]
    ]
    assert with_exemplars
    assert all(exemplars in expression for expression in with_exemplars)


def test_a_latency_panel_shows_all_events_not_only_good_ones() -> None:
    document = json.loads(emit_dashboard([OTHER]))
    (panel,) = [panel for panel in document["panels"] if panel["title"] == "Duration of all events"]
    assert all('outcome="good"' not in target["expr"] for target in panel["targets"])
    assert all("le=" not in target["expr"] for target in panel["targets"])


def test_a_counter_without_histogram_shows_its_rate() -> None:
    indicator = RatioIndicator(parse_selector("a_total"), parse_selector('a_total{ok="no"}'), "bad")
    document = json.loads(emit_dashboard([promise(indicator=indicator)]))
    (panel,) = [panel for panel in document["panels"] if panel["title"] == "Bad events a second"]
    assert panel["targets"][0]["expr"] == 'sum(rate(a_total{ok="no"}[5m]))'
