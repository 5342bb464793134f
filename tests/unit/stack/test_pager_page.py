"""What a webhook says, and what it makes of a page."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.pager.page import (
    LATE_DELIVERY_S,
    MAX_ENTRIES,
    MAX_TEXT_CHARS,
    Notice,
    NoticeError,
    build_page,
    emit_time,
    parse_time,
    parse_webhook,
    update_page,
)

START = 1_785_542_400.0  # 2026-08-01T00:00:00Z

ALERT: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "CheckoutAvailabilityBurnPage", "service": "checkout", "tier": "page"},
    "annotations": {"summary": "Checkout is failing"},
    "startsAt": "2026-08-01T00:00:00.123456789Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "",
    "fingerprint": "6d1a3c1f0b8e9a77",
}


def webhook(*alerts: Any, **changes: Any) -> dict[str, Any]:
    return {"version": "4", "groupKey": "{}", "status": "firing", "receiver": "pager", "alerts": list(alerts)} | changes


def alert(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(ALERT) | changes


def notice(state: str = "firing", **changes: Any) -> Notice:
    fields: dict[str, Any] = {
        "fingerprint": "f",
        "state": state,
        "starts_at": START,
        "ends_at": None,
        "labels": {"alertname": "A"},
        "annotations": {},
    }
    return Notice(**(fields | changes))


def test_an_alert_is_read_whole() -> None:
    [one], errors = parse_webhook(webhook(alert()))
    assert errors == []
    assert one.fingerprint == "6d1a3c1f0b8e9a77"
    assert one.state == "firing"
    assert one.starts_at == pytest.approx(START + 0.123456, abs=1e-6)
    assert one.ends_at is None
    assert one.labels == ALERT["labels"]
    assert one.annotations == ALERT["annotations"]


def test_an_alert_says_itself_whether_it_fires_and_its_group_does_so_otherwise() -> None:
    resolved = alert(status="resolved", endsAt="2026-08-01T00:10:00Z")
    silent = {name: value for name, value in resolved.items() if name != "status"}
    notices, _ = parse_webhook(webhook(alert(), resolved, silent, status="resolved"))
    assert [one.state for one in notices] == ["firing", "resolved", "resolved"]
    assert notices[1].ends_at == START + 600


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([], "not a JSON object"),
        (None, "not a JSON object"),
        ({}, "alerts is not a list"),
        (webhook(), "at least one alert"),
        (webhook(alert(), version="3"), "version '3'"),
        (webhook("text"), "alerts[0]: not a JSON object"),
        (webhook(alert(status="pending")), "status is 'pending'"),
        (webhook(alert(status=["firing"])), "status is ['firing']"),
        (webhook(alert(labels={})), "alertname is missing"),
        (webhook(alert(labels={"alertname": 3})), "labels is not an object of texts"),
        (webhook(alert(annotations="x")), "annotations is not an object of texts"),
        (webhook(alert(startsAt=None)), "startsAt is missing"),
        (webhook(alert(startsAt="0001-01-01T00:00:00Z")), "startsAt is missing"),
        (webhook(alert(startsAt="yesterday")), "startsAt is 'yesterday'"),
        (webhook(alert(startsAt=1785542400)), "not an RFC 3339 time"),
        (webhook(alert(startsAt="2026-08-01T00:00:00")), "not an RFC 3339 time"),
        (webhook(alert(startsAt="1969-01-01T00:00:00Z")), "out of range"),
        (webhook(alert(startsAt="9999-12-31T23:59:59-14:00")), "out of range"),
        (webhook(alert(fingerprint={"a": 1})), "fingerprint is not a text"),
    ],
)
def test_a_body_that_is_no_webhook_is_refused_with_its_reason(body: Any, reason: str) -> None:
    with pytest.raises(NoticeError) as caught:
        parse_webhook(body)
    assert reason in str(caught.value)


def test_one_bad_alert_does_not_cost_the_others_of_its_group() -> None:
    notices, errors = parse_webhook(webhook(alert(), alert(startsAt="soon"), alert(fingerprint="2")))
    assert [one.fingerprint for one in notices] == ["6d1a3c1f0b8e9a77", "2"]
    assert errors == ["alerts[1]: startsAt is 'soon', not an RFC 3339 time"]


def test_an_alert_without_a_fingerprint_is_known_by_its_labels() -> None:
    bare = alert(fingerprint="")
    other = alert(fingerprint="", labels={"alertname": "Other"})
    first, again, different = parse_webhook(webhook(bare, bare, other))[0]
    assert first.fingerprint == again.fingerprint != different.fingerprint


def test_what_is_kept_of_a_text_is_bounded_and_printable() -> None:
    annotations = {f"a{number}": "x" for number in range(1_000)} | {}
    hostile = {"summary": "A\x00B\x1b[31m\u202eC\nD", "long": "y" * 1_000_000}
    many, few = parse_webhook(webhook(alert(annotations=annotations), alert(annotations=hostile)))[0]
    assert len(many.annotations) == MAX_ENTRIES
    assert few.annotations["summary"] == "A�B�[31m�C\nD"
    assert len(few.annotations["long"]) == MAX_TEXT_CHARS
    assert few.annotations["long"].endswith("y…")


KEYS = ["version", "alerts", "status", "labels", "annotations", "startsAt", "endsAt", "alertname"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    ["version", "alerts", "status", "labels", "annotations", "startsAt", "endsAt", "alertname"]
                ),
                inner,
                max_size=6,
            )
        ),
        max_leaves=30,
    )
)
def test_no_document_breaks_the_reading(body: Any) -> None:
    for document in (body, webhook(body), webhook(alert(startsAt=body)), webhook(alert(labels=body, endsAt=body))):
        try:
            notices, _ = parse_webhook(document)
        except NoticeError:
            continue
        for one in notices:
            build_page(one, START).to_document()


def test_a_page_shows_what_the_alert_said() -> None:
    [one], _ = parse_webhook(webhook(alert()))
    document = build_page(one, START + 5).to_document()
    assert document["alert"] == "CheckoutAvailabilityBurnPage"
    assert (document["service"], document["slo"], document["tier"]) == ("checkout", "", "page")
    assert document["summary"] == "Checkout is failing"
    assert document["starts_at"] == "2026-08-01T00:00:00.123Z"
    assert document["received_at"] == "2026-08-01T00:00:05.000Z"
    assert document["resolved_at"] is None
    assert document["trace_id"] is None


def test_an_alert_that_names_no_tier_is_a_page() -> None:
    assert build_page(notice(), START).tier == "page"


def test_a_repeated_notice_brings_the_texts_up_to_date_and_keeps_the_beginning() -> None:
    page = build_page(notice(), START + 1)
    later = update_page(page, notice(annotations={"budget_remaining": "12 %"}), START + 60)
    assert (later.id, later.received_at, later.updated_at) == (page.id, START + 1, START + 60)
    assert later.annotations == {"budget_remaining": "12 %"}


def test_a_resolution_ends_the_page_when_the_alert_ended_not_when_it_was_told() -> None:
    page = update_page(build_page(notice(), START), notice("resolved", ends_at=START + 30), START + 90)
    assert (page.state, page.resolved_at) == ("resolved", START + 30)


def test_an_end_before_the_start_lasts_no_time() -> None:
    assert build_page(notice("resolved", ends_at=START - 30), START).resolved_at == START


def test_a_firing_notice_that_its_resolution_overtook_does_not_reopen_the_page() -> None:
    ended = build_page(notice("resolved", ends_at=START + 30), START + 31)
    assert update_page(ended, notice(), START + 31 + LATE_DELIVERY_S / 2) == ended


def test_an_alert_that_returns_with_its_old_start_reopens_the_page() -> None:
    ended = build_page(notice("resolved", ends_at=START + 30), START + 31)
    again = update_page(ended, notice(), START + 31 + LATE_DELIVERY_S * 2)
    assert (again.id, again.state, again.resolved_at) == (ended.id, "firing", None)


def test_times_survive_writing_and_reading() -> None:
    assert parse_time(emit_time(START + 0.25)) == START + 0.25
