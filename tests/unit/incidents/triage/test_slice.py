"""Which alert of a captured slice is looked at when nobody names one."""

from __future__ import annotations

import pytest

from incidents.triage.slice import choose_alert, firings


def alert(name: str, tier: str, minute: int, *, early: bool = False) -> dict[str, object]:
    return {
        "id": f"{name}@1",
        "alert": name,
        "tier": tier,
        "starts_at": f"2026-01-01T00:{minute:02}:00",
        "early": early,
    }


LEFT_OVER = alert("ServiceDown", "page", 0, early=True)
PAGE, LATER = alert("BurnPage", "page", 5), alert("BurnPage", "page", 6)
TICKET = alert("BurnTicket", "ticket", 3)


@pytest.mark.parametrize(
    ("alerts", "name", "chosen"),
    [
        ([TICKET, LATER, PAGE], None, PAGE),
        ([LEFT_OVER, TICKET, PAGE], None, PAGE),
        ([LEFT_OVER, TICKET], None, TICKET),
        ([LEFT_OVER], None, LEFT_OVER),
        ([LEFT_OVER, PAGE], "ServiceDown", LEFT_OVER),
        ([PAGE, LATER], "BurnPage@1", PAGE),
        ([PAGE], "Other", None),
        ([], None, None),
    ],
)
def test_the_first_page_that_has_a_time_before(
    alerts: list[dict[str, object]], name: str | None, chosen: dict[str, object] | None
) -> None:
    assert choose_alert(alerts, name) == chosen


@pytest.mark.parametrize(
    ("moments", "starts"),
    [
        ([], []),
        ([5.0], [5.0]),
        ([5.0, 6.0, 7.0], [5.0]),
        ([5.0, 6.0, 8.0, 9.0], [5.0]),  # one look that brought nothing
        ([5.0, 6.0, 40.0, 41.0, 90.0], [5.0, 40.0, 90.0]),
        ([0.0, 30.0, 60.0, 300.0, 330.0], [0.0, 300.0]),
    ],
)
def test_an_alert_that_comes_back_began_anew(moments: list[float], starts: list[float]) -> None:
    assert firings(moments) == starts
