"""What triage says while an incident runs, held against the truth that the scenario names.

Owns that comparison, made after the ranking: triage itself is never told the truth.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from incidents.observe import Backends
from incidents.scenario import Cause
from incidents.triage.observe import observe_pages, observe_windows
from incidents.triage.rank import place_of
from incidents.triage.triage import emit_document, triage
from incidents.triage.windows import Window, Windows

WARM_UP_S = 3.0
"""Load that has just begun is no baseline."""
LEAST_BEFORE_S = 8.0
STEADY_S = WARM_UP_S + LEAST_BEFORE_S
"""So long before the onset there is to be this load: what was usual under another one is no baseline either."""
IN_THREE = 3


async def observe_triage(
    backends: Backends, truth: Cause | None, *, onset_at: float, load_since: float
) -> dict[str, Any]:
    """Triage now, with what a person knows then: when it began, and since when there is this load.

    `truth` is None for a twin, of which triage should say that nothing is unusual.
    """
    pages = await observe_pages(backends)
    windows = await observe_windows(backends, time.time(), onset_at=onset_at, pages=pages)
    windows = under_the_same_load(windows, onset_at=onset_at, load_since=load_since)
    found = await triage(backends, windows)
    place = None if truth is None else place_of(found.causes, truth.component, truth.kind)
    return {
        "at": windows.now.end,
        "after_s": round(windows.now.end - onset_at, 1),
        "truth": None if truth is None else truth.model_dump(),
        "place": place,
        "right": not found.told if truth is None else place == 1,
        "in_three": not found.told if truth is None else place is not None and place <= IN_THREE,
        "said": [f"{cause.component} {cause.kind}" for cause in found.told],
        "document": emit_document(found),
    }


def under_the_same_load(windows: Windows, *, onset_at: float, load_since: float) -> Windows:
    """With what was before the onset under the load of this run, where that is long enough. It is calm, whatever pages
    there were: a run begins with a healthy baseline. Moments are seconds since the epoch.
    """
    steady_since, ended = load_since + WARM_UP_S, min(windows.now.start, onset_at)
    if ended - steady_since < LEAST_BEFORE_S:
        return windows
    return replace(windows, before=Window(max(ended - windows.before.length_s, steady_since), ended))


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """The short form, for the table of many runs."""
    return {key: found[key] for key in ("truth", "place", "right", "in_three", "said", "after_s")}
