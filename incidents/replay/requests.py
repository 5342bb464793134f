"""The requests that a bundle tells of → a job for the load generator.

Owns reading rates by route off a counter of served requests, and matching them with what the local service offers.
Identities, ids and sizes of pages and orders are the load generator's own, from a seed: telemetry holds none of them.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from incidents.bundle.form import Series
from incidents.drive import MAX_REQUESTS, REQUEST_KINDS, Job, Step

SERVED = frozenset(("http_server_request_duration_seconds_count", "http_server_duration_milliseconds_count"))
"""OpenTelemetry's names for the count of served requests, stable and before."""
METHOD_LABELS = ("http_request_method", "http_method", "method")
ROUTE_LABELS = ("http_route", "route", "handler")
BIN_MS = 5_000
MAX_RATE_PER_S = 2_000.0
_NOTHING_PER_S = 1e-9


class NoRequests(Exception):
    """The bundle tells of no request that the local service could be sent; the text says what was found."""


@dataclass(frozen=True)
class Mix:
    """Requests by kind for every BIN_MS from the beginning of the slice on, and by route those nobody here offers."""

    bins: list[Counter[str]]
    unknown: Counter[str]

    @property
    def total(self) -> int:
        return sum(sum(one.values()) for one in self.bins)


def observe_mix(series: Iterable[Series], start_ms: int, end_ms: int) -> Mix:
    """What was served, when: the increments of the counter, whichever process counted. Raises NoRequests."""
    offered: dict[str, str] = {}
    for kind, build in REQUEST_KINDS.items():  # of several kinds with one route the first is the usual one
        offered.setdefault(build(random.Random(0))[0], kind)
    grown: dict[str, Counter[int]] = defaultdict(Counter)
    last: dict[tuple[tuple[str, str], ...], float] = {}
    for one in series:
        if one.labels["__name__"] not in SERVED:
            continue
        method, route = _first(one.labels, METHOD_LABELS), _first(one.labels, ROUTE_LABELS)
        key = tuple(sorted(one.labels.items()))
        for at_ms, text in zip(one.times_ms, one.values, strict=True):
            value = float(text)
            if not math.isfinite(value):
                continue
            before = last.get(key, value)
            grown[f"{method} {route}"][(at_ms - start_ms) // BIN_MS] += round(
                value - before if value >= before else value
            )
            last[key] = value
    bins: list[Counter[str]] = [Counter() for _ in range(math.ceil((end_ms - start_ms + 1) / BIN_MS))]
    unknown: Counter[str] = Counter()
    for route, counts in grown.items():
        for number, count in counts.items():
            if route in offered:
                bins[number][offered[route]] += count
            else:
                unknown[route] += count
    mix = Mix(bins, +unknown)
    if not mix.total:
        found = ", ".join(mix.unknown) or "no counter of served requests"
        raise NoRequests(
            f"there is nothing to drive: the bundle holds {found}; this service offers {', '.join(offered)}"
        )
    return mix


def build_job(mix: Mix, base_url: str, issuer_url: str, speed: float, seed: int) -> Job:
    """The mix as a job, `speed` times as fast. Raises NoRequests when that is more than the generator sends."""
    for_s = BIN_MS / 1000 / speed
    steps = []
    for one in mix.bins:
        found = {kind: float(count) for kind, count in one.items() if count > 0}
        rate = sum(found.values()) / for_s
        if rate > MAX_RATE_PER_S:
            raise NoRequests(f"{rate:.0f} requests a second are more than the {MAX_RATE_PER_S:.0f} that are sent here")
        steps.append(Step(rate or _NOTHING_PER_S, for_s, found or None))
    if mix.total > MAX_REQUESTS:
        raise NoRequests(
            f"{mix.total} requests are more than the {MAX_REQUESTS} that are sent here. Take a shorter slice"
        )
    whole = Counter[str]()
    for one in mix.bins:
        whole.update(one)
    return Job(base_url, dict(whole), tuple(steps), seed, for_s * len(mix.bins), issuer_url)


def _first(labels: dict[str, str], names: tuple[str, ...]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "?")
