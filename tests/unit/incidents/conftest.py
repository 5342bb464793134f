"""A system to break, and a scenario short enough for a unit test."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stand_in import StandIn

from incidents.scenario_file import ScenarioFile, parse_scenario

SCENARIO = """\
id: brief
title: Payments answers errors
story: A short incident.
clock: 20
seeds: {load: 7}
load:
  mix: {read_product: 1, create_order: 1}
  steps:
    - rate_per_s: 20
cause: {component: payments, kind: errors}
faults:
  - kind: service
    target: payments
    name: charge-errors
    parameters: {percent: 30, status: 500}
    duration_s: 30
baseline:
  hold_s: 0.2
  deadline_s: 1.2
  checks:
    - {name: the shop opens, kind: http, url: "{gateway}/v1/products", wanted: "== 200"}
    - {name: orders are placed, kind: promql, query: rate, wanted: "> 1"}
signals:
  - {name: orders fail, kind: promql, query: ratio, wanted: "> 0.1", deadline_s: 1.0, unit: ratio}
  - name: traces lead to payments
    kind: traces
    query: {service: api, tags: {error: "true"}, holding: {service: payments, error: true}}
    wanted: ">= 1"
    deadline_s: 1.0
  - {name: payments complains, kind: logs, query: '{service_name="payments"}', wanted: ">= 1", deadline_s: 1.0}
alert:
  name: CheckoutAvailabilityBurnPage
  tier: page
  deadline_s: 1.1
  resolves_within_s: 0.9
  exemplar_crosses: [gateway, api, payments]
must_not_fire: [CatalogueLatency*]
runbook: docs/runbooks/CheckoutAvailabilityBurnPage.md
mitigation:
  story: The release before is back.
  action: clear-faults
  deadline_s: 0.9
  checks:
    - {name: orders succeed again, kind: promql, query: ratio, wanted: "< 0.01"}
rollback:
  deadline_s: 1
  checks:
    - {name: the shop opens, kind: http, url: "{gateway}/v1/products", wanted: "== 200"}
plots:
  - {name: Orders, query: rate, unit: per s}
"""


@pytest.fixture
def build_system() -> Iterator[Callable[[], StandIn]]:
    built: list[StandIn] = []

    def build() -> StandIn:
        built.append(StandIn())
        return built[-1]

    yield build
    for stand_in in built:
        stand_in.close()


@pytest.fixture(autouse=True)
def load_is_steady_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is usual here needs no finding out."""
    monkeypatch.setattr("incidents.run.STEADY_S", 0.0)


@pytest.fixture
def system(build_system: Callable[[], StandIn]) -> StandIn:
    return build_system()


def read_brief() -> ScenarioFile:
    path = Path("brief.yaml")
    return ScenarioFile(parse_scenario(SCENARIO, path), path, SCENARIO)


@pytest.fixture
def brief() -> ScenarioFile:
    return read_brief()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
