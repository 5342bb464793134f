"""The model: from users to requests, from requests to what each part has to bear, and when it must be divided.

Owns the arithmetic and the assumptions, each with its reason. Reads nothing: measured figures are handed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from slo.scaling import Connections

HOUR_S = 3_600


@dataclass(frozen=True)
class Assumption:
    """A number that nobody measured here, and why it is what it is."""

    name: str
    value: float
    unit: str
    reason: str


ASSUMED = {
    each.name: each
    for each in (
        Assumption("requests_a_person", 30, "a day", "a visit of some pages, each a few calls"),
        Assumption("busiest_hour_ratio", 0.12, "of the day", "an even day would have 0.04"),
        Assumption("peak_in_hour", 2, "× its mean", "what happens inside the busiest hour"),
        Assumption("seconds_a_request", 10, "s", "between two requests of one person who is there"),
        Assumption("spike", 10, "× the peak", "the spike that the proof of scaling drives"),
        Assumption("target", 0.7, "of a core", "above it the policies add replicas"),
        Assumption("primary_cores", 32, "cores", "a large machine; one primary is one machine"),
        Assumption(
            "primary_wal_mb_s", 60, "MB/s", "half of what a cloud volume with 125 MB/s writes; the rest is tables"
        ),
        Assumption("pooled", 2, "connections a core", "what a pooler in transaction mode keeps busy at the database"),
        Assumption("valkey_commands_s", 70_000, "a second", "one thread of Valkey, with room"),
        Assumption(
            "jobs_s", 1_000, "a second", "claims of a queue in one table, before its locks and dead rows are felt"
        ),
        Assumption("prometheus_series", 2_000_000, "series", "some 8 KiB of memory each: 16 GiB, one large machine"),
        Assumption(
            "loki_mb_s", 10, "MB/s", "one Loki as a single binary; beyond it the read and write paths are split"
        ),
        Assumption("jaeger_spans_s", 20_000, "a second", "one collector and one store that is not in memory"),
        Assumption(
            "kept_ratio",
            0.02,
            "of traces",
            "errors, slow ones, exemplars and one in a hundred, with SIGNALBOX_KEEP_PERCENT=1; nobody has run it so",
        ),
        Assumption("browsing_share", 0.33, "of an order's", "spans and lines of a request that only reads"),
    )
}


@dataclass(frozen=True)
class Measured:
    """What benchmarks of this project saw: CPU of each part by request, and what an order leaves behind."""

    api_ms: float
    gateway_ms: float
    primary_ms: float
    replica_ms: float
    payments_ms: float
    worker_ms: float
    valkey_ms: float
    collector_ms: float
    order_share: float
    connections: Connections
    wal_bytes: float
    data_bytes: float
    spans: float
    spans_kept: float
    jobs: float
    lines: float
    line_bytes: float
    commands: float
    series_a_replica: float
    series_in_all: float
    resident_bytes: float


@dataclass(frozen=True)
class Load:
    """So many requests a second at the busiest moment, and what follows."""

    peak_per_s: float
    orders_per_s: float
    orders_a_day: float
    replicas: int


@dataclass(frozen=True)
class Line:
    """One resource: what is needed under a load, the most that one piece bears, and what is done beyond it."""

    name: str
    unit: str
    arithmetic: str
    need: Callable[[Load], float]
    most: float | None
    beyond: str

    def peak_at_most(self, measured: Measured) -> float | None:
        """Requests a second that one piece bears, found by halving; None where there is no such limit."""
        if self.most is None:
            return None
        low, high = 0.0, 1e9
        while high - low > 0.5:
            middle = (low + high) / 2
            low, high = (middle, high) if self.need(load_of(middle, measured)) <= self.most else (low, middle)
        return low


def value(name: str) -> float:
    """An assumption's number."""
    return ASSUMED[name].value


def peak_of_a_day(people: float) -> float:
    """Requests a second at the busiest moment of a day with so many people."""
    return people * value("requests_a_person") * value("busiest_hour_ratio") / HOUR_S * value("peak_in_hour")


def people_a_day(peak_per_s: float) -> float:
    """The reverse of it."""
    return peak_per_s / peak_of_a_day(1)


def peak_at_once(people: float) -> float:
    """Requests a second of so many people who are all there."""
    return people / value("seconds_a_request")


STEPS = {
    "10,000 a day": peak_of_a_day(10_000),
    "100,000 a day": peak_of_a_day(100_000),
    "1,000,000 a day": peak_of_a_day(1_000_000),
    "1,000,000 at once": peak_at_once(1_000_000),
}


def load_of(peak_per_s: float, measured: Measured) -> Load:
    """What follows from so many requests a second."""
    share = measured.order_share
    a_day = people_a_day(peak_per_s) * value("requests_a_person")
    replicas = max(2, math.ceil(peak_per_s * measured.api_ms / 1000 / value("target")))
    return Load(peak_per_s, peak_per_s * share, a_day * share, replicas)


