"""What triage reads off traces: where time goes, where failures end, what is repeated."""

from __future__ import annotations

import pytest
from builders import order, span, sql, tree

from incidents.triage.blame import blame_deviations
from incidents.triage.repetition import hopeless_deviations, repetition_deviations
from incidents.triage.rules import Rules
from incidents.triage.selftime import mean_self_time_s, self_time_deviations
from incidents.triage.tree import Tree, learn_callees
from incidents.triage.windows import Window

WINDOWS = (Window(0, 30), Window(-150, -30))


def places(found: list) -> list[tuple[str, str]]:
    return [(one.component, one.kind) for one in found]


def test_the_time_of_a_call_belongs_to_whom_it_calls_and_not_to_the_caller(rules: Rules) -> None:
    trees = [order(0.5)]
    callees = learn_callees(trees)
    assert mean_self_time_s(trees, "payments", callees, rules) == pytest.approx(0.502)
    assert mean_self_time_s(trees, "api", callees, rules) == pytest.approx(0.016)
    assert mean_self_time_s(trees, "postgres", callees, rules) == pytest.approx(0.002)


def test_a_job_that_goes_on_later_is_no_part_of_the_request_that_queued_it() -> None:
    job = span("worker", "fulfil", 20.0, kind="consumer", at=0.001)
    request = tree(span("api", "POST /v1/orders", 0.02, job))
    assert request.self_time_s(request.roots[0]) == pytest.approx(0.02)


def test_a_component_that_became_slow_is_found_and_its_callers_are_not(rules: Rules) -> None:
    now, before = [order(1.5) for _ in range(5)], [order(0.01) for _ in range(5)]
    found = self_time_deviations(now, before, learn_callees(now), rules)
    assert places(found) == [("payments", "latency")]
    assert "1.5 s" in found[0].says
    assert found[0].trace_id in {one.trace_id for one in now}


def test_a_machine_that_makes_everything_slower_alike_is_no_finding(rules: Rules) -> None:
    def one(slow: float) -> Tree:
        top = span("api", "GET /v1/products", 0.06 * slow, sql(0.02 * slow), tags={"http.route": "/v1/products"})
        return tree(span("gateway", "gateway", 0.09 * slow, top))

    now, before = [one(3.5) for _ in range(5)], [one(1.0) for _ in range(5)]
    assert self_time_deviations(now, before, {}, rules) == []


def test_more_requests_of_a_slow_route_are_no_slower_component(rules: Rules) -> None:
    quick = [tree(span("api", "GET /a", 0.01, tags={"http.route": "/a"})) for _ in range(20)]
    slow = [tree(span("api", "GET /b", 0.5, tags={"http.route": "/b"})) for _ in range(20)]
    assert self_time_deviations([*quick[:3], *slow], [*quick, *slow[:3]], {}, rules) == []


def test_a_failure_is_blamed_on_the_deepest_span_that_failed(rules: Rules) -> None:
    failing = [order(failed=True) for _ in range(8)]
    found = blame_deviations(failing, [], WINDOWS, learn_callees(failing), rules)
    assert places(found) == [("payments", "errors")]


@pytest.mark.parametrize(
    ("exception", "took_s", "kind"),
    [("httpx.ConnectError", 0.002, "refused"), ("httpx.ReadTimeout", 2.0, "latency"), ("", 1.9, "latency")],
)
def test_a_call_without_an_answer_is_blamed_on_whom_such_calls_reached_before(
    rules: Rules, exception: str, took_s: float, kind: str
) -> None:
    events = [{"exception.type": exception, "exception.message": ""}] if exception else []
    failing = [order(took_s, failed=True, answered=False, events=events) for _ in range(8)]
    callees = learn_callees([order()])
    assert places(blame_deviations(failing, [], WINDOWS, callees, rules)) == [("payments", kind)]


def test_what_the_caller_got_wrong_himself_is_nobodys_failure(rules: Rules) -> None:
    call = span("api", "POST", 0.01, kind="client", failed=True, tags={"http.response.status_code": 402})
    failing = [tree(span("api", "POST /v1/orders", 0.02, call)) for _ in range(8)]
    assert blame_deviations(failing, [], WINDOWS, {}, rules) == []


def test_failures_that_were_there_before_are_no_news(rules: Rules) -> None:
    now, before = [order(failed=True) for _ in range(9)], [order(failed=True) for _ in range(36)]
    assert blame_deviations(now, before, WINDOWS, learn_callees(now), rules) == []


def test_one_instance_that_has_all_the_failures_is_named(rules: Rules) -> None:
    failing = [tree(span("api", "POST /v1/orders", 0.02, failed=True, instance="api-2")) for _ in range(8)]
    assert "at api-2" in blame_deviations(failing, [], WINDOWS, {}, rules)[0].says


def test_equal_statements_under_one_request_are_found(rules: Rules) -> None:
    def page(statements: int) -> Tree:
        return tree(span("api", "GET /v1/products", 0.1, *(sql(0.001) for _ in range(statements))))

    now, before = [page(21) for _ in range(4)], [page(1) for _ in range(4)]
    assert places(repetition_deviations(now, before, rules)) == [("api", "n-plus-one")]
    assert repetition_deviations(before, before, rules) == []


def test_equal_calls_under_one_request_are_retries(rules: Rules) -> None:
    def placed(calls: int) -> Tree:
        return tree(
            span("api", "POST /v1/orders", 0.1, *(span("api", "POST", 0.01, kind="client") for _ in range(calls)))
        )

    now, before = [placed(4) for _ in range(4)], [placed(1) for _ in range(4)]
    assert places(repetition_deviations(now, before, rules)) == [("api", "retries")]


@pytest.mark.parametrize(("second_try_fails", "kinds"), [(True, ["poison-message"]), (False, [])])
def test_jobs_that_fail_however_often_they_are_tried_are_told_from_those_that_fail_by_chance(
    rules: Rules, second_try_fails: bool, kinds: list[str]
) -> None:
    def job(attempt: int, failed: bool) -> list:
        return span("worker", "fulfil", 0.01, kind="consumer", failed=failed, tags={"signalbox.job.attempt": attempt})

    failing = [tree(span("api", "POST /v1/orders", 0.02, job(0, True), job(1, second_try_fails))) for _ in range(6)]
    passing = [tree(span("api", "POST /v1/orders", 0.02, job(0, False))) for _ in range(20)]
    assert [one.kind for one in hopeless_deviations(failing, passing, rules)] == kinds
    assert hopeless_deviations(failing, failing, rules) == [], "when every job fails it is not the message"


def test_an_unanswered_call_to_a_peer_never_heard_of_goes_by_the_topology(rules: Rules) -> None:
    failing = [order(0.01, failed=True, answered=False) for _ in range(8)]
    assert places(blame_deviations(failing, [], WINDOWS, {}, rules)) == [("payments", "refused")]
