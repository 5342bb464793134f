"""ScalingPolicy and BudgetPolicy documents: what they say, how the database caps them, how nonsense is refused."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slo.errors import DefinitionErrors, Problem
from slo.parse.tree import Definitions, parse_definitions
from slo.publish import REPOSITORY
from slo.scaling import Connections, Driver, replicas_wanted

SHIPPED = REPOSITORY / "slo" / "definitions"
PROMISE = """\
apiVersion: openslo/v1
kind: Service
metadata: {name: shop, labels: {team: sales}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: shop-answers}
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
"""
SCALING = """\
apiVersion: signalbox.dev/v1
kind: ScalingPolicy
metadata: {name: shop}
spec:
  workload: {name: shop, namespace: sales}
  replicas: {min: 2, max: 10}
  database: {name: main, maxConnections: 200, reservedForOthers: 20, connectionsPerReplica: 10}
  drivers:
    - {signal: cpu, capacity: 2}
    - {signal: memory, capacity: 512Mi, scaleOutAbove: 0.8, scaleInBelow: 0.6}
    - {signal: queueAge, queue: parcels, capacity: 30s}
  hold: {whilePaging: [shop-answers]}
"""
BUDGET = """\
apiVersion: signalbox.dev/v1
kind: BudgetPolicy
metadata: {name: shop}
spec:
  slos: [shop-answers]
  levels:
    - {remainingAtMost: 0.25, action: approve}
    - {remainingAtMost: 0, action: freeze}
  exceptions:
    - {name: fix, description: The fix., overrides: [approve, freeze]}
