"""The simulation against Prometheus' own engine: alerts fire and stop at the same evaluation, or the next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from slo.emit.alerts import burn_alert_name, liveness_alert_name
from slo.emit.promtool import RuleTests, Scenario
from slo.emit.promtool.series import Traffic
from slo.model import Promise, Slices
from slo.quantities import Step, parse_course, parse_rate, parse_share
from slo.simulate.outcome import NO_DATA, Episode, Outcome, simulate
from tests.rules.promtool import LIBRARY, PROMISES, Case, Promtool

HOUR = timedelta(hours=1)
CHECKOUT, LATENCY = (
    next(p for p in PROMISES if p.name == name) for name in ("checkout-availability", "catalogue-latency")
)


LIBRARY_OF = {promise.name: promise for promise in LIBRARY}
MINUTE = timedelta(minutes=1)
# A minute with more than 5 % errors is lost as a whole.
SLICED = replace(CHECKOUT, slices=Slices(MINUTE, Decimal("0.95")), windows=CHECKOUT.windows.for_slices(MINUTE))
SHARED = replace(CHECKOUT, slices=Slices(MINUTE, None), windows=CHECKOUT.windows.for_slices(MINUTE))


@dataclass(frozen=True)
class Profile:
    """A course of errors and traffic after healthy history, and the alerts that are compared."""

    promise: Promise
    errors: str
    traffic: str
    duration: timedelta
    history: timedelta
    alerts: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.promise.name} by {self.promise.unit}: {self.errors} at {self.traffic}"


PROFILES = [
    Profile(CHECKOUT, "100%", "10/s", HOUR / 4, HOUR * 3 / 2, ("page",)),
    Profile(CHECKOUT, "10m:5%,5m:0,1h:5%", "10/s", 2 * HOUR, 3 * HOUR, ("page",)),
    Profile(CHECKOUT, "30m:50%,0", "20m:10/s,20m:1/s,30/s", HOUR, 2 * HOUR, ("page",)),
    Profile(CHECKOUT, "50%", "0.01/s", HOUR, 2 * HOUR, ("page",)),
    Profile(CHECKOUT, "0", "10m:10/s,20m:0,10/s", HOUR, HOUR, (NO_DATA,)),
    Profile(CHECKOUT, "1%", "10/s", 5 * HOUR, 7 * HOUR, ("page",)),
    Profile(CHECKOUT, "1h:10%,0", "10/s", 3 * HOUR, 4 * HOUR, ("page", "ticket")),
    Profile(SLICED, "20m:10%,20m:4%,0", "10/s", HOUR, 2 * HOUR, ("page",)),
    Profile(SHARED, "30m:30%,0", "10m:10/s,1/s", HOUR, 2 * HOUR, ("page",)),
    Profile(LIBRARY_OF["lamps-lit"], "2h:95%,0", "4/s", 2 * HOUR, 2 * HOUR, ("page",)),
    Profile(LIBRARY_OF["warm-rooms"], "20m:75%,0", "1/s", HOUR / 2, HOUR, ("page",)),
    Profile(LIBRARY_OF["visit"], "40m:100%,0", "20m:5/s,2/s", HOUR, HOUR, ("page", "ticket")),
    Profile(LIBRARY_OF["visit"], "40m:30%,0", "5/s", HOUR, 2 * HOUR, ("page",)),
    Profile(LIBRARY_OF["quiet-visit"], "40m:100%,0", "5/s", HOUR, HOUR, ("page", "ticket")),
    Profile(LIBRARY_OF["returns-recorded"], "1h:50%,0", "1/s", HOUR, 2 * HOUR, ("page", "ticket")),
    Profile(LATENCY, "1h:40%,20m:0,15%", "3/s", 2 * HOUR, 3 * HOUR, ("page",)),
]


def outcome_of(profile: Profile) -> Outcome:
    errors, traffic = parse_course(profile.errors, parse_share), parse_course(profile.traffic, parse_rate)
    return simulate(profile.promise, errors, traffic, profile.duration, history=profile.history)


def scenario_of(profile: Profile, outcome: Outcome) -> Scenario:
    """The same course for promtool, and the alerts expected an evaluation before and after each change."""
    errors, traffic = parse_course(profile.errors, parse_share), parse_course(profile.traffic, parse_rate)
    course = [Traffic(profile.history, Decimal(str(traffic[0].value)))]
    course += _merged(errors, traffic, profile.duration, timedelta(seconds=outcome.ended_s) - profile.duration + HOUR)
    scenario = Scenario(str(profile), course)
    interval = timedelta(seconds=outcome.interval_s)
    for alert in profile.alerts:
        name = liveness_alert_name(profile.promise) if alert == NO_DATA else burn_alert_name(profile.promise, alert)  # type: ignore[arg-type]
        episodes = [episode for episode in outcome.episodes if episode.alert == alert]
        assert episodes, f"the profile sets off no {alert}: nothing would be compared"
        for at, firing in _changes(episodes, interval):
            scenario.alert(profile.history + at, name, firing)
    return scenario


def _changes(episodes: list[Episode], interval: timedelta) -> list[tuple[timedelta, bool]]:
    changes = []
    for episode in episodes:
        fires = timedelta(seconds=episode.fires_s)
        changes += [(fires - interval, False), (fires + interval, True)]
        if episode.resets_s is not None:
            resets = timedelta(seconds=episode.resets_s)
            changes += [(resets - interval, True), (resets + interval, False)]
    return changes


def _merged(errors: list[Step], traffic: list[Step], duration: timedelta, quiet: timedelta) -> list[Traffic]:
    """Both courses cut at every change of either, then the traffic that was last, without errors."""
    cuts = {timedelta(), duration}
    for steps in (errors, traffic):
        at = timedelta()
        for step in steps:
            at += step.length or duration
            cuts.add(min(at, duration))
    moments = sorted(cuts)
    course = [
        Traffic(end - begin, Decimal(str(_at(traffic, begin))), Decimal(str(_at(errors, begin))), of_events=True)
        for begin, end in pairwise(moments)
    ]
    return [*course, Traffic(quiet, course[-1].events_per_s)]


def _at(steps: list[Step], moment: timedelta) -> float:
    for step in steps:
        if step.length is None or moment < step.length:
            return step.value
        moment -= step.length
    return steps[-1].value


def judge(promtool: Promtool, profile: Profile, scenario: Scenario) -> tuple[int, str]:
    tests = RuleTests("simulation", profile.promise.windows.interval, (scenario,))
    outcome = promtool.judge(Case(profile.promise, tests))
    return outcome.returncode, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_prometheus_agrees_within_one_evaluation(promtool: Promtool, profile: Profile) -> None:
    code, said = judge(promtool, profile, scenario_of(profile, outcome_of(profile)))
    assert code == 0, said


def test_a_simulation_that_is_two_evaluations_late_is_noticed(promtool: Promtool) -> None:
    profile = PROFILES[0]
    outcome = outcome_of(profile)
    late = [
        Episode(each.alert, each.tier, each.fires_s + 30, each.resets_s, each.spent_ratio) for each in outcome.episodes
    ]
    shifted = Outcome(tuple(late), *list(vars(outcome).values())[1:])
    code, said = judge(promtool, profile, scenario_of(profile, shifted))
    assert code != 0
    assert "FAILED" in said
