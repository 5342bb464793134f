"""What an alert asks about the cause of its bad events."""

from __future__ import annotations

import re

from slo.emit.alerts import alert_rules
from slo.model import RatioIndicator
from slo.parse.selector import parse_selector
from tests.unit.slo.example import LATENCY, promise


def alert(name: str, **changes: object) -> dict[str, str]:
    rules = alert_rules(promise(**changes))
    annotations: dict[str, str] = next(rule for rule in rules if rule["alert"] == name)["annotations"]
    return annotations


def ratio(total: str, counted: str) -> RatioIndicator:
    return RatioIndicator(parse_selector(total), parse_selector(counted), "bad")


ORDERS = ratio('x{job="api",method="POST",route=~"/a|/b",code!="0"}', 'x{job="api",method="POST",code=~"5.."}')


def test_bad_events_are_told_apart_by_the_labels_that_choose_them() -> None:
    page = alert("ShopAnswersBurnPage", indicator=ORDERS)
    assert page["route_query"].startswith("sum by (method, route) (increase(x{")
    assert "{{ .Labels.method }} {{ .Labels.route }}" in page["worst_route"]
    assert page["instance_query"].count("sum by (instance)") == 3
    assert "signalbox_build_info" in page["version_query"]


def test_the_template_of_the_alert_asks_what_the_pager_asks_again() -> None:
    page = alert("ShopAnswersBurnPage", indicator=ORDERS)
    for worst, query in (("worst_route", "route_query"), ("worst_version", "version_query")):
        assert page[query] in page[worst]
    assert page["failing_query"] in page["suspect"]


def test_where_good_events_are_counted_bad_ones_are_the_rest() -> None:
    page = alert("ShopAnswersBurnPage", indicator=LATENCY)
    assert "worst_route" not in page  # no label of the total chooses among routes
    assert re.match(r"clamp\(1 - \(sum by \(instance\) .* or 0 \* .*, 0, 1\)$", page["instance_query"])


def test_events_that_two_processes_count_have_no_place_but_may_have_a_suspect() -> None:
    page = alert("ShopAnswersBurnPage", indicator=ratio('orders{job="api"}', 'done{job="worker"}'))
    assert not {name for name in page if name.startswith(("worst_", "route_", "version_", "instance_"))}
    assert 'job=~"api|worker"' in page["failing_query"]


def test_a_page_looks_at_minutes_and_a_ticket_at_hours() -> None:
    page, ticket = (alert(f"ShopAnswersBurn{tier}", indicator=ORDERS)["instance_query"] for tier in ("Page", "Ticket"))
    assert "[30m]" in page
    assert "[6h]" in ticket


def test_what_has_no_events_is_not_asked_for_their_places() -> None:
    assert set(alert("ShopAnswersNoData")) & {"instance_query", "suspect", "lost_query"} == set()
    assert "signalbox_fault_active" in alert("ShopAnswersNoData")["changed"]
