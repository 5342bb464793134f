"""What a scaling policy is, and its arithmetic: how full replicas are, how many more or fewer that asks for, how many
the database allows.

Owns the words (workload, driver, pressure, hold) as plain frozen data. Refuses to know YAML, PromQL or any target.

*Pressure* is the one number that every target scales on: by which factor the number of replicas ought to change. With u
the utilisation of a driver (what a replica does over what it can do):

    u > out            u / out, at least LEAST_GROWTH    enough replicas to come back under `out`
    in <= u <= out     1                                 hysteresis: the number is right
    u < in             u / middle                        middle = (in + out) / 2

Shrinking from N to ceil(N·u/middle) replicas leaves them at `middle` at most, so that what remains is under `out`:
that is the condition "util · N/(N − 1) stays under the target", kept with room to spare. The drivers' largest
pressure counts. A hold lifts it to 1 at least: replicas may still be added, none is taken away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Literal

from slo.errors import Location
from slo.model import SHORTEST_RATE_WINDOW

Signal = Literal["cpu", "memory", "requests", "inFlight", "queueDepth", "queueAge"]
WorkloadKind = Literal["service", "worker"]

# Kubernetes' autoscaler ignores what lies within 10 % of 1 (--horizontal-pod-autoscaler-tolerance), as does a target
# tracking alarm below its target. Growth that is asked for is therefore never asked for in vain.
LEAST_GROWTH = Decimal("1.12")
# An old job is no measure of how many replicas are missing, only that some are: at most twice as many at a time.
MOST_GROWTH_BY_AGE = Decimal(2)
# Four scrapes at 15 s, the least that a rate is worth something with.
RATE_WINDOW = timedelta(minutes=1)
# What is older than four scrapes is not what is.
FRESH_WITHIN = timedelta(minutes=1)
QUEUE_SIGNALS: tuple[Signal, ...] = ("queueDepth", "queueAge")


@dataclass(frozen=True, slots=True)
class Workload:
    """What is scaled. `namespace` is the Kubernetes namespace and the ECS cluster; `job` its scrape job, whose `up`
    says which replicas there are; a `worker` takes no requests."""

    name: str
    namespace: str
    job: str
    kind: WorkloadKind


@dataclass(frozen=True, slots=True)
class Connections:
    """What a database allows: how many connections it takes in all, how many of them are for others, how many a
    replica may open (its pool size), and how many replicas a rollout starts beside the old ones, as a share."""

    database: str
    maximum: int
    reserved: int
    per_replica: int
    surge_ratio: Decimal

    def needed(self, replicas: int) -> int:
        """Connections that this many replicas open in the worst moment: amid a rollout, or with a canary."""
        return self._at_once(replicas) * self.per_replica

    def ceiling(self) -> int:
        """The most replicas whose connections fit: the largest N with N + max(1, ceil(N · surge)) at most
        (maximum − reserved) / per_replica."""
        places = max(0, self.maximum - self.reserved) // self.per_replica
        replicas = int(places / (1 + self.surge_ratio)) + 1
        while replicas > 0 and self._at_once(replicas) > places:
            replicas -= 1
        return replicas

    def _at_once(self, replicas: int) -> int:
        """With those that a rollout starts beside them. A canary is one of these: it goes before the rollout begins, so
        it needs a place of its own only where nothing surges."""
        return replicas + max(1, math.ceil(replicas * self.surge_ratio)) if replicas else 0


@dataclass(frozen=True, slots=True)
class Driver:
    """One measure of how full a replica is. `capacity` is what a replica can do: cores, bytes, requests a second,
    requests in flight, waiting jobs, or seconds that a job may wait. `queue` names the queue of the last two."""

    signal: Signal
    capacity: Decimal
    scale_out_above: Decimal
    scale_in_below: Decimal
    queue: str = ""

    @property
    def middle(self) -> Decimal:
        """The utilisation at which replicas are left when some are taken away."""
        return (self.scale_out_above + self.scale_in_below) / 2

    @property
    def most_growth(self) -> Decimal | None:
        """The largest pressure that this driver may ask for; None where its size means something."""
        return MOST_GROWTH_BY_AGE if self.signal == "queueAge" else None

    def pressure(self, utilisation: float) -> float:
        """The formula above, as the generated rules must compute it too."""
        if utilisation > self.scale_out_above:
            grown = max(utilisation / float(self.scale_out_above), float(LEAST_GROWTH))
            return grown if self.most_growth is None else min(grown, float(self.most_growth))
        if utilisation < self.scale_in_below:
            return utilisation / float(self.middle)
        return 1.0


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """How many replicas of a workload there shall be. `maximum` is already what the database allows; `wished_maximum`
    is what was written. `hold_on` names the promises whose pages forbid to take replicas away."""

    name: str
    title: str
    description: str
    workload: Workload
    minimum: int
    wished_maximum: int
    maximum: int
    connections: Connections | None
    drivers: tuple[Driver, ...]
    hold_on: tuple[str, ...]
    at: Location
    rate_window: timedelta = RATE_WINDOW
    fresh_within: timedelta = FRESH_WITHIN

    def driver(self, signal: Signal) -> Driver | None:
        """The driver of this signal, if the policy has it."""
        return next((driver for driver in self.drivers if driver.signal == signal), None)

    def on_database(self, maximum: int, reserved: int) -> ScalingPolicy:
        """The same policy where the database allows another number of connections. Raises ValueError when not even the
        least replicas fit."""
        if self.connections is None:
            raise ValueError(f"{self.name} names no database")
        connections = replace(self.connections, maximum=maximum, reserved=reserved)
        if (ceiling := connections.ceiling()) < self.minimum:
            raise ValueError(f"{ceiling} replicas fit into {maximum} connections, and {self.name} has {self.minimum}")
        return replace(self, connections=connections, maximum=min(self.wished_maximum, ceiling))

    def at_clock(self, clock: float) -> ScalingPolicy:
        """The same policy in a world that runs `clock` times as fast."""
        if clock == 1:
            return self
        return replace(
            self,
            rate_window=max(self.rate_window / clock, SHORTEST_RATE_WINDOW),
            fresh_within=max(self.fresh_within / clock, SHORTEST_RATE_WINDOW),
        )


def replicas_wanted(replicas: int, pressure: float, minimum: int, maximum: int) -> int:
    """What Kubernetes' autoscaler makes of a pressure: ceil(N · pressure) within the bounds."""
    return max(minimum, min(maximum, math.ceil(round(replicas * pressure, 9))))
