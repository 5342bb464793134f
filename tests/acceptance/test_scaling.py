"""Scaling and the deploy gate on the running stack: every driver has a figure, and budgets are live."""

from __future__ import annotations

import json

import pytest

from slo.parse.tree import parse_definitions
from slo.scaling import ScalingPolicy
from tests.acceptance.backends import Backends, eventually
from tests.conftest import ROOT, Stack

FOUND = parse_definitions(ROOT / "slo" / "definitions")


@pytest.mark.parametrize("policy", FOUND.scaling, ids=lambda policy: policy.name)
def test_every_driver_has_a_figure(backends: Backends, policy: ScalingPolicy) -> None:
    wanted = {driver.signal for driver in policy.drivers}
    query = f'scaling:utilisation:ratio{{policy="{policy.name}"}}'
    eventually(
        lambda: {series["metric"]["driver"] for series in backends.query(query)} == wanted,
        f"utilisation of {wanted}",
        within_s=60,
    )


@pytest.mark.parametrize("policy", FOUND.scaling, ids=lambda policy: policy.name)
def test_nothing_but_a_page_holds_a_healthy_workload(backends: Backends, policy: ScalingPolicy) -> None:
    query = f'sum(scaling:hold:active{{policy="{policy.name}",reason!="paging"}})'
    eventually(lambda: backends.value(query) == 0, f"{policy.name} released", within_s=60)
    pressure = backends.value(f'scaling:pressure:ratio{{policy="{policy.name}"}}')
    assert pressure is not None
    assert pressure >= 0


def test_the_gate_reads_live_budgets(stack: Stack) -> None:
    def decided() -> dict[str, object] | None:
        result = stack.signalbox("slo", "gate", "--json")
        document: dict[str, object] = json.loads(result.stdout)
        assert result.returncode == {"go": 0, "stop": 1, "unknown": 2}[str(document["decision"])], result.stderr
        return document if document["decision"] != "unknown" else None

    document = eventually(decided, "a decision", within_s=90, every_s=2)
    slos = document["slos"]
    assert isinstance(slos, list)
    assert {slo["name"] for slo in slos} == {promise.name for promise in FOUND.promises}
    assert all(slo["budget_remaining_ratio"] is not None for slo in slos)
