"""Alert policies, conditions and notification targets: what is read, what is refused, what the rules then say."""

from __future__ import annotations

import textwrap
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from slo.alerting import QuietHours, Span
from slo.compiler import compile_tree
from slo.errors import DefinitionErrors
from slo.parse.targets import parse_quiet_hours
from slo.parse.tree import Definitions, parse_definitions

SLO = """
apiVersion: openslo/v1
kind: Service
metadata: {name: shop, labels: {team: sales}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: shop-answers, annotations: {signalbox.dev/impact: Nobody buys.}}
spec:
  service: shop
  indicator:
    spec:
      ratioMetric:
        counter: true
        bad: {metricSource: {type: Prometheus, spec: {query: 'requests_total{job="shop",code="500"}'}}}
        total: {metricSource: {type: Prometheus, spec: {query: 'requests_total{job="shop"}'}}}
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.999}]
  alertPolicies: [{alertPolicyRef: calm}]
"""
POLICY = """
apiVersion: openslo/v1
kind: AlertPolicy
metadata: {name: calm}
spec:
  alertWhenBreaching: true
  conditions:
    - kind: AlertCondition
      metadata: {name: fast}
      spec:
        severity: page
        condition: {kind: burnrate, op: OP, threshold: BURN, lookbackWindow: LOOK, alertAfter: WAIT}
"""
USUAL = {"OP": "gt", "BURN": "10", "LOOK": "1h", "WAIT": "0s"}
TARGET = """
apiVersion: openslo/v1
kind: AlertNotificationTarget
metadata: {name: duty, labels: {team: sales}, annotations: {ANNOTATIONS}}
spec: {target: KIND}
"""


def policy(**changes: str) -> str:
    text = POLICY
    for word, value in (USUAL | changes).items():
        text = text.replace(word, value)
    return text


def read(folder: Path, *documents: str) -> Definitions:
    (folder / "all.yaml").write_text("---\n".join(textwrap.dedent(document) for document in documents))
    return parse_definitions(folder)


def refusals(folder: Path, *documents: str) -> str:
    with pytest.raises(DefinitionErrors) as caught:
        read(folder, *documents)
    return "\n".join(str(error) for error in caught.value.errors)


def alerts(folder: Path, clock: float = 1.0) -> dict[str, dict[str, str]]:
    rules = yaml.safe_load(compile_tree(folder, clock=clock)["prometheus/slo-rules.yaml"])
    return {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule}


def target(kind: str, **annotations: str) -> str:
    written = ", ".join(f'signalbox.dev/{name.replace("_", "-")}: "{value}"' for name, value in annotations.items())
    return TARGET.replace("KIND", kind).replace("ANNOTATIONS", written)


def test_a_policy_s_conditions_are_the_only_ones(tmp_path: Path) -> None:
    (promise,) = read(tmp_path, SLO, policy(OP="gte", WAIT="5m")).promises
    (tier,) = promise.windows.tiers
    assert (tier.severity, tier.burn, tier.or_equal, tier.alert_after) == ("page", 10, True, timedelta(minutes=5))
    assert (tier.long.name, tier.short.name) == ("1h", "5m")
    found = alerts(tmp_path)
    assert set(found) == {"Watchdog", "ShopAnswersBurnPage"}, "no ticket, and no alert on missing data"
    assert found["ShopAnswersBurnPage"]["for"] == "5m"
    assert 'slo:sli_error:ratio_rate1h{slo="shop-answers"} >= 0.01' in found["ShopAnswersBurnPage"]["expr"]


def test_waiting_times_follow_the_clock(tmp_path: Path) -> None:
    read(tmp_path, SLO, policy(WAIT="5m"))
    assert alerts(tmp_path, clock=20)["ShopAnswersBurnPage"]["for"] == "15s"


