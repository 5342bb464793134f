"""Alert rules and routes: what the pager, Alertmanager and people rely on."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slo.emit.alertmanager import emit_alertmanager
from slo.emit.alerts import alert_rules, watchdog_rule
from slo.emit.exemplars import exemplar_query
from slo.emit.prometheus import emit_rules
from slo.emit.yaml_text import emit_yaml
from slo.model import RatioIndicator
from slo.parse.selector import parse_selector
from tests.unit.slo.example import LATENCY, PROMISE, promise


def alert(name: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [rule for rule in rules if rule["alert"] == name]
    return found


RULES = alert_rules(PROMISE)
PAGE = alert("ShopAnswersBurnPage", RULES)
TICKET = alert("ShopAnswersBurnTicket", RULES)
NO_DATA = alert("ShopAnswersNoData", RULES)


def test_every_alert_says_whose_it_is_and_what_to_do() -> None:
    tiers = {rule["alert"]: rule["labels"]["tier"] for rule in RULES}
    assert tiers == {"ShopAnswersBurnPage": "page", "ShopAnswersBurnTicket": "ticket", "ShopAnswersNoData": "page"}
    for rule in RULES:
        assert {key: rule["labels"][key] for key in ("service", "slo", "team")} == {
            "service": "shop",
            "slo": "shop-answers",
            "team": "sales",
        }
        annotations = rule["annotations"]
        assert set(annotations) >= {
            "summary",
            "description",
            "impact",
            "journey",
            "runbook",
            "dashboard",
            "budget_remaining",
            "budget_lasts",
            "exemplar_query",
            "changed",
        }
        assert annotations["runbook"] == f"docs/runbooks/{rule['alert']}.md"
        assert annotations["dashboard"].startswith("/d/")
        assert "Nobody can buy." in annotations["impact"]


def test_a_page_needs_both_windows_of_a_tier_and_enough_bad_events() -> None:
    expression = PAGE["expr"]
    first, second = expression.split("\nor\n")
    for text, short, long, threshold in ((first, "5m", "1h", "0.0144"), (second, "30m", "6h", "0.006")):
        assert f'ratio_rate{short}{{slo="shop-answers"}} > {threshold}' in text
        assert f'ratio_rate{long}{{slo="shop-answers"}} > {threshold}' in text
        assert f'slo:bad_events:increase{long}{{slo="shop-answers"}} > 2.5' in text
        assert text.count("and") == 2
    assert ">=" not in expression


def test_a_ticket_needs_both_windows_and_a_minimum_of_bad_events() -> None:
    assert "> 0.003" in TICKET["expr"]
    assert "> 0.001" in TICKET["expr"]
    for long in ("1d", "3d"):
        assert f'slo:bad_events:increase{long}{{slo="shop-answers"}} > 2.5' in TICKET["expr"]


def test_every_threshold_cites_its_source() -> None:
    assert PAGE["expr"].count("# 14.4 x 0.001: Google SRE workbook, table 5-8") == 1
    assert TICKET["expr"].count("Google SRE workbook") == 2


def test_the_minimum_of_bad_events_is_the_promises() -> None:
    rules = alert_rules(promise(min_bad_events=10))
    assert "> 9.5  # at least 10 bad events" in alert("ShopAnswersBurnPage", rules)["expr"]


def test_a_tier_that_could_never_fire_is_left_out() -> None:
    rules = alert_rules(promise(objective=Decimal("0.9")))
    page = alert("ShopAnswersBurnPage", rules)
    assert "1.44" not in page["expr"]
    assert "> 0.6" in page["expr"]


def test_absence_is_judged_on_the_total_and_only_while_the_target_is_up() -> None:
    assert NO_DATA["expr"] == '(\n  absent(sum(requests_total{job="shop"}))\n)\nand on ()\nmax(up{job="shop"}) == 1'
    assert NO_DATA["for"] == "2m"
    zero = alert("ShopAnswersNoData", alert_rules(promise(liveness="zero")))["expr"]
    assert 'sum(increase(requests_total{job="shop"}[2m])) == 0' in zero
    assert 'absent(sum(requests_total{job="shop"}))' in zero


def test_without_a_job_absence_is_judged_alone() -> None:
    indicator = RatioIndicator(parse_selector("a"), parse_selector("b"), "bad")
    assert alert("ShopAnswersNoData", alert_rules(promise(indicator=indicator)))["expr"] == "absent(sum(a{}))"


def test_texts_of_people_are_not_templates() -> None:
    rules = alert_rules(promise(impact="{{ .Evil }} and {{ more }}", title="{{ x }}"))
    page = alert("ShopAnswersBurnPage", rules)["annotations"]
    assert page["impact"] == '{{ "{{" }} .Evil }} and {{ "{{" }} more }}'
    assert page["summary"].startswith('{{ "{{" }} x }}')


def test_the_watchdog_always_fires_on_a_route_of_its_own() -> None:
    rule = watchdog_rule()
    assert rule["expr"] == "vector(1)"
    assert rule["labels"]["tier"] == "watchdog"
    assert "for" not in rule


@pytest.mark.parametrize(
    ("total", "counted", "counts", "expected"),
    [
        ("r_total", 'r_total{code="500"}', "bad", 'r_total{code="500"}'),
        ("d_seconds_count", 'd_seconds_count{outcome="bad"}', "bad", 'd_seconds_bucket{outcome="bad"}'),
        ('r_total{job="a"}', 'r_total{job="a",ok="yes"}', "good", 'r_total{job="a",ok!="yes"}'),
        ("placed_total", 'done_bucket{job="w",le="2"}', "good", 'done_bucket{job="w",le=~"'),
        ("placed_total", "done_total", "good", "done_total{}"),
    ],
)
def test_a_page_knows_which_series_have_traces_of_bad_events(
    total: str, counted: str, counts: Any, expected: str
) -> None:
    indicator = RatioIndicator(parse_selector(total), parse_selector(counted), counts)
    query = exemplar_query(indicator)
    assert query.startswith(expected) if expected.endswith('"') else query == expected


def test_slow_and_failed_events_of_a_latency_objective_both_have_traces() -> None:
    failed, slow = exemplar_query(LATENCY).split(" or ")
    assert failed == 'duration_seconds_bucket{job="shop",outcome!="excluded",outcome!="good"}'
    assert slow.startswith('duration_seconds_bucket{job="shop",outcome!="excluded",le=~"')


def test_rules_of_one_promise_stand_in_one_group_in_order() -> None:
    groups = {group["name"]: group for group in yaml.safe_load(emit_rules([PROMISE]))["groups"]}
    assert list(groups) == ["watchdog", "slo-shop-answers", "slo-shop-answers-budget"]
    names = [rule.get("record") or rule["alert"] for rule in groups["slo-shop-answers"]["rules"]]
    assert names[-3:] == ["ShopAnswersBurnPage", "ShopAnswersBurnTicket", "ShopAnswersNoData"]
    assert not any(name.startswith("slo:") for name in names[-3:])


def test_a_clock_shrinks_windows_waits_and_intervals_only() -> None:
    fast = emit_rules([PROMISE.at_clock(20)])
    assert "[15s]" in fast
    assert "[5m]" not in fast
    groups = {group["name"]: group for group in yaml.safe_load(fast)["groups"]}
    chain = groups["slo-shop-answers"]
    assert chain["interval"] == "1s"
    by_name = {rule.get("record") or rule["alert"]: rule for rule in chain["rules"]}
    assert by_name["slo:total_events:increase5m"]["expr"] == 'sum(increase(requests_total{job="shop"}[15s]))'
    assert by_name["ShopAnswersBurnPage"]["expr"] == PAGE["expr"]
    annotations = by_name["ShopAnswersBurnPage"]["annotations"]
    assert {key: annotations[key] for key in ("summary", "description", "budget_lasts", "dashboard")} == {
        key: PAGE["annotations"][key] for key in ("summary", "description", "budget_lasts", "dashboard")
    }
    assert by_name["ShopAnswersNoData"]["for"] == "6s"


ROUTES = yaml.safe_load(emit_alertmanager())


def test_pages_tickets_and_the_heartbeat_go_their_own_ways() -> None:
    ways = {tuple(route["matchers"]): route["receiver"] for route in ROUTES["route"]["routes"]}
    assert ways == {('tier = "watchdog"',): "deadman", ('tier = "page"',): "page", ('tier = "ticket"',): "ticket"}
    assert ROUTES["route"]["receiver"] == "page"
    assert ROUTES["route"]["group_by"] == ["service", "slo"]


def test_the_fast_burn_silences_the_slow_burn_of_the_same_promise_and_nothing_else() -> None:
    (rule,) = ROUTES["inhibit_rules"]
    assert rule["equal"] == ["service", "slo"]
    assert rule["source_matchers"] == ['tier = "page"', 'alertname =~ ".+BurnPage"']
    assert rule["target_matchers"] == ['tier = "ticket"', 'alertname =~ ".+BurnTicket"']


def test_secrets_are_named_by_file_only() -> None:
    urls = {receiver["name"]: receiver["webhook_configs"][0]["url_file"] for receiver in ROUTES["receivers"]}
    assert urls == {
        "page": "/run/secrets/pager_url",
        "ticket": "/run/secrets/pager_url",
        "deadman": "/run/secrets/pager_deadman_url",
    }
    assert "://" not in emit_alertmanager()


def test_a_clock_shrinks_the_waits_of_routes() -> None:
    fast = yaml.safe_load(emit_alertmanager(clock=20))["route"]
    assert (fast["group_wait"], fast["group_interval"], fast["repeat_interval"]) == ("250ms", "1s500ms", "3m")


texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufeff")
    | st.just("\n")
)
documents = st.recursive(
    texts | st.booleans() | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(document=st.dictionaries(texts, documents, min_size=1, max_size=4))
def test_generated_yaml_says_what_was_meant(document: dict[str, Any]) -> None:
    assert yaml.safe_load(emit_yaml(document)) == document


@pytest.mark.parametrize("route", ["/carts/{{id}}", "/carts/`id`"])
def test_label_values_are_not_templates(route: str) -> None:
    selector = f'requests_total{{job="shop",route="{route}"}}'
    bad = parse_selector(selector.replace("}", ',code="500"}', 1) if "{{" not in route else selector)
    shown = alert(
        "ShopAnswersBurnPage", alert_rules(promise(indicator=RatioIndicator(parse_selector(selector), bad, "bad")))
    )
    annotations = shown["annotations"]
    assert "{{id" not in annotations["route_query"]
    assert ('query "topk' in annotations["worst_route"]) == ("`" in route)