def lines(measured: Measured) -> Iterable[Line]:
    """Every resource, in the order in which a request meets them."""
    m = measured
    order, reads = m.order_share, 1 - m.order_share
    told_ratio = order + reads * value("browsing_share")
    kept = m.spans_kept / m.spans
    room = m.connections.maximum - m.connections.reserved

    yield Line(
        "API replicas",
        "of one core",
        f"requests/s × {m.api_ms:.1f} ms ÷ {value('target'):g}, at least 2",
        lambda load: load.replicas,
        None,
        "replicas; a Python process uses one core",
    )
    yield Line(
        "API memory",
        "GiB",
        f"replicas × {m.resident_bytes / 2**20:.0f} MiB",
        lambda load: load.replicas * m.resident_bytes / 2**30,
        None,
        "grows with the replicas",
    )
    yield _cores("CPU of the gateway", m.gateway_ms, "gateways beside it, behind the cloud's balancer")
    yield _cores("CPU of payments", m.payments_ms, "replicas")
    yield _cores("CPU of workers", m.worker_ms, "replicas; the queue's own limit stands below")
    yield _cores("CPU of collectors", m.collector_ms, "more of them, as their spans demand")
    yield Line(
        "Connections to the primary",
        "connections",
        f"(replicas + ⌈replicas × {m.connections.surge_ratio}⌉) × {m.connections.per_replica}",
        lambda load: m.connections.needed(load.replicas),
        room,
        "a pooler in transaction mode (PgBouncer) between replicas and primary; the ceiling of replicas then follows "
        f"from its own limit. Behind it {value('pooled'):g} connections a core are enough",
    )
    yield Line(
        "CPU of the primary",
        "cores",
        f"requests/s × {m.primary_ms:.1f} ms ÷ {value('target'):g}",
        lambda load: load.peak_per_s * m.primary_ms / 1000 / value("target"),
        value("primary_cores"),
        "shards by user: orders, reservations and keys hang on user_id; the catalogue is copied to each",
    )
    yield Line(
        "CPU of read replicas",
        "cores",
        f"requests/s × {m.replica_ms:.1f} ms ÷ {value('target'):g}",
        lambda load: load.peak_per_s * m.replica_ms / 1000 / value("target"),
        value("primary_cores"),
        "more read replicas; own writes already wait for theirs to catch up",
    )
    yield Line(
        "Write rate",
        "MB/s of log",
        f"orders/s × {m.wal_bytes / 1024:.1f} KiB",
        lambda load: load.orders_per_s * m.wal_bytes / 1e6,
        value("primary_wal_mb_s"),
        "the same shards; before that, jobs and charges into databases of their own",
    )
    yield Line(
        "Data in a year",
        "GiB",
        f"orders a day × {m.data_bytes / 1024:.1f} KiB × 365",
        lambda load: load.orders_a_day * m.data_bytes * 365 / 2**30,
        2_000,
        "partitions by month, old ones moved away; backups and a new replica take a day beyond this",
    )
    yield Line(
        "Valkey",
        "commands/s",
        f"requests/s × {m.commands:.1f}",
        lambda load: load.peak_per_s * m.commands,
        value("valkey_commands_s"),
        "a cluster: keys of one client (limits) and of one product (cache) are never used together",
    )
    yield Line(
        "Queue",
        "jobs/s",
        f"orders/s × {m.jobs:.2f}",
        lambda load: load.orders_per_s * m.jobs,
        value("jobs_s"),
        "a queue a shard; or a broker, and the outbox that this queue is now",
    )
    yield Line(
        "Prometheus",
        "series",
        f"{m.series_in_all:.0f} of the stack + replicas × {m.series_a_replica:.0f}",
        lambda load: m.series_in_all + max(0, load.replicas - 2) * m.series_a_replica,
        value("prometheus_series"),
        "one Prometheus a zone, and what joins them (Thanos, Mimir) for the rules of 30 days",
    )
    yield Line(
        "Loki",
        "MB/s",
        f"requests/s × {told_ratio:.2f} × {m.line_bytes / 1024:.1f} KiB of an order's lines",
        lambda load: load.peak_per_s * told_ratio * m.line_bytes / 1e6,
        value("loki_mb_s"),
        "Loki's simple scalable mode on object storage; fewer lines of what went well",
    )
    yield Line(
        "Collector",
        "spans/s",
        f"requests/s × {told_ratio:.2f} × {m.spans:.0f} spans of an order",
        lambda load: load.peak_per_s * told_ratio * m.spans,
        50_000,
        "agents that send by trace id to a row of gateways: a trace is judged as a whole, in one place",
    )
    yield Line(
        "Jaeger, all kept",
        "spans/s",
        f"the same × {kept:.2f}, the share that was kept: all, as everything is set up here",
        lambda load: load.peak_per_s * told_ratio * m.spans_kept,
        value("jaeger_spans_s"),
        "`SIGNALBOX_KEEP_PERCENT=1`: errors, slow traces and those of exemplars are kept all the same",
    )
    yield Line(
        "Jaeger, one in a hundred",
        "spans/s",
        f"the same × {value('kept_ratio'):g}, assumed",
        lambda load: load.peak_per_s * told_ratio * m.spans * value("kept_ratio"),
        value("jaeger_spans_s"),
        "a store of its own (OpenSearch, ClickHouse), divided by day",
    )


def _cores(name: str, ms: float, beyond: str) -> Line:
    """CPU of what is replicated at will: no piece of it is the limit."""
    return Line(
        name,
        "cores",
        f"requests/s × {ms:.2g} ms ÷ {value('target'):g}",
        lambda load: load.peak_per_s * ms / 1000 / value("target"),
        None,
        beyond,
    )
