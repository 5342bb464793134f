"""The tools round the compiler on the running stack: live budgets, and queries against what services really expose."""

from __future__ import annotations

import json
from typing import Any

from tests.acceptance.backends import eventually
from tests.conftest import Stack

ONLY_LATER = {"total-unseen", "counted-unseen", "metric-without-series", "traffic-low"}  # until something happens


def test_status_shows_the_live_budget_of_every_promise(stack: Stack) -> None:
    def budgets() -> list[dict[str, Any]] | None:
        slos = json.loads(stack.signalbox("slo", "status", "--json").stdout)["slos"]
        known = all(slo["verdict"] != "no data" and set(slo["budget_course"]) - {None} for slo in slos)
        return slos if known else None

    slos = eventually(budgets, "every promise has data and a course", within_s=90, every_s=3)
    assert {slo["name"] for slo in slos} >= {"catalogue-latency", "checkout-availability", "fulfilment-freshness"}
    for slo in slos:
        assert slo["budget_remaining_ratio"] <= 1


def test_every_query_of_the_definitions_fits_what_the_services_expose(stack: Stack) -> None:
    exposed = [f"{job}={stack.urls[name]}/metrics" for job, name in (("api", "api-1"), ("worker", "worker"))]
    result = stack.signalbox("slo", "lint", "--json", *(word for place in exposed for word in ("--metrics", place)))
    document = json.loads(result.stdout)
    assert result.returncode == 0, document["findings"]
    assert {finding["name"] for finding in document["findings"]} <= ONLY_LATER