@pytest.mark.parametrize(
    ("lookback", "long", "short"),
    [("6h", "6h", "30m"), ("12h", "12h", "1h"), ("30m", "30m", "5m"), ("2d", "2d", "2h"), ("5m", "5m", "5m")],
)
def test_any_lookback_gets_a_short_window_of_about_a_twelfth(
    tmp_path: Path, lookback: str, long: str, short: str
) -> None:
    (promise,) = read(tmp_path, SLO, policy(LOOK=lookback, BURN="2")).promises
    (tier,) = promise.windows.tiers
    assert (tier.long.name, tier.short.name) == (long, short)
    assert promise.windows.base.name == "5m", "what is recorded, and how cheaply, does not depend on policies"
    assert promise.windows.head.name == "1h"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"OP": "lte"}, "lte would alert while the budget burns slower"),
        ({"OP": "eq"}, "'eq' is not known here. Use gt, gte, lt or lte"),
        ({"BURN": "0"}, "a burn rate of zero or less is always there"),
        ({"BURN": "much"}, "'much' is not a number"),
        ({"BURN": "1500"}, "no page can ever fire: its threshold lies beyond 100 %"),
        ({"LOOK": "1m"}, "is shorter than 5m, the shortest window. Use at least that"),
        ({"LOOK": "60d"}, "is longer than the period of 30d. Use a shorter one"),
        ({"LOOK": "1h3m"}, "lies too close above 1h, up to where counters are read. Use 1h, or at least 1h10m"),
        ({"LOOK": "1 month"}, "is not a length of time"),
        ({"WAIT": "soon"}, "is not a length of time"),
    ],
)
def test_a_condition_that_cannot_be_executed_is_refused_with_its_place(
    tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    text = refusals(tmp_path, SLO, policy(**changes))
    assert said in text
    assert "all.yaml:" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("alertWhenBreaching: true", "alertWhenBreaching: false"), "this policy never alerts"),
        (("severity: page", "severity: info"), "'info' is not known here. Use page or ticket"),
        (("kind: burnrate", "kind: anomaly"), "Use burnrate"),
        (("alertWhenBreaching: true", "alertWhenBreaching: true\n  notificationTargets: [{targetRef: no}]"), "no Ale"),
        (("metadata: {name: calm}", "metadata: {name: other}"), "there is no AlertPolicy 'calm'"),
        (("alertWhenBreaching: true", "alertWhenBreaching: true\n  escalate: true"), "unknown field"),
    ],
)
def test_a_policy_that_cannot_be_executed_is_refused(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    assert said in refusals(tmp_path, SLO, policy().replace(*change))


def test_one_alert_has_one_waiting_time(tmp_path: Path) -> None:
    two = policy() + textwrap.indent(POLICY.split("conditions:\n")[1], "")
    for word, value in (USUAL | {"LOOK": "6h", "BURN": "6", "WAIT": "5m"}).items():
        two = two.replace(word, value)
    assert "its page conditions have different alertAfter" in refusals(tmp_path, SLO, two)


def test_one_alert_has_one_audience(tmp_path: Path) -> None:
    duty, desk = (
        target("webhook", secret_file="/run/secrets/hook").replace("{name: duty", f"{{name: {name}")
        for name in ("duty", "desk")
    )
    both = SLO.replace("[{alertPolicyRef: calm}]", "[{alertPolicyRef: calm}, {alertPolicyRef: slow}]")
    first = policy() + "  notificationTargets: [{targetRef: duty}]\n"
    second = policy(LOOK="6h", BURN="6").replace("calm", "slow") + "  notificationTargets: [{targetRef: desk}]\n"
    said = "its page conditions belong to policies that tell different targets"
    assert said in refusals(tmp_path, both, first, second, duty, desk)
    read(tmp_path, both, first, second.replace("targetRef: desk", "targetRef: duty"), duty)
    read(tmp_path, both, first, second.replace("severity: page", "severity: ticket"), duty, desk)


def test_a_threshold_that_nothing_can_exceed_is_refused_where_it_stands(tmp_path: Path) -> None:
    with pytest.raises(DefinitionErrors) as caught:
        read(tmp_path, SLO, policy(BURN="1000"))
    (problem,) = caught.value.errors
    line = (tmp_path / "all.yaml").read_text().splitlines()[problem.at.line - 1]
    assert line[problem.at.column - 1 :].startswith("1000")
    assert (problem.field, problem.code) == ("spec.condition.threshold", "severity-unreachable")
    assert "less than 1000" in problem.remedy


def test_what_nothing_refers_to_is_told(tmp_path: Path) -> None:
    idle = policy().replace("calm", "idle")
    condition = "\napiVersion: openslo/v1\nkind: AlertCondition\nmetadata: {name: alone}\nspec:\n  severity: page\n"
    condition += "  condition: {threshold: 2, lookbackWindow: 1h}\n"
    deaf = target("webhook", secret_file="/run/secrets/hook").replace(
        "{name: duty, labels: {team: sales}, ", "{name: deaf, "
    )
    found = read(tmp_path, SLO, policy(), idle, condition, target("webhook", secret_file="/run/secrets/hook"), deaf)
    assert [problem.what for problem in found.unused] == [
        f"nothing refers to the {kind} {name!r}, so it does nothing"
        for kind, name in (("AlertPolicy", "idle"), ("AlertCondition", "alone"), ("AlertNotificationTarget", "deaf"))
    ]


def test_missing_data_alerts_if_the_policy_says_so(tmp_path: Path) -> None:
    read(tmp_path, SLO, policy().replace("alertWhenBreaching: true", "alertWhenNoData: true"))
    assert set(alerts(tmp_path)) == {"Watchdog", "ShopAnswersNoData"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (target("pagerduty", routing_key="0123456789abcdef"), "a secret does not belong in a definition"),
        (target("webhook", webhook_url="https://hooks.example/T0/B1"), "a secret does not belong in a definition"),
        (target("slack", secret_file="https://hooks.slack.com/services/T0/B1/x"), "is not the absolute path of a file"),
        (target("slack", secret_file="/run/secrets/../../etc/passwd"), "is not the absolute path of a file"),
        (target("opsgenie", secret_file="/run/secrets/key", address="https://u:p@x.example"), "may carry a secret"),
        (target("opsgenie", secret_file="/run/secrets/key", address="https://x.example?k=1"), "may carry a secret"),
        (target("slack"), "needs the annotation signalbox.dev/secret-file"),
        (target("email", to="a@b.example", smarthost="mail:25"), "needs the annotation signalbox.dev/from"),
        (target("email", to="somebody"), "'somebody' is not an e-mail address"),
        (target("pigeon"), "'pigeon' is not known here. Use pagerduty, opsgenie, slack, email or webhook"),
        (target("slack", secret_file="/run/s", quiet_hours="at night"), "is no time zone"),
        (target("slack", secret_file="/run/s", quiet_hours="Mon 9-17 Europe/Paris"), "cannot read 'Mon 9-17'"),
        (target("slack", secret_file="/run/s").replace("name: duty", "name: page"), "a receiver of the compiler's own"),
        (target("slack", secret_file="/run/s").replace("team: sales", "tier: [page, all]"), "'all' is no tier"),
    ],
)
def test_a_target_that_cannot_be_told_safely_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusals(tmp_path, SLO, policy(), text)


