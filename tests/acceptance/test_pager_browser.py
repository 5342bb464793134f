"""The pager's web pages as people use them: by keyboard, on a phone, in the dark, in a real browser."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.backends import eventually
from tests.acceptance.browser import DESKTOP, FAINT, NAMELESS, PHONE, launch, opened, overflow, tab_to
from tests.acceptance.conftest import sign_in
from tests.conftest import ROOT, Stack

FAULT = ("charge-errors", "--percent", "60")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch() as one:
        yield one


# A pager alone, with pages that are worse than real ones


@pytest.fixture(scope="module")
def pager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The pager's address. It has no backends, and three open pages that came by its webhook."""
    folder = tmp_path_factory.mktemp("pager")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGNALBOX_")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "stack.pager", "--port", str(port)],
            cwd=ROOT,
            env={**kept, "SIGNALBOX_PAGER_DATA": str(folder / "data")},
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: httpx.get(f"{url}/readyz").status_code == 200, "the pager", within_s=30)
        alerts = [alert(number) for number in range(3)]
        answer = httpx.post(f"{url}/api/v1/alerts", json={"version": "4", "status": "firing", "alerts": alerts})
        assert answer.status_code == 200, answer.text
        yield url
    finally:
        process.terminate()
        process.wait(20)


def alert(number: int) -> dict[str, Any]:
    long = "unbreakable" * 20
    return {
        "status": "firing",
        "fingerprint": f"f{number}",
        "labels": {
            "alertname": f"Alert{number}{long}"[:90],
            "tier": "page",
            "service": long[:60],
            "slo": f"slo-{number}",
        },
        "annotations": {
            "summary": f"Summary {number} {long}",
            "impact": f"Nobody can buy. {long}",
            "description": f"https://example.org/{long}?{long}",
            "budget_remaining": "61.2%",
            "budget_lasts": "9h 12m 0s",
            "worst_route": f"POST /v1/orders/{long} (87 bad)",
            "suspect": f"{long}: 31% of the calls fail",
            "changed": "desk 1.4.0 deployed.",
        },
        "startsAt": datetime.now(UTC).isoformat(),
    }


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_long_texts_fit_and_everything_can_be_read_and_named(
    browser: Browser, pager: str, viewport: Any, dark: bool
) -> None:
    page_of = httpx.get(f"{pager}/api/v1/pages").json()["pages"][0]["links"]["page"]
    with opened(browser, viewport, dark=dark) as page:
        for path in ("/", page_of, "/runbooks/DeadMansSwitch"):
            page.goto(pager + path)
            assert overflow(page) <= 0, path
            assert page.evaluate(FAINT) == [], path
            assert page.evaluate(NAMELESS) == [], path
        page.goto(pager)
        expect(page.get_by_role("heading", level=1)).to_have_text("3 open pages")


def test_tab_begins_with_the_way_past_the_head_and_shows_where_it_is(browser: Browser, pager: str) -> None:
    with opened(browser) as page:
        page.goto(pager)
        stops = tab_to(page, "article h2 a")
        assert stops[0] == "Skip to content"
        page.goto(pager)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # past the head: what comes next is the first page
        assert len(tab_to(page, "article h2 a")) == 1


def test_single_keys_walk_through_pages_and_can_be_switched_off(browser: Browser, pager: str) -> None:
    def focused(page: Page) -> str:
        return str(page.evaluate("() => document.activeElement.textContent.trim().slice(0, 9)"))

    with opened(browser) as page:
        page.goto(pager)
        seen = []
        for key in "jjkjj":
            page.keyboard.press(key)
            seen.append(focused(page))
        titles = [text.strip()[:9] for text in page.locator("article h2 a").all_text_contents()]
        assert seen == [titles[place] for place in (0, 1, 0, 1, 2)]
        page.keyboard.press("d")  # of the page that has the focus
        expect(page).to_have_url(re.compile("/pages/[0-9a-f]+#figures"))
        expect(page.get_by_role("heading", level=1)).to_contain_text(titles[2])
        page.goto(pager)
        page.keyboard.press("?")
        expect(page.get_by_text("next, previous page")).to_be_visible()
        page.get_by_role("checkbox").uncheck()
        page.reload()
        page.keyboard.press("j")
        assert focused(page) != titles[0]


