"""A ScalingPolicy document → model.

Owns its fields, their forms and bounds, and what of it contradicts itself. What policies may not do to one another is
`parse.policies`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import cast, get_args

from slo.durations import parse_duration
from slo.parse.catalogue import Catalogue, Document
from slo.parse.fields import Fields, parse_number
from slo.parse.metadata import read_metadata
from slo.parse.references import promises_named
from slo.scaling import QUEUE_SIGNALS, Connections, Driver, ScalingPolicy, Signal, Workload, WorkloadKind

MOST_REPLICAS = 10_000
MOST_CONNECTIONS = 1_000_000
DEFAULT_SURGE = Decimal("0.25")  # the default maxSurge of a Deployment
DEFAULT_OUT, DEFAULT_IN = Decimal("0.7"), Decimal("0.3")
_BYTES = re.compile(r"([0-9]+)(Ki|Mi|Gi)")
_BYTE_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
REQUEST_SIGNALS: tuple[Signal, ...] = ("requests", "inFlight")
LABEL_VALUE = re.compile(r"[a-zA-Z0-9_.:/-]{1,100}")


def read_scaling_policy(document: Document, catalogue: Catalogue) -> ScalingPolicy | None:
    """Read one document; None when a problem was filed."""
    spec = document.spec
    if spec is None:
        return None
    before = len(catalogue.problems)
    metadata = read_metadata(document.metadata)
    description = spec.text("description", required=False)
    workload = _read_workload(spec.mapping("workload"))
    minimum, wished = _read_replicas(spec.mapping("replicas"))
    connections, caps = _read_connections(spec.mapping("database", required=False))
    drivers = _read_drivers(spec, workload)
    hold_on = _read_hold(spec.mapping("hold", required=False), catalogue)
    spec.done()
    if len(catalogue.problems) > before or workload is None:
        return None
    maximum = _cap(spec, minimum, wished, connections, caps)
    if maximum is None:
        return None
    return ScalingPolicy(
        name=metadata.name,
        title=metadata.title,
        description=description,
        workload=workload,
        minimum=minimum,
        wished_maximum=wished,
        maximum=maximum,
        connections=connections,
        drivers=drivers,
        hold_on=hold_on,
        at=document.metadata.place("name"),
    )


def _read_workload(fields: Fields | None) -> Workload | None:
    if fields is None:
        return None
    name, namespace = fields.name("name"), fields.name("namespace")
    job = fields.parsed("job", _parse_label, required=False) or name
    kind = fields.choice("kind", get_args(WorkloadKind), default="service")
    fields.done()
    return Workload(name, namespace, job, cast(WorkloadKind, kind))


def _read_replicas(fields: Fields | None) -> tuple[int, int]:
    if fields is None:
        return 1, 1
    minimum = fields.parsed("min", _whole(1, MOST_REPLICAS)) or 1
    maximum = fields.parsed("max", _whole(1, MOST_REPLICAS)) or minimum
    fields.done()
    if maximum < minimum:
        fields.problem("max", "scaling-bounds", f"{maximum} is less than min, {minimum}", "Raise max or lower min")
    return minimum, maximum


def _read_connections(fields: Fields | None) -> tuple[Connections | None, bool]:
    if fields is None:
        return None, False
    name = fields.name("name")
    maximum = fields.parsed("maxConnections", _whole(1, MOST_CONNECTIONS))
    reserved = fields.parsed("reservedForOthers", _whole(0, MOST_CONNECTIONS), required=False) or 0
    per_replica = fields.parsed("connectionsPerReplica", _whole(1, MOST_CONNECTIONS))
    surge = fields.parsed("rolloutSurge", _parse_share, required=False)
    caps = fields.choice("whenExceeded", ["refuse", "cap"], default="refuse") == "cap"
    fields.done()
    if maximum is None or per_replica is None:
        return None, caps
    if reserved >= maximum:
        what = f"{reserved} of {maximum} connections are for others: none is left"
        fields.problem("reservedForOthers", "scaling-connections", what, "Lower it")
    return Connections(name, maximum, reserved, per_replica, DEFAULT_SURGE if surge is None else surge), caps


def _read_drivers(spec: Fields, workload: Workload | None) -> tuple[Driver, ...]:
    drivers: dict[str, Driver] = {}
    listed = spec.mappings("drivers")
    if not listed and spec.has("drivers"):
        spec.problem("drivers", "field-missing", "nothing to scale on", "Add a driver, such as cpu")
    for fields in listed:
        driver = _read_driver(fields)
        if driver is None:
            continue
        if driver.signal in drivers:
            what = f"{driver.signal} stands here a second time"
            fields.problem("signal", "scaling-driver", what, "Remove one of the two")
        if workload and workload.kind == "worker" and driver.signal in REQUEST_SIGNALS:
            what = f"a worker takes no requests, so {driver.signal} would always be zero"
            fields.problem("signal", "scaling-driver", what, "Use queueDepth or queueAge")
        drivers[driver.signal] = driver
    return tuple(drivers.values())


def _read_driver(fields: Fields) -> Driver | None:
    signal = cast(Signal | None, fields.choice("signal", get_args(Signal)))
    capacity = fields.parsed("capacity", _CAPACITIES.get(signal or "", _parse_positive))
    out = fields.parsed("scaleOutAbove", _parse_utilisation, required=False) or DEFAULT_OUT
    inn = fields.parsed("scaleInBelow", _parse_utilisation, required=False) or DEFAULT_IN
    queue = fields.parsed("queue", _parse_label, required=signal in QUEUE_SIGNALS) or ""
    fields.done()
    if signal is None or capacity is None:
        return None
    if queue and signal not in QUEUE_SIGNALS:
        fields.problem("queue", "field-unknown", f"{signal} has no queue", "Remove it")
    if inn >= out:
        what = f"{inn} is not below scaleOutAbove, {out}: replicas would come and go"
        fields.problem("scaleInBelow", "scaling-flaps", what, "Leave a band between the two, such as 0.3 and 0.7")
    return Driver(signal, capacity, out, inn, queue)


def _read_hold(fields: Fields | None, catalogue: Catalogue) -> tuple[str, ...]:
    """Names of promises; a policy without any holds on every page."""
    if fields is None:
        return ()
    names = promises_named(fields, "whilePaging", catalogue, required=True)
    fields.done()
    return names


def _cap(spec: Fields, minimum: int, wished: int, connections: Connections | None, caps: bool) -> int | None:
    """The maximum that the database allows. None when it was refused."""
    if connections is None:
        return wished
    ceiling = connections.ceiling()
    allowed = (
        f"{connections.database} takes {connections.maximum} connections, {connections.reserved} of them for others: "
        f"at {connections.per_replica} a replica, and {connections.surge_ratio * 100:.0f} % more during a rollout, "
        f"{ceiling} replicas fit"
    )
    if ceiling < minimum:
        remedy = "Raise maxConnections, make the pool smaller, or put a pooler in between"
        spec.problem("replicas", "scaling-connections", f"{allowed}, and min is {minimum}", remedy)
        return None
    if ceiling < wished and not caps:
        remedy = f"Write max: {ceiling}, or whenExceeded: cap, or make room in the database"
        spec.problem("replicas", "scaling-connections", f"{allowed}, and max is {wished}", remedy)
        return None
    return min(wished, ceiling)


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) <= 9 and least <= int(text) <= most):
            raise ValueError(f"{text[:20]!r} is not a whole number from {least} to {most}; correct it")
        return int(text)

    return parse


def _parse_positive(text: str) -> Decimal:
    number = parse_number(text)
    if number <= 0:
        raise ValueError(f"{text!r} is nothing that a replica could do; write a number above zero")
    return number


def _parse_bytes(text: str) -> Decimal:
    found = _BYTES.fullmatch(text)
    if not found or len(found[1]) > 9 or not int(found[1]):
        raise ValueError(f"{text[:20]!r} is not a size; write it as 512Mi or 2Gi")
    return Decimal(int(found[1]) * _BYTE_UNITS[found[2]])


def _parse_seconds(text: str) -> Decimal:
    return Decimal(str(parse_duration(text).total_seconds()))


def _parse_utilisation(text: str) -> Decimal:
    number = parse_number(text)
    if not 0 < number < 1:
        raise ValueError(f"{text!r} is not a utilisation; write a ratio between 0 and 1, such as 0.7")
    return number


def _parse_share(text: str) -> Decimal:
    number = parse_number(text)
    if not 0 <= number <= 1:
        raise ValueError(f"{text!r} is not a share; write a ratio from 0 to 1, such as 0.25")
    return number


def _parse_label(text: str) -> str:
    if not LABEL_VALUE.fullmatch(text):
        raise ValueError(f"{text[:60]!r} is not a name of a job or a queue; write it as its label does")
    return text


_CAPACITIES: dict[str, Callable[[str], Decimal]] = {"memory": _parse_bytes, "queueAge": _parse_seconds}
