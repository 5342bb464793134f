"""From deviations to causes: independent signs add up, and what other trouble explains counts for less."""

from __future__ import annotations

import pytest

from incidents.triage.deviation import Deviation, Origin, strength
from incidents.triage.rank import place_of, rank, unusual
from incidents.triage.rules import Rules


def sign(component: str, kind: str, power: float = 0.7, origin: Origin = "metrics") -> Deviation:
    return Deviation(component, kind, power, origin, f"{component} shows {kind}")


def first(rules: Rules, *signs: Deviation) -> tuple[str, str]:
    cause = rank(signs, rules)[0]
    return cause.component, cause.kind


def test_without_deviations_nothing_is_unusual(rules: Rules) -> None:
    assert rank([], rules) == []


def test_one_weak_sign_is_not_told_and_stays_in_the_list(rules: Rules) -> None:
    causes = rank([sign("api", "cpu", 0.3)], rules)
    assert len(causes) == 1
    assert unusual(causes) == []
    assert place_of(causes, "api", "cpu") is None


def test_signs_of_different_origin_make_a_cause_more_certain_than_signs_of_one(rules: Rules) -> None:
    apart = rank([sign("api", "errors", 0.5, "metrics"), sign("api", "errors", 0.5, "spans")], rules)[0]
    alike = rank([sign("api", "errors", 0.5), sign("api", "errors", 0.5)], rules)[0]
    assert apart.score == pytest.approx(0.75)
    assert alike.score == pytest.approx(0.625)


@pytest.mark.parametrize(
    ("cause", "effects"),
    [
        (("payments", "errors"), [("api", "errors"), ("gateway", "errors")]),
        (("payments", "down"), [("payments", "refused"), ("api", "errors"), ("api", "retries")]),
        (("postgres", "lock-wait"), [("api", "latency"), ("api", "connection-leak"), ("postgres", "latency")]),
        (("api", "event-loop"), [("api", "latency"), ("postgres", "latency"), ("valkey", "latency")]),
        (("api", "retries"), [("payments", "latency"), ("payments", "errors"), ("api", "errors")]),
        (("api", "bad-deploy"), [("api", "errors"), ("api", "down"), ("gateway", "errors")]),
        (("gateway", "traffic"), [("api", "cpu"), ("api", "event-loop"), ("postgres", "latency")]),
        (("gateway", "hot-key"), [("gateway", "traffic")]),
        (("worker", "poison-message"), [("worker", "errors"), ("worker", "backlog")]),
        (("worker", "down"), [("worker", "backlog")]),
        (("valkey", "down"), [("valkey", "cache-miss"), ("api", "latency"), ("postgres-replica", "latency")]),
        (("loki", "down"), [("collector", "telemetry-drops")]),
    ],
)
def test_the_deepest_trouble_comes_first_though_its_consequences_show_more(
    rules: Rules, cause: tuple[str, str], effects: list[tuple[str, str]]
) -> None:
    signs = [sign(*cause, 0.6), *(sign(*effect, 0.8) for effect in effects)]
    assert first(rules, *signs) == cause


def test_what_is_explained_names_its_explanation(rules: Rules) -> None:
    causes = rank([sign("payments", "errors"), sign("api", "errors")], rules)
    assert causes[1].explained_by == ("payments errors",)
    assert causes[1].score < causes[1].raw


def test_two_troubles_that_do_not_explain_each_other_are_both_told(rules: Rules) -> None:
    causes = rank([sign("edge", "certificate"), sign("payments", "errors")], rules)
    assert {(one.component, one.kind) for one in unusual(causes)} == {("edge", "certificate"), ("payments", "errors")}


def test_strength_grows_with_the_distance_from_the_limit_and_never_beyond_the_weight() -> None:
    assert strength(0.8, 1) == pytest.approx(0.4)
    assert strength(0.8, 4) == pytest.approx(0.6)
    assert 0.79 < strength(0.8, 1e9) <= 0.8


def test_every_kind_that_explains_or_is_explained_is_a_kind_that_something_can_show(rules: Rules) -> None:
    named = {kind for rule in rules.explanations for kind in (*rule.causes, *rule.effects)}
    assert named <= rules.kinds
