"""The scenarios: what is done to the service, and what must be seen of the autoscaler while it happens.

Each is one function over the same ground and returns its claims, each with what was seen. Times are minutes of the
clock's world: a minute lasts 60 s divided by the clock. Every scenario begins at rest, at the least replicas.

An order waits for payments, and a replica has 10 connections to payments, so a replica bears 10 such waits at a time
and no CPU of this machine decides how many replicas are needed: that is what makes a spike of ten times the load
possible on two cores.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.scaling.expense import Expense
from bench.scaling.ground import Ground, Tell
from bench.scaling.load import (
    BASE_PER_S,
    PEAK_PER_S,
    Loaded,
    minutes_pass,
    seen,
    steered,
    stop,
    until_busy,
)
from bench.scaling.record import Record
from bench.scaling.traffic import Leg
from slo.parse.tree import parse_definitions

PROMISE = "checkout-availability"
CLAIMED_SAVING = 0.40  # the blueprint's, against provisioning for the peak
QUIET_MINUTES = 8.0  # after the load fell: the window of five, and three steps of one minute


@dataclass(frozen=True)
class Claim:
    """What was to be seen, whether it was, and what was."""

    claim: str
    held: bool
    seen: str


@dataclass
class Result:
    """What came of one scenario."""

    name: str
    record: Record
    claims: list[Claim]
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        return all(claim.held for claim in self.claims)


@dataclass(frozen=True)
class Profile:
    """The spike in minutes: how long before it, going up, at the top, going down, and after it."""

    before: float
    up: float
    top: float
    down: float
    after: float

    @property
    def minutes(self) -> float:
        return self.before + self.up + self.top + self.down + self.after


HOUR = Profile(before=4, up=6, top=6, down=1, after=43)
SHORT = Profile(before=1, up=6, top=4, down=1, after=12)


async def spike(ground: Ground, tell: Tell, profile: Profile = HOUR) -> Result:
    """Ten times the load for a few minutes of an hour: the promise holds, replicas come and go once, and cost less."""
    async with Loaded(ground, tell, "spike") as (traffic, record):
        expense = await Expense.begin(ground)
        await traffic.run(_legs(ground, profile))
        left = await expense.end(record.sent)
    objective = _objective(ground)
    fixed = record.most * record.seconds()
    saved = 1 - record.replica_seconds() / fixed
    peak_rate = max(sample.rate_per_s for sample in record.samples)
    claims = [
        Claim(
            f"{PROMISE} holds: at least {objective:.1%} of the orders are good",
            record.good_ratio >= objective,
            f"{record.good_ratio:.3%} of {record.sent}, {record.bad} bad {record.reasons or ''}".rstrip(),
        ),
        Claim(
            "it scales out for the spike and in again",
            record.most > ground.policy.minimum and record.last.wished == ground.policy.minimum,
            f"{ground.policy.minimum} → {record.most} → {record.last.wished} at {peak_rate / BASE_PER_S:.0f} × load",
        ),
        Claim("no flapping: one change of direction", record.turns() == 1, f"{record.turns()}"),
    ]
    if profile.minutes >= HOUR.minutes:
        claims.append(
            Claim(
                f"costs {CLAIMED_SAVING:.0%} less than {record.most} replicas all the time",
                saved > CLAIMED_SAVING,
                f"{record.replica_seconds():.0f} of {fixed:.0f} replica-seconds: {saved:.0%} less",
            )
        )
    figures = {
        "replica_seconds": round(record.replica_seconds()),
        "fixed_replica_seconds": round(fixed),
        "saved_ratio": round(saved, 3),
        "good_ratio": round(record.good_ratio, 5),
        "orders": record.sent,
        "bad": record.bad,
        "most_replicas": record.most,
        "turns": record.turns(),
        "expense": left,
    }
    return Result("spike", record, claims, figures)


async def unscaled(ground: Ground, tell: Tell, profile: Profile = SHORT) -> Result:
    """The same spike with the autoscaler paused: the promise breaks, so it was the autoscaler that kept it."""
    async with Loaded(ground, tell, "unscaled") as (traffic, record):
        await ground.autoscaler.pause(ground.cluster, ground.policy.minimum)
        try:
            await traffic.run(_legs(ground, Profile(1, profile.up, profile.top, 1, 0)))
        finally:
            await ground.autoscaler.apply(ground.cluster)
    objective = _objective(ground)
    claims = [
        Claim("nothing scales while it is paused", record.most == ground.policy.minimum, f"{record.most} at most"),
        Claim(
            f"without scaling, {PROMISE} does not hold through the same spike",
            record.good_ratio < objective,
            f"{record.good_ratio:.1%} of {record.sent} good",
        ),
    ]
    return Result("unscaled", record, claims, {"good_ratio": round(record.good_ratio, 5), "orders": record.sent})


async def page(ground: Ground, tell: Tell) -> Result:
    """Load falls while a page fires: nothing is taken away. The page ends: now it is.

    Half an hour and more passes until it ends: that is the short window of the slower of the two paging alerts.
    """
    async with Loaded(ground, tell, "page") as (traffic, record):
        load, rate = steered(traffic, ground)
        try:
            busy = await until_busy(ground, record)
            tell(f"page: {busy} replicas; charges fail from now on, and the load falls")
            await ground.fault("payments", "charge-errors", percent=100)
            rate(BASE_PER_S)
            await seen(record, lambda: record.last.paging == 1, "a page", 3, ground)
            held_from = record.last.at_s
            await minutes_pass(ground, QUIET_MINUTES)
            held = record.since(held_from)
            tell("page: the fault ends")
            await ground.fault("payments", "charge-errors")
            await seen(record, lambda: record.last.paging == 0, "the end of the page", 45, ground)
            released = record.last.at_s
            await seen(record, lambda: record.last.wished < busy, "scaling in", 15, ground)
        finally:
            await ground.fault("payments", "charge-errors")
            await stop(load)
    would = [sample for sample in held if sample.asked is not None and sample.asked < 0.9]
    claims = [
        Claim(
            "while the page fires nothing is taken away",
            min(sample.wished for sample in held) >= busy,
            f"never below {min(sample.wished for sample in held)} of {busy} in {QUIET_MINUTES:g} minutes",
        ),
        Claim(
            "without the page it would have been",
            len(would) > 0.8 * len(held),
            f"the drivers asked for fewer in {len(would)} of {len(held)} looks",
        ),
        Claim(
            "after the page it is",
            record.last.wished < busy,
            f"{busy} → {record.last.wished}, {record.last.at_s - released:.0f} s after the page ended",
        ),
    ]
    return Result("page", record, claims, {"replicas": busy})


async def outage(ground: Ground, tell: Tell) -> Result:
    """Load falls while Prometheus does not answer: nothing is taken away. It answers again: now it is."""
    async with Loaded(ground, tell, "outage") as (traffic, record):
        load, rate = steered(traffic, ground)
        try:
            busy = await until_busy(ground, record)
            tell(f"outage: {busy} replicas; Prometheus is stopped, and the load falls")
            await ground.fault("faults", "stop-process", component="prometheus")
            gone_from = record.last.at_s
            rate(BASE_PER_S)
            await minutes_pass(ground, QUIET_MINUTES)
            gone = record.since(gone_from + 2)
            tell("outage: Prometheus goes on")
            await ground.fault("faults", "stop-process")
            back = record.last.at_s
            await seen(record, lambda: record.last.wished < busy, "scaling in", 15, ground)
        finally:
            await ground.fault("faults", "stop-process")
            await stop(load)
    silent = [sample for sample in gone if sample.pressure is None]
    claims = [
        Claim(
            "while Prometheus is gone nothing is taken away",
            min(sample.wished for sample in gone) >= busy,
            f"never below {min(sample.wished for sample in gone)} of {busy} in {QUIET_MINUTES:g} minutes",
        ),
        Claim("it was gone", len(silent) > 0.9 * len(gone), f"no answer in {len(silent)} of {len(gone)} looks"),
        Claim(
            "when it is back it is",
            record.last.wished < busy,
            f"{busy} → {record.last.wished}, {record.last.at_s - back:.0f} s after it came back",
        ),
    ]
    return Result("outage", record, claims, {"replicas": busy})


async def ceiling(ground: Ground, tell: Tell) -> Result:
    """More load than the replicas that the database has room for can bear: it stops there."""
    log = ground.layout.log("postgres")
    before = log.stat().st_size
    most = ground.policy.maximum
    connections = ground.policy.connections
    assert connections is not None
    async with Loaded(ground, tell, "ceiling", wait_ms=1600) as (traffic, record):
        load, _ = steered(traffic, ground, PEAK_PER_S * 1.1)
        try:
            await seen(record, lambda: record.last.wished >= most, f"{most} replicas", 15, ground)
            await minutes_pass(ground, 4)
        finally:
            await stop(load)
    at_most = [sample for sample in record.samples if sample.wished >= most]
    wanted = [sample for sample in at_most if (sample.pressure or 0) > 1.1]
    with log.open("rb") as file:
        file.seek(before)
        refused = len(re.findall(rb"too many clients|remaining connection slots", file.read()))
    used = max((sample.connections or 0) for sample in record.samples)
    claims = [
        Claim(
            f"never more than {most}: {connections.maximum} connections, {connections.reserved} of them for others",
            record.most <= most,
            f"{record.most} at most",
        ),
        Claim("though more were asked for", bool(wanted), f"in {len(wanted)} of {len(at_most)} looks at the maximum"),
        Claim("all of them serve", record.last.ready >= most, f"{record.last.ready} of {record.last.wished} ready"),
        Claim("the database turns nobody away", refused == 0, f"{refused} refused, {used:.0f} connections at most"),
    ]
    return Result("ceiling", record, claims, {"maximum": most, "connections": int(used)})


# Those that break the promise come last: their pages hold capacity for a while.
SCENARIOS: dict[str, Callable[..., Any]] = {
    "spike": spike,
    "outage": outage,
    "ceiling": ceiling,
    "page": page,
    "unscaled": unscaled,
}


def _legs(ground: Ground, profile: Profile) -> list[Leg]:
    minute = 60 / ground.clock
    shape = (
        (profile.before, BASE_PER_S, BASE_PER_S),
        (profile.up, BASE_PER_S, PEAK_PER_S),
        (profile.top, PEAK_PER_S, PEAK_PER_S),
        (profile.down, PEAK_PER_S, BASE_PER_S),
        (profile.after, BASE_PER_S, BASE_PER_S),
    )
    return [Leg(minutes * minute, start, end) for minutes, start, end in shape if minutes]


def _objective(ground: Ground) -> float:
    promises = parse_definitions(ground.layout.root / "slo" / "definitions").promises
    promise = next(each for each in promises if each.name == PROMISE)
    return float(promise.objective)
