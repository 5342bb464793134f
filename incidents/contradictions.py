"""What each field of a scenario allows but all of them together cannot mean: impossible timings, names that clash.

Owns those rules. Refuses to know files and lines: a contradiction is told by the place of its field.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from incidents.drive import MAX_REQUESTS
from incidents.scenario import TWIN_SUFFIX, Scenario

MAX_RUN_S = 3_600.0
"""A run, the sum of its longest phases, ends within an hour at the scenario's own clock."""

Contradiction = tuple[tuple[Any, ...], str]
"""The place of a field, such as ("faults", 0, "onset_s"), and `what. remedy`."""


def contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    """What each field allows but all of them together cannot mean."""
    if scenario.id.endswith(TWIN_SUFFIX):
        yield ("id",), f"the ending {TWIN_SUFFIX} belongs to the twin that every scenario has. Choose another id"
    yield from _load_contradictions(scenario)
    for number, fault in enumerate(scenario.faults):
        if fault.onset_s >= scenario.alert.deadline_s:
            yield (
                ("faults", number, "onset_s"),
                f"begins {fault.onset_s:g} s after onset, when the alert should have fired at "
                f"{scenario.alert.deadline_s:g} s. Begin earlier or move alert.deadline_s",
            )
    first_s = min(fault.onset_s for fault in scenario.faults)
    for number, signal in enumerate(scenario.signals):
        if signal.deadline_s <= first_s:
            yield (
                ("signals", number, "deadline_s"),
                f"ends after {signal.deadline_s:g} s, before the first fault at {first_s:g} s. Make it later",
            )
    if scenario.baseline.hold_s >= scenario.baseline.deadline_s:
        yield (
            ("baseline", "hold_s"),
            f"cannot hold for {scenario.baseline.hold_s:g} s within {scenario.baseline.deadline_s:g} s. "
            "Shorten it or move baseline.deadline_s",
        )
    if scenario.longest_s > MAX_RUN_S:
        yield (), f"a run could take {scenario.longest_s:g} s, the limit is {MAX_RUN_S:g} s. Shorten the deadlines"
    if scenario.alert.name in scenario.must_not_fire:
        yield ("must_not_fire",), f"{scenario.alert.name} must fire and must not. Remove it from must_not_fire"
    names = [signal.name for signal in scenario.signals]
    for number, name in enumerate(names):
        if name in names[:number]:
            yield ("signals", number, "name"), f"{name!r} names another signal too. Give each its own name"


def _load_contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    steps = scenario.load.steps
    for number, step in enumerate(steps[:-1]):
        if step.for_s is None:
            yield ("load", "steps", number), "only the last step may go on without end. Add for_s"
            return
    limited_s = sum(step.for_s or 0.0 for step in steps)
    needed_s = scenario.longest_s
    if steps[-1].for_s is not None and limited_s < needed_s:
        yield (
            ("load", "steps", len(steps) - 1, "for_s"),
            f"the load ends after {limited_s:g} s, the run may take {needed_s:g} s. Leave for_s out of the last step",
        )
        return
    last_s = max(needed_s - sum(step.for_s or 0.0 for step in steps[:-1]), 0.0)
    planned = sum(step.rate_per_s * (step.for_s or 0.0) for step in steps[:-1]) + steps[-1].rate_per_s * last_s
    if planned > MAX_REQUESTS:
        yield (
            ("load", "steps"),
            f"about {planned:,.0f} requests in the longest run, the limit is {MAX_REQUESTS:,}. Lower the rates",
        )