def test_a_page_that_renews_itself_leaves_the_focus_where_it_is(browser: Browser, pager: str) -> None:
    with opened(browser) as page:
        page.goto(pager)
        page.keyboard.press("j")
        page.keyboard.press("j")
        before = page.evaluate("() => document.activeElement.textContent")
        with page.expect_response(lambda answer: answer.url.rstrip("/") == pager):
            pass
        page.wait_for_timeout(200)
        assert page.evaluate("() => document.activeElement.textContent") == before


# The whole stack, on fire


@pytest.fixture(scope="module")
def burning(stack: Stack) -> Iterator[dict[str, Any]]:
    """The checkout's page while payments fail: explained, with its trace. Orders go on coming."""
    pager, over = stack.urls["pager"], threading.Event()

    def order() -> None:
        with sign_in(stack.urls) as user:
            for number in range(100_000):
                body = {"user_id": 1 + number % 500, "items": [{"product_id": 1 + number % 90, "quantity": 1}]}
                with suppress(httpx.HTTPError):  # that they fail is the point
                    user.post("/v1/orders", json=body)
                if over.wait(0.15):
                    return

    customers = threading.Thread(target=order, daemon=True)
    customers.start()
    time.sleep(5)
    on = stack.signalbox("fault", "set", *FAULT)
    assert on.returncode == 0, on.stderr

    def explained() -> dict[str, Any] | None:
        found = httpx.get(f"{pager}/api/v1/pages", params={"state": "firing"}, timeout=30).json()["pages"]
        return next(
            (
                one
                for one in found
                if one["alert"] == "CheckoutAvailabilityBurnPage"
                and one["trace_id"]
                and one["evidence"]
                and one["evidence"]["failure"]
                and one["evidence"]["dependencies"]
                and not one["evidence"]["problems"]
                and any(f"fault {FAULT[0]} on" in text for _, text in one["evidence"]["changes"])
            ),
            None,
        )

    try:
        yield eventually(explained, "an explained page of the checkout", within_s=120, every_s=1)
    finally:
        stack.signalbox("fault", "clear", FAULT[0])
        over.set()
        customers.join(20)


def test_the_page_says_where_and_why(stack: Stack, burning: dict[str, Any]) -> None:
    def whole() -> bool:
        """Once the window of every question holds failing orders of both replicas."""
        evidence = httpx.get(f"{stack.urls['pager']}/api/v1/pages/{burning['id']}", timeout=30).json()["evidence"]
        assert evidence["problems"] == []
        assert evidence["routes"][0]["name"] == "POST /v1/orders"
        assert evidence["events_lost"] > 0
        assert {one["name"] for one in evidence["instances"]} == {"api-1", "api-2"}
        assert evidence["versions"][0]["value"] > 0
        assert any("payments" in one["name"] or one["failing"] > 0.1 for one in evidence["dependencies"])
        assert any(f"fault {FAULT[0]} on" in text for _, text in evidence["changes"])
        return True

    eventually(whole, "a page that says all of it", within_s=60, every_s=1)


def test_a_keyboard_leads_from_the_list_to_the_page_to_its_trace_and_logs(
    browser: Browser, stack: Stack, burning: dict[str, Any]
) -> None:
    with opened(browser) as page:
        page.goto(stack.urls["pager"])
        tab_to(page, f"#page-{burning['id']} h2 a")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(f"/pages/{burning['id']}"))
        tab_to(page, "nav.steps a")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(f"/traces/{burning['trace_id']}"))
        expect(page.locator(".waterfall details.failed").first).to_be_visible()
        page.wait_for_load_state()  # the keys' script runs after the page is there
        page.keyboard.press("l")
        expect(page.get_by_role("heading", level=1)).to_contain_text("of this trace")
        expect(page.locator(".lines .service", has_text="api").first).to_be_visible(timeout=15_000)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_on_a_phone_everything_that_is_open_fits(
    browser: Browser, stack: Stack, burning: dict[str, Any], dark: bool
) -> None:
    paths = ["/", f"/pages/{burning['id']}", f"/traces/{burning['trace_id']}", f"/logs/{burning['trace_id']}"]
    with opened(browser, PHONE, dark=dark) as page:
        for path in paths:
            page.goto(stack.urls["pager"] + path)
            assert overflow(page) <= 0, path
            assert page.evaluate(FAINT) == [], path
            assert page.evaluate(NAMELESS) == [], path
            small = page.locator("nav.steps a:visible, nav.spans a:visible").evaluate_all(
                "(all) => all.filter((one) => one.getBoundingClientRect().height < 44).map((one) => one.textContent)"
            )
            assert small == [], f"{path}: too small for a thumb"