def test_quiet_hours_over_midnight_and_over_the_week_s_end() -> None:
    assert parse_quiet_hours("Mon-Fri 18:00-08:00, Sat 12:30-24:00 Europe/Berlin") == QuietHours(
        "Europe/Berlin", (Span(0, 4, 1080, 1440), Span(1, 5, 0, 480), Span(5, 5, 750, 1440))
    )
    assert parse_quiet_hours("Sat-Mon 22:00-06:00 UTC") == QuietHours(
        "UTC", (Span(0, 0, 1320, 1440), Span(5, 6, 1320, 1440), Span(0, 1, 0, 360), Span(6, 6, 0, 360))
    )


def test_dependencies_that_silence_one_another_are_refused(tmp_path: Path) -> None:
    ring = SLO.replace("labels: {team: sales}}", "annotations: {signalbox.dev/depends-on: stock}, labels: {team: a}}")
    stock = """
    apiVersion: openslo/v1
    kind: Service
    metadata: {name: stock, labels: {team: b}, annotations: {signalbox.dev/depends-on: shop}}
    """
    text = refusals(tmp_path, ring, policy(), stock)
    assert "shop depends on itself in the end" in text
    assert "stock depends on itself in the end" in text
    assert "depends on 'stock', which is not here" in refusals(tmp_path, ring, policy())


