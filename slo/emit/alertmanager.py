"""alertmanager/alertmanager.yml: who hears of what, when, and what keeps quiet meanwhile.

Owns the tree of routes, inhibition, quiet hours and the times of grouping. How a system is told is in `receivers`.

The tree: the watchdog; then a branch for each tier. In a branch, alerts of an SLO whose policies name targets go there;
others go to the targets of their team, else to those of all teams, else to the pager.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from slo.alerting import QuietHours, Target
from slo.durations import format_duration
from slo.emit.receivers import emit_receiver
from slo.emit.yaml_text import emit_yaml
from slo.model import Promise
from slo.periods import Severity

Route = dict[str, Any]

PAGER_URL_FILE = "/run/secrets/pager_url"
DEADMAN_URL_FILE = "/run/secrets/pager_deadman_url"
DEADMAN = Target("deadman", "webhook", DEADMAN_URL_FILE)
FIRING_ONLY = "-firing-only"
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
TIERS: tuple[Severity, ...] = ("page", "ticket")
# The compiler's own first, then those that whoever runs it has written: they may say what the addresses are.
TEMPLATES = ["templates/*.tmpl", "../templates/*.tmpl"]

# group_wait is part of the time to detect (slo.md: scrape + evaluation + group_wait), so a page waits only as long as
# the evaluation that may bring a second alert of the same promise. Tickets are read in office hours.
TIMES = {
    "page": {
        "group_wait": timedelta(seconds=5),
        "group_interval": timedelta(seconds=30),
        "repeat_interval": timedelta(hours=1),
    },
    "ticket": {
        "group_wait": timedelta(minutes=1),
        "group_interval": timedelta(minutes=5),
        "repeat_interval": timedelta(days=1),
    },
    # Alertmanager repeats at the first flush after repeat_interval: every 75 s. The pager gives up after 150 s.
    "watchdog": {
        "group_wait": timedelta(seconds=0),
        "group_interval": timedelta(seconds=15),
        "repeat_interval": timedelta(minutes=1),
    },
}


def emit_alertmanager(promises: Iterable[Promise] = (), targets: Iterable[Target] = (), clock: float = 1.0) -> str:
    """The whole configuration, with all times divided by the clock."""
    promises = sorted(promises, key=lambda promise: promise.name)
    targets = sorted(targets, key=lambda target: target.name)
    branches = {tier: _Branch(tier, promises, targets) for tier in TIERS}
    routes = [branch.route(_times(tier, clock)) for tier, branch in branches.items()]
    told = {DEADMAN.name: (DEADMAN, False)}
    for branch in branches.values():
        told |= branch.told
    document: dict[str, Any] = {
        "templates": TEMPLATES,
        "route": {
            "receiver": branches["page"].otherwise,  # an alert without a tier is a mistake that somebody should see
            "group_by": ["service", "slo"],
            **_times("page", clock),
            "routes": [
                {"receiver": DEADMAN.name, "matchers": ['tier = "watchdog"'], **_times("watchdog", clock)},
                *routes,
            ],
        },
        "inhibit_rules": _inhibitions(promises),
        "receivers": [
            emit_receiver(name, target, send_resolved=resolved) for name, (target, resolved) in sorted(told.items())
        ],
    }
    quiet = {_quiet_name(target): target.quiet for target, _ in told.values() if target.quiet}
    if quiet:
        document["time_intervals"] = [
            {"name": name, "time_intervals": _intervals(hours)} for name, hours in sorted(quiet.items())
        ]
    return emit_yaml(document)


class _Branch:
    """The routes of one tier. `told` collects the receivers that they lead to."""

    def __init__(self, tier: Severity, promises: list[Promise], targets: list[Target]) -> None:
        self._tier = tier
        self._promises = promises
        self.told: dict[str, tuple[Target, bool]] = {}
        hearing = [target for target in targets if target.hears(tier)]
        self._teams = sorted({team for target in hearing for team in target.teams})
        self._hearing = hearing
        everyone = [target for target in hearing if not target.teams]
        self._everyone = everyone or [Target(tier, "webhook", PAGER_URL_FILE)]
        self.otherwise = self._receiver(self._everyone[0], True)

    def route(self, times: dict[str, str]) -> Route:
        """The branch, and all that hangs on it."""
        below = self._below()
        head = {"receiver": self.otherwise, "matchers": [f'tier = "{self._tier}"'], **times}
        return {**head, "routes": below} if below else head

    def _below(self) -> list[Route]:
        routes = self._of_policies()
        for team in self._teams:
            own = [target for target in self._hearing if team in target.teams]
            routes.append(self._node([f'team = "{team}"'], [self._to(target) for target in own]))
        if len(self._everyone) > 1 or self._everyone[0].quiet:
            routes.append(self._node([], [self._to(target) for target in self._everyone]))
        return routes

    def _of_policies(self) -> list[Route]:
        """One node for all SLOs whose policies name targets for this tier; every target whose policy asks hears."""
        asked: dict[tuple[str, Target, bool, str], list[str]] = {}
        for promise in self._promises:
            for policy in promise.policies:
                only = self._only(policy.severities(), policy.no_data)
                for target in policy.targets if only is not None else ():
                    asked.setdefault((target.name, target, policy.resolved, only or ""), []).append(promise.name)
        if not asked:
            return []
        every = sorted({name for names in asked.values() for name in names})
        leaves = [
            self._to(
                target, resolved, [*([_one_of("slo", names)] if names != every else []), *([only] if only else [])]
            )
            for (_, target, resolved, only), names in sorted(asked.items(), key=lambda item: (item[0][0], item[1]))
        ]
        return [self._node([_one_of("slo", every)], leaves, several=True)]

    def _only(self, severities: tuple[Severity, ...], no_data: bool) -> str | None:
        """Which alerts of this tier a policy is about: all of them (empty), some, or none (None)."""
        if self._tier in severities:
            return "" if no_data or self._tier != "page" else 'alertname !~ ".+NoData"'
        return 'alertname =~ ".+NoData"' if no_data and self._tier == "page" else None

    def _node(self, matchers: list[str], leaves: list[Route], *, several: bool = False) -> Route:
        """A route to all leaves."""
        if len(leaves) == 1 and not several:
            return {"matchers": matchers} | leaves[0] if matchers else leaves[0]
        chained: list[Route] = [{**leaf, "continue": True} for leaf in leaves[:-1]] + leaves[-1:]
        return {**({"matchers": matchers} if matchers else {}), "routes": chained}

    def _to(self, target: Target, resolved: bool = True, matchers: Iterable[str] = ()) -> Route:
        route: Route = {"receiver": self._receiver(target, resolved)}
        if matchers := list(matchers):
            route["matchers"] = matchers
        if target.quiet and self._tier == "ticket":  # a page that may wait is a ticket
            route["mute_time_intervals"] = [_quiet_name(target)]
        return route

    def _receiver(self, target: Target, resolved: bool) -> str:
        name = target.name if resolved else target.name + FIRING_ONLY
        self.told[name] = (target, resolved)
        return name


def _inhibitions(promises: list[Promise]) -> list[dict[str, Any]]:
    # The fast burn of a promise says all that its slow burn would. Missing data says something else: it silences
    # nothing of its own promise, and nothing of its own promise silences it.
    rules = [
        {
            "source_matchers": ['tier = "page"', 'alertname =~ ".+BurnPage"'],
            "target_matchers": ['tier = "ticket"', 'alertname =~ ".+BurnTicket"'],
            "equal": ["service", "slo"],
        }
    ]
    # While what a service depends on is paged for, that the service suffers (or sees nothing any more) is no news.
    dependants: dict[str, set[str]] = {}
    for promise in promises:
        for dependency in promise.service.depends_on:
            dependants.setdefault(dependency, set()).add(promise.service.name)
    for dependency, services in sorted(dependants.items()):
        rules.append(
            {
                "source_matchers": ['tier = "page"', f'service = "{dependency}"'],
                "target_matchers": [_one_of("service", sorted(services)), 'slo != ""'],
            }
        )
    return rules


def _times(tier: str, clock: float) -> dict[str, str]:
    return {name: format_duration(time / clock) for name, time in TIMES[tier].items()}


def _one_of(label: str, names: list[str]) -> str:
    # Names are lower-case letters, digits and dashes: nothing in them means anything in a pattern.
    return f'{label} = "{names[0]}"' if len(names) == 1 else f'{label} =~ "{"|".join(names)}"'


def _quiet_name(target: Target) -> str:
    return f"quiet-{target.name}"


def _intervals(hours: QuietHours) -> list[dict[str, Any]]:
    return [
        {
            "weekdays": [f"{WEEKDAYS[span.first]}:{WEEKDAYS[span.last]}"],
            "times": [{"start_time": _clock(span.start_min), "end_time": _clock(span.end_min)}],
            "location": hours.zone,
        }
        for span in hours.spans
    ]


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
