"""Which time before the onset a scored run is compared with."""

from __future__ import annotations

from incidents.triage.score import LEAST_BEFORE_S, STEADY_S, under_the_same_load
from incidents.triage.windows import Window, Windows, build_windows

ONSET, NOW, CLOCK = 1_000_000.0, 1_000_060.0, 20


def windows(pages: list[dict[str, str]] | None = None) -> Windows:
    return build_windows(CLOCK, NOW, onset_at=ONSET, pages=pages or [])


def test_it_is_the_time_under_the_same_load() -> None:
    found = under_the_same_load(windows(), onset_at=ONSET, load_since=ONSET - STEADY_S)
    assert found.before == Window(ONSET - LEAST_BEFORE_S, ONSET)
    assert found.now == windows().now


def test_a_load_that_has_long_been_there_is_not_looked_at_longer_than_usual() -> None:
    found = under_the_same_load(windows(), onset_at=ONSET, load_since=ONSET - 3600)
    assert found == windows()


def test_a_load_too_young_is_no_baseline() -> None:
    assert under_the_same_load(windows(), onset_at=ONSET, load_since=ONSET - STEADY_S + 1) == windows()


def test_a_page_that_was_over_before_the_run_does_not_push_it_to_a_time_before_the_load() -> None:
    page = {"tier": "page", "starts_at": "1970-01-12T13:46:20Z", "resolved_at": "1970-01-12T13:46:32Z"}
    pushed = windows([page])
    assert pushed.before.end < ONSET - STEADY_S
    found = under_the_same_load(pushed, onset_at=ONSET, load_since=ONSET - STEADY_S)
    assert found.before == Window(ONSET - LEAST_BEFORE_S, ONSET)