def test_a_condition_is_a_burn_rate_unless_it_says_otherwise(tmp_path: Path) -> None:
    text = f"{SLO}---{POLICY}".replace("kind: burnrate, ", "")
    for word, value in USUAL.items():
        text = text.replace(word, value)
    (tmp_path / "a.yaml").write_text(text)
    (promise,) = parse_definitions(tmp_path).promises
    assert [tier.burn for tier in promise.tiers("page")] == [10]


def test_a_condition_over_the_shortest_window_asks_it_once(tmp_path: Path) -> None:
    policy = POLICY
    for word, value in {**USUAL, "LOOK": "5m"}.items():
        policy = policy.replace(word, value)
    (tmp_path / "a.yaml").write_text(f"{SLO}---{policy}")
    rules = yaml.safe_load(compile_tree(tmp_path)["prometheus/slo-rules.yaml"])
    (page,) = [
        rule for group in rules["groups"] for rule in group["rules"] if rule.get("alert") == "ShopAnswersBurnPage"
    ]
    assert page["expr"].count('ratio_rate5m{slo="shop-answers"} > 0.01') == 1


def _with_targets(folder: Path, targets: str, *documents: str, flags: str = "") -> list[tuple[str, str]]:
    policy = POLICY.replace("  alertWhenBreaching: true\n", f"  alertWhenBreaching: true\n{flags}{targets}")
    for word, value in USUAL.items():
        policy = policy.replace(word, value)
    (folder / "a.yaml").write_text("\n---\n".join([SLO, policy, *documents]))
    try:
        parse_definitions(folder)
    except DefinitionErrors as found:
        return [(problem.field, problem.code) for problem in found.errors]
    return []


INLINE = """\
  notificationTargets:
    - kind: AlertNotificationTarget
      metadata: {name: duty, annotations: {signalbox.dev/secret-file: FILE}}
      spec: {target: webhook}
"""
DUTY = TARGET.replace("ANNOTATIONS", "signalbox.dev/secret-file: /run/duty").replace("KIND", "webhook")
DUTY = DUTY.replace("labels: {team: sales}, ", "")


def test_two_targets_of_one_name_are_refused_and_one_written_twice_is_not(tmp_path: Path) -> None:
    assert _with_targets(tmp_path, INLINE.replace("FILE", "/run/duty"), DUTY) == []
    clash = [("spec.notificationTargets[0].metadata.name", "name-taken")]
    assert _with_targets(tmp_path, INLINE.replace("FILE", "/run/other"), DUTY) == clash
    assert _with_targets(tmp_path, "", DUTY.replace("name: duty", "name: duty-firing-only")) == [
        ("metadata.name", "name-taken")
    ]


def test_whether_the_end_is_told_needs_targets_to_tell(tmp_path: Path) -> None:
    flags = "  alertWhenResolved: false\n"
    assert _with_targets(tmp_path, "", flags=flags) == [("spec.alertWhenResolved", "not-executable")]
    assert _with_targets(tmp_path, INLINE.replace("FILE", "/run/duty"), flags=flags) == []
