"""The two windows that triage compares: now, and before the onset.

Owns their lengths at a clock and their place. Refuses to know what is read in them. All times are seconds since the
epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from incidents.observe import parse_time

NOMINAL_S = 600.0
"""Ten minutes on the SLO clock: long enough for rates of rare requests, short enough to be about now."""
LEAST_S = 15.0
"""Figures of servers are read every five seconds; fewer than three of them are no window."""
BEFORE = 4.0
"""The window before is this many times as long, so that its rates are calm."""
LEAST_CALM_S = 10.0
"""Two readings of figures: with fewer there are no rates."""
FAR = 4.0
"""So many windows before, and no farther, a calm one is looked for: what was hours ago is not what is usual."""


@dataclass(frozen=True)
class Window:
    """From `start` to `end`."""

    start: float
    end: float

    @property
    def length_s(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class Windows:
    """What is compared."""

    now: Window
    before: Window


def build_windows(
    clock: float,
    at: float,
    *,
    length_s: float | None = None,
    onset_at: float | None = None,
    pages: Iterable[dict[str, Any]] = (),
    since: float = 0.0,
) -> Windows:
    """The windows around `at`. Without a known onset, one window's length is left out between them.

    The window before holds nothing of earlier troubles that `pages` tell of: what is compared with trouble looks usual.
    Nor is it looked for before `since`, when anything was first known.
    """
    length_s = length_s or window_length_s(clock)
    start = at - length_s
    if onset_at is not None:
        start = max(start, min(onset_at, at - LEAST_S))
    ended = min(start, onset_at) if onset_at is not None else start - length_s
    before = Window(ended - BEFORE * length_s, ended)
    return Windows(Window(start, at), _calm(before, _troubles(pages, length_s), since))


def _troubles(pages: Iterable[dict[str, Any]], length_s: float) -> list[Window]:
    """When there was trouble that has ended, the latest end first. A budget's ticket goes on long after its trouble."""
    ended = (page for page in pages if page.get("resolved_at") and (page["tier"] == "page" or not page.get("slo")))
    windows = [Window(parse_time(page["starts_at"]) - length_s, parse_time(page["resolved_at"])) for page in ended]
    return sorted(windows, key=lambda window: window.end, reverse=True)


def _calm(wanted: Window, troubles: list[Window], since: float) -> Window:
    """The last stretch before the end of `wanted` that no trouble touches, as long as `wanted` at most; `wanted` itself
    where none is near and long enough. Trouble that began before that is how things are."""
    end, farthest = wanted.end, min(max(wanted.end - FAR * wanted.length_s, since), wanted.end)
    least_s = min(LEAST_CALM_S, wanted.length_s)
    for trouble in [*(one for one in troubles if one.start > farthest), Window(farthest, farthest)]:
        if trouble.start >= end:
            continue
        if end - trouble.end >= least_s:
            return Window(max(trouble.end, end - wanted.length_s), end)
        end = min(end, trouble.start)
    return wanted


def choose_page(pages: list[dict[str, Any]], name: str | None) -> dict[str, Any] | None:
    """The page of that id or alert; without a name the newest that is open, pages before tickets."""
    if name is not None:
        named = [page for page in pages if name in (page["id"], page["alert"])]
        return max(named, key=lambda page: (page["state"] == "firing", parse_time(page["starts_at"])), default=None)
    is_open = [page for page in pages if page["state"] == "firing"]
    return max(is_open, key=lambda page: (page["tier"] == "page", parse_time(page["starts_at"])), default=None)


def moment_of(page: dict[str, Any], clock: float) -> float | None:
    """When to look for the cause of a page: None (now) while it is open, else one window after it began."""
    return None if page["state"] == "firing" else parse_time(page["starts_at"]) + window_length_s(clock)


def estimate_onset(page: dict[str, Any], pages: Iterable[dict[str, Any]], clock: float) -> float:
    """When the trouble behind a page began at the latest: one window before it, or before others that led up to it."""
    length_s = window_length_s(clock)
    began = parse_time(page["starts_at"])
    beside = [parse_time(one["starts_at"]) for one in pages if one["state"] == page["state"] == "firing"]
    return min([began, *(start for start in beside if began - start < BEFORE * length_s)]) - length_s


def window_length_s(clock: float) -> float:
    """The length of the window now."""
    return max(LEAST_S, NOMINAL_S / clock)
