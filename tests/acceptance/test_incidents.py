"""The incident and its no-op twin, run as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Stack

pytestmark = pytest.mark.timeout(420)


def test_failing_payments_are_paged_within_a_minute_and_the_page_says_why(stack: Stack, tmp_path: Path) -> None:
    run = stack.signalbox("incident", "run", "downstream-errors", "--clock", "20", "--json", timeout_s=400)
    assert run.returncode == 0, run.stderr[-3000:] + run.stdout[-3000:]
    document = json.loads(run.stdout)
    assert document["verdict"] == "held"
    assert document["alert"]["name"] == "CheckoutAvailabilityBurnPage"
    assert document["alert"]["tier"] == "page"
    assert document["alert"]["fired_after_s"] <= min(60, document["alert"]["deadline_s"])
    assert document["signals"]
    assert all(signal["ok"] for signal in document["signals"])
    assert Path(document["report"]).read_text().lstrip().lower().startswith("<!doctype html>")


def test_the_page_carries_runbook_dashboard_trace_and_budget(stack: Stack) -> None:
    """Reads the page that the incident above left at the pager."""
    import httpx

    pages = httpx.get(f"{stack.urls['pager']}/api/v1/pages").json()["pages"]
    page = next(page for page in pages if page["alert"] == "CheckoutAvailabilityBurnPage")
    assert page["tier"] == "page"
    assert page["budget_remaining"]
    assert len(page["trace_id"]) == 32
    assert page["links"]["dashboard"] or page["annotations"]["dashboard"]
    for link in ("runbook", "trace", "logs"):
        assert httpx.get(httpx.URL(stack.urls["pager"]).join(page["links"][link])).status_code == 200, link


def test_an_incident_whose_fault_comes_from_outside_holds(stack: Stack) -> None:
    """A lock in the database, set by the component `faults`; `incident run --all` has the others."""
    run = stack.signalbox("incident", "run", "lock-contention", "--clock", "20", "--json", timeout_s=400)
    assert run.returncode == 0, run.stderr[-3000:] + run.stdout[-3000:]
    assert json.loads(run.stdout)["verdict"] == "held"


def test_the_twin_pages_nobody(stack: Stack) -> None:
    run = stack.signalbox("incident", "run", "downstream-errors-twin", "--clock", "20", "--json", timeout_s=400)
    assert run.returncode == 0, run.stderr[-3000:] + run.stdout[-3000:]
    assert json.loads(run.stdout)["verdict"] == "held"