"""


def parse(folder: Path, *texts: str) -> Definitions:
    for number, text in enumerate((*texts, PROMISE)):
        (folder / f"{number}.yaml").write_text(text)
    return parse_definitions(folder)


def problems(folder: Path, *texts: str) -> list[Problem]:
    with pytest.raises(DefinitionErrors) as caught:
        parse(folder, *texts)
    return list(caught.value.errors)


def test_a_complete_policy(tmp_path: Path) -> None:
    (policy,) = parse(tmp_path, SCALING).scaling
    assert (policy.workload.name, policy.workload.job, policy.workload.kind) == ("shop", "shop", "service")
    assert (policy.minimum, policy.maximum, policy.hold_on) == (2, 10, ("shop-answers",))
    cpu, memory, age = policy.drivers
    assert (cpu.capacity, cpu.scale_out_above, cpu.scale_in_below) == (2, Decimal("0.7"), Decimal("0.3"))
    assert memory.capacity == 512 * 2**20
    assert (age.capacity, age.queue) == (30, "parcels")


def test_the_shipped_policies_are_the_ones_of_the_blueprint() -> None:
    found = parse_definitions(SHIPPED)
    api, worker = found.scaling
    cpu = api.driver("cpu")
    assert cpu
    assert (cpu.scale_out_above, cpu.scale_in_below) == (Decimal("0.7"), Decimal("0.3"))
    assert {driver.signal for driver in api.drivers} == {"cpu", "memory", "requests", "inFlight"}
    assert {driver.signal for driver in worker.drivers} == {"cpu", "queueDepth", "queueAge"}
    assert [policy.name for policy in found.budgets] == ["deploys"]


# What is replaced by what in a policy, with § where the problem must be found; the field; the code.
SCALING_REFUSALS = [
    ("signalbox.dev/v1", "§signalbox.dev/v2", "apiVersion", "field-form"),
    ("kind: ScalingPolicy", "kind: §SLO2", "kind", "field-form"),
    ("metadata: {name: shop}", "metadata: {name: §Shop}", "metadata.name", "field-form"),
    ("  workload:", "  §wrkload: {}\n  workload:", "spec.wrkload", "field-unknown"),
    ("{name: shop, namespace: sales}", "§{name: shop}", "spec.workload.namespace", "field-missing"),
    ("namespace: sales}", "namespace: sales, kind: §cron}", "spec.workload.kind", "field-form"),
    ("namespace: sales}", 'namespace: sales, job: §"a}b"}', "spec.workload.job", "field-form"),
    ("min: 2", "min: §0", "spec.replicas.min", "field-form"),
    ("min: 2", "min: §2.5", "spec.replicas.min", "field-form"),
    ("max: 10", "max: §1", "spec.replicas.max", "scaling-bounds"),
    ("max: 10", "max: §99999999999999999999", "spec.replicas.max", "field-form"),
    ("replicas: {min: 2, max: 10}", "replicas: §{min: 2, max: 15}", "spec.replicas", "scaling-connections"),
    ("replicas: {min: 2, max: 10}", "replicas: §{min: 15, max: 15}", "spec.replicas", "scaling-connections"),
    ("reservedForOthers: 20", "reservedForOthers: §200", "spec.database.reservedForOthers", "scaling-connections"),
    ("connectionsPerReplica: 10", "connectionsPerReplica: §0", "spec.database.connectionsPerReplica", "field-form"),
    ("connectionsPerReplica: 10", "rolloutSurge: §2, connectionsPerReplica: 9",
     "spec.database.rolloutSurge", "field-form"),
    ("maxConnections: 200", "maxConnections: 200, whenExceeded: §ignore", "spec.database.whenExceeded", "field-form"),
    ("signal: cpu, capacity: 2", "signal: §errorBurn, capacity: 2", "spec.drivers[0].signal", "field-form"),
    ("signal: cpu, capacity: 2", "signal: cpu, capacity: §0", "spec.drivers[0].capacity", "field-form"),
    ("signal: cpu, capacity: 2", "signal: cpu, capacity: §1e999", "spec.drivers[0].capacity", "field-form"),
    ("signal: cpu, capacity: 2", "signal: cpu, capacity: 2, queue: §q", "spec.drivers[0].queue", "field-unknown"),
    ("signal: cpu, capacity: 2", "signal: §memory, capacity: 1Gi", None, "scaling-driver"),
    ("capacity: 512Mi", "capacity: §512MB", "spec.drivers[1].capacity", "field-form"),
    ("scaleOutAbove: 0.8", "scaleOutAbove: §80", "spec.drivers[1].scaleOutAbove", "field-form"),
    ("scaleInBelow: 0.6", "scaleInBelow: §0.8", "spec.drivers[1].scaleInBelow", "scaling-flaps"),
    ("    - {signal: queueAge, queue: parcels,", "    - §{signal: queueAge,", "spec.drivers[2].queue", "field-missing"),
    ("capacity: 30s", "capacity: §thirty", "spec.drivers[2].capacity", "field-form"),
    ("[shop-answers]", "§[shop-answer]", "spec.hold.whilePaging", "reference-unknown"),
    ("[shop-answers]", f"§[{', '.join(f'a{n}' for n in range(1001))}]", "spec.hold.whilePaging", "field-form"),
    ("[shop-answers]", "§[]", "spec.hold.whilePaging", "field-form"),
    ("[shop-answers]", "§shop-answers", "spec.hold.whilePaging", "field-form"),
    ("[shop-answers]", "§[shop-answers, shop-answers]", "spec.hold.whilePaging", "field-form"),
]  # fmt: skip
BUDGET_REFUSALS = [
    ("[shop-answers]", "§[nobody]", "spec.slos", "reference-unknown"),
    ("[shop-answers]", "§{}", "spec.slos", "field-form"),
    ("remainingAtMost: 0.25", "remainingAtMost: §1", "spec.levels[0].remainingAtMost", "field-form"),
    ("remainingAtMost: 0.25", "remainingAtMost: §-1", "spec.levels[0].remainingAtMost", "field-form"),
    ("action: approve", "action: §think", "spec.levels[0].action", "field-form"),
    ("remainingAtMost: 0.25", "remainingAtMost: 0", "spec.levels[1].remainingAtMost", "budget-levels"),
    ("action: freeze", "action: allow", "spec.levels", "budget-levels"),
    ("  exceptions:", "  whilePaging: §wait\n  exceptions:", "spec.whilePaging", "field-form"),
    ("[approve, freeze]", "§[allow]", "spec.exceptions[0].overrides", "field-form"),
    ("description: The fix., ", "", "spec.exceptions[0].description", "field-missing"),
]  # fmt: skip
REFUSALS = [
    *((SCALING, *refusal) for refusal in SCALING_REFUSALS),
    *((BUDGET, *refusal) for refusal in BUDGET_REFUSALS),
]


def broken(definition: str, old: str, new: str) -> str:
    assert definition.count(old) >= 1, old
    return definition.replace(old, new.replace("§", ""), 1)


@pytest.mark.parametrize(("definition", "old", "new", "field", "code"), REFUSALS)
def test_nonsense_is_refused_where_it_stands(
    tmp_path: Path, definition: str, old: str, new: str, field: str | None, code: str
) -> None:
    found = problems(tmp_path, broken(definition, old, new))
    assert any(problem.code == code and field in (None, problem.field) for problem in found), found
    assert all(problem.what and problem.remedy for problem in found)
    if field and "§" in new:
        before = definition.replace(old, new, 1).partition("§")[0]
        place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
        (at,) = {(p.at.line, p.at.column) for p in found if p.field == field}
        assert at == place


def test_the_database_refuses_with_the_arithmetic(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, SCALING.replace("max: 10", "max: 15"))
    assert problem.what == (
        "main takes 200 connections, 20 of them for others: at 10 a replica, and 25 % more during a rollout, "
        "14 replicas fit, and max is 15"
    )
    assert problem.remedy.startswith("Write max: 14")


def test_the_database_caps_where_that_is_asked_for(tmp_path: Path) -> None:
    capped = SCALING.replace("max: 10", "max: 40").replace("maxConnections", "whenExceeded: cap, maxConnections")
    (policy,) = parse(tmp_path, capped).scaling
    assert (policy.wished_maximum, policy.maximum) == (40, 14)


def test_all_workloads_together_must_fit(tmp_path: Path) -> None:
    other = SCALING.replace("name: shop", "name: till", 2)
    found = problems(tmp_path, SCALING, other)
    assert [problem.code for problem in found] == ["scaling-connections"]
    assert "together they may open 260 connections (shop 130, till 130) and main takes 200" in found[0].what


def test_a_database_has_one_size(tmp_path: Path) -> None:
    other = SCALING.replace("name: shop", "name: till", 2).replace("maxConnections: 200", "maxConnections: 400")
    assert {problem.field for problem in problems(tmp_path, SCALING, other)} >= {"spec.database.maxConnections"}


def test_a_workload_has_one_policy(tmp_path: Path) -> None:
    other = SCALING.replace("metadata: {name: shop}", "metadata: {name: other}").replace("name: main", "name: second")
    assert [problem.code for problem in problems(tmp_path, SCALING, other)] == ["scaling-twice"]


def test_a_worker_takes_no_requests(tmp_path: Path) -> None:
    worker = SCALING.replace("namespace: sales", "namespace: sales, kind: worker").replace(
        "signal: cpu", "signal: requests"
    )
    assert [problem.code for problem in problems(tmp_path, worker)] == ["scaling-driver"]


connections = st.builds(
    Connections,
    database=st.just("main"),
    maximum=st.integers(1, 5000),
    reserved=st.integers(0, 5000),
    per_replica=st.integers(1, 200),
    surge_ratio=st.decimals(0, 1, places=2),
)


@settings(max_examples=50, deadline=None)
@given(connections)
def test_the_cap_fits_and_one_more_would_not(database: Connections) -> None:
    ceiling = database.ceiling()
    room = max(0, database.maximum - database.reserved)
    assert ceiling >= 0
    assert database.needed(ceiling) <= room
    assert database.needed(ceiling + 1) > room


@pytest.mark.parametrize(
    ("replicas", "surge", "at_once"), [(17, "0.25", 22), (1, "0.25", 2), (4, "0", 5), (0, "0.25", 0)]
)
def test_a_canary_has_a_place_whatever_surges(replicas: int, surge: str, at_once: int) -> None:
    assert Connections("primary", 1, 0, 1, Decimal(surge)).needed(replicas) == at_once


thresholds = st.tuples(st.decimals("0.01", "0.99", places=2), st.decimals("0.01", "0.99", places=2)).filter(
    lambda pair: pair[0] < pair[1]
)


@settings(max_examples=50, deadline=None)
@given(replicas=st.integers(1, 200), utilisation=st.floats(0, 20), band=thresholds)
def test_scaling_in_leaves_the_rest_under_the_target(
    replicas: int, utilisation: float, band: tuple[Decimal, Decimal]
) -> None:
    driver = Driver("cpu", Decimal(1), scale_out_above=band[1], scale_in_below=band[0])
    pressure = driver.pressure(utilisation)
    wanted = replicas_wanted(replicas, pressure, 1, 10**7)
    if wanted < replicas:
        assert utilisation * replicas / wanted <= float(driver.middle) * (1 + 1e-9) < float(band[1])
    if utilisation > band[1]:
        assert wanted > replicas
        assert utilisation * replicas / wanted <= float(band[1]) * (1 + 1e-6)
    elif utilisation >= band[0]:
        assert wanted == replicas
    assert math.isfinite(pressure)


@settings(max_examples=50, deadline=None)
@given(replicas=st.integers(1, 500), load=st.floats(0, 500), band=thresholds)
def test_under_a_constant_load_replicas_come_to_rest_and_never_flap(
    replicas: int, load: float, band: tuple[Decimal, Decimal]
) -> None:
    """However narrow the band: one step out and one in at most, then nothing moves."""
    driver = Driver("cpu", Decimal(1), scale_out_above=band[1], scale_in_below=band[0])
    course = [replicas]
    for _ in range(4):
        course.append(replicas_wanted(course[-1], driver.pressure(load / course[-1]), 1, 10**7))
    assert course[-1] == course[-2] == course[-3], course
    assert load / course[-1] <= float(band[1]) * (1 + 1e-6) or course[-1] == 10**7


def test_on_another_database_as_many_fit_as_it_allows() -> None:
    policy = next(policy for policy in parse_definitions(SHIPPED).scaling if policy.name == "api")
    smaller = policy.on_database(maximum=100, reserved=28)  # seven places: five and two during a rollout
    assert smaller.maximum == 5
    assert policy.on_database(maximum=100_000, reserved=0).maximum == policy.wished_maximum
    with pytest.raises(ValueError, match="1 replicas fit into 48 connections"):
        policy.on_database(maximum=48, reserved=28)
