"""Triage on the running stack: silent when nothing is wrong, and right about what is."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.backends import eventually
from tests.acceptance.conftest import sign_in
from tests.conftest import Stack

pytestmark = pytest.mark.timeout(300)

WARM_UP_S = 45


@pytest.fixture
def load(stack: Stack) -> Iterator[threading.Event]:
    """A few customers who read and order, besides the prober; set it to send them home."""
    stop = threading.Event()

    def shop() -> None:
        with sign_in(stack.urls) as client:
            for number in range(100_000):
                if stop.is_set():
                    return
                items = [{"product_id": 100 + number % 500, "quantity": 1}]
                for method, path, body in (
                    ("GET", f"/v1/products/{200 + number % 10}", None),
                    ("GET", "/v1/products?limit=10", None),
                    ("POST", "/v1/orders", {"user_id": 1 + number % 900, "items": items}),
                ):
                    try:
                        client.request(method, path, json=body)
                    except httpx.HTTPError:
                        continue
                    time.sleep(0.1)

    customers = [threading.Thread(target=shop) for _ in range(2)]
    for customer in customers:
        customer.start()
    try:
        time.sleep(WARM_UP_S)  # what is normal has to be known before it can be missed
        yield stop
    finally:
        stop.set()
        for customer in customers:
            customer.join()


@contextmanager
def broken(stack: Stack, fault: str, *arguments: str) -> Iterator[float]:
    """A fault that is on; since when."""
    since = time.time()
    put = stack.signalbox("fault", "set", fault, "--for", "120", *arguments)
    assert put.returncode == 0, put.stderr
    try:
        yield since
    finally:
        stack.signalbox("fault", "clear", fault)


def triage(stack: Stack, *arguments: str) -> dict[str, Any]:
    found = stack.signalbox("triage", "--json", *arguments, timeout_s=180 if "--bundle" in arguments else 60)
    assert found.returncode == 0, found.stderr
    document: dict[str, Any] = json.loads(found.stdout)
    return document


def moment(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def causes(document: dict[str, Any]) -> list[str]:
    return [f"{cause['component']} {cause['kind']}" for cause in document["causes"]]


def comes_first(stack: Stack, cause: str, since: float, origins: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Triage again and again until the cause is first, by evidence of these origins: what it reads takes seconds to
    arrive, figures less than traces."""

    def ask() -> dict[str, Any] | None:
        document = triage(stack, "--at", f"{time.time():.3f}", "--since", f"{since:.3f}")
        assert causes(document)[:1] == [cause], causes(document)
        assert origins <= {sign["origin"] for sign in document["causes"][0]["evidence"]}
        return document

    return eventually(ask, f"{cause} first", within_s=70, every_s=3)


def test_a_quiet_system_shows_nothing_unusual(stack: Stack, load: threading.Event) -> None:
    window_s = 15  # the least; four of it are what is compared with, and one is left out between them
    time.sleep(6 * window_s - WARM_UP_S + 5)
    calm = ("--at", f"{time.time():.3f}", "--window", str(window_s))
    document = triage(stack, *calm)
    assert document["verdict"] == "nothing unusual", json.dumps(document["causes"], indent=1)
    said = stack.signalbox("triage", *calm)
    assert said.returncode == 0
    assert "Nothing unusual." in said.stdout


def test_failing_charges_lead_to_payments_with_a_trace_and_numbers(stack: Stack, load: threading.Event) -> None:
    with broken(stack, "charge-errors", "--percent", "40") as since:
        document = comes_first(stack, "payments errors", since, frozenset({"metrics", "spans"}))
    evidence = document["causes"][0]["evidence"]
    assert any(len(sign["trace_id"]) == 32 for sign in evidence)
    assert any("before" in sign["says"] for sign in evidence)


@pytest.mark.timeout(600)  # a slice of minutes is loaded twice
def test_a_captured_slice_leads_to_the_same_cause(stack: Stack, load: threading.Event, tmp_path: Path) -> None:
    begun, bundle = time.time() - WARM_UP_S, tmp_path / "slice.zip"
    time.sleep(30)  # what is normal takes longer to be known than what is not
    with broken(stack, "charge-errors", "--percent", "40") as since:
        comes_first(stack, "payments errors", since)
        time.sleep(30)  # a slice that ends with the first sign of trouble shows little of it
        now = time.time()
    load.set()
    captured = stack.signalbox(
        "incident", "capture", "--from", moment(begun), "--to", moment(now), "--out", str(bundle), timeout_s=120
    )
    assert captured.returncode == 0, captured.stderr
    document = triage(stack, "--bundle", str(bundle), "--at", f"{now:.3f}", "--since", f"{since:.3f}")
    assert causes(document)[:1] == ["payments errors"], causes(document)
    assert document["windows"]["now"]["end"] != pytest.approx(now, abs=3600), "this system has other samples there"
    by_alert = triage(stack, "--bundle", str(bundle))  # a second time doubles nothing; its own alert says where to look
    # A page of the test before this one may go on all the while; then it is a ticket that begins with the trouble.
    assert by_alert["alert"]["tier"] in ("page", "ticket")
    assert causes(by_alert)[:1] == ["payments errors"], by_alert["alert"]
    unknown = stack.signalbox("triage", "NoSuchAlert", "--bundle", str(bundle))
    assert unknown.returncode == 2
    assert "the slice has no page 'NoSuchAlert'. Known: " in unknown.stderr


def test_a_replica_that_does_not_replay_is_found(stack: Stack, load: threading.Event) -> None:
    with broken(stack, "pause-replay") as since:
        comes_first(stack, "postgres-replica replay-lag", since)


def test_a_lock_that_somebody_holds_is_found_behind_the_orders_that_fail(stack: Stack, load: threading.Event) -> None:
    with broken(stack, "hold-lock", "--param", "table=products", "--param", "mode=rows") as since:
        comes_first(stack, "postgres lock-wait", since)


def test_an_alert_that_nobody_sent_is_refused(stack: Stack) -> None:
    found = stack.signalbox("triage", "NoSuchAlert")
    assert found.returncode == 2
    assert "the pager has no page 'NoSuchAlert'" in found.stderr