def test_the_front_page_shows_the_page_its_budget_and_what_happened(
    browser: Browser, stack: Stack, burning: dict[str, Any]
) -> None:
    with opened(browser) as page:
        page.goto(stack.urls["pager"])
        card = page.locator(f"#page-{burning['id']}")
        for text in ("Budget left", "Lost so far", "POST /v1/orders", "Under suspicion", "Customers cannot buy"):
            expect(card).to_contain_text(text)
        budget = page.locator("#budget-checkout-availability")
        expect(budget.locator("svg")).to_be_visible()
        expect(budget.locator("polyline").first).to_be_attached()  # a level line has no height, so it counts as hidden
        assert page.locator(".budget").count() == 3
        timeline = page.locator("#timeline")
        expect(timeline).to_contain_text(f"fault {FAULT[0]} on")
        expect(timeline.get_by_role("link", name=re.compile("Checkout availability")).first).to_be_visible()
        page.get_by_role("link", name="1h", exact=True).click()
        expect(timeline.get_by_role("heading")).to_have_text("What happened in the last 1h")


def test_every_link_of_a_notification_leads_somewhere(stack: Stack, burning: dict[str, Any]) -> None:
    alerts = f"{stack.urls['pager']}/alerts?fingerprint={burning['fingerprint']}"
    for to in ("", "&to=trace", "&to=logs", "&to=changes"):
        answer = httpx.get(alerts + to, follow_redirects=True)
        assert answer.status_code == 200, to
        assert answer.url.path != "/", to
    for name in ("runbook", "dashboard"):
        assert httpx.get(burning["links"][name], follow_redirects=True).status_code == 200, name


def test_the_alert_itself_names_route_version_instance_suspect_and_change(
    stack: Stack, burning: dict[str, Any]
) -> None:
    """What Slack and PagerDuty show comes from here: Prometheus answered the questions when it evaluated the rule."""
    alerts = httpx.get(f"{stack.urls['prometheus']}/api/v1/alerts", timeout=30).json()["data"]["alerts"]
    said = next(one["annotations"] for one in alerts if one["labels"]["alertname"] == burning["alert"])
    assert re.fullmatch(r"POST /v1/orders \(\d+ bad\)", said["worst_route"]), said["worst_route"]
    assert re.search(r"\([\d.]+%\)", said["worst_version"]), said["worst_version"]
    assert re.search(r"api-\d \([\d.]+%\)", said["worst_instance"]), said["worst_instance"]
    assert re.search(r"\d% of the calls fail|times as slow", said["suspect"]), said["suspect"]
    assert f"Fault {FAULT[0]} is on." in said["changed"], said["changed"]
    assert not [name for name, text in said.items() if "<error" in text or "<no value>" in text]


def test_screenshots(browser: Browser, stack: Stack, burning: dict[str, Any]) -> None:
    """Not judged: for people to look at, where SIGNALBOX_SCREENSHOTS names a folder."""
    folder = os.environ.get("SIGNALBOX_SCREENSHOTS")
    if not folder:
        pytest.skip("SIGNALBOX_SCREENSHOTS is not set")
    for viewport, size in ((DESKTOP, "1280"), (PHONE, "375")):
        for dark in (False, True):
            with opened(browser, viewport, dark=dark) as page:
                for name, path in (("list", "/"), ("page", f"/pages/{burning['id']}")):
                    page.goto(stack.urls["pager"] + path)
                    shade = "dark" if dark else "light"
                    page.screenshot(path=Path(folder) / f"{name}-{size}-{shade}.png", full_page=True)
