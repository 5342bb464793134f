"""The Prometheus instruments of one process, made from ``catalog``.

Owns the registry and its instruments. Knows nothing of spans, threads or HTTP.
"""

from __future__ import annotations

import itertools
import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.samples import Exemplar, Sample

from service.telemetry import catalog
from service.telemetry.figures import Figures


class Instruments:
    """One attribute an instrument; ``labels(...)`` takes label values in the order of the catalogue."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.http_server_duration = self._histogram(catalog.HTTP_SERVER_DURATION)
        self.http_server_active = self._gauge(catalog.HTTP_SERVER_ACTIVE)
        self.websocket_duration = self._histogram(catalog.WEBSOCKET_DURATION)
        self.websocket_open = self._gauge(catalog.WEBSOCKET_OPEN)
        self.http_client_duration = self._histogram(catalog.HTTP_CLIENT_DURATION)
        self.http_client_queued = self._histogram(catalog.HTTP_CLIENT_QUEUED)
        self.db_operation_duration = self._histogram(catalog.DB_OPERATION_DURATION)
        self.db_connections = self._gauge(catalog.DB_CONNECTIONS)
        self.db_connections_max = self._gauge(catalog.DB_CONNECTIONS_MAX)
        self.db_wait = self._histogram(catalog.DB_WAIT)
        self.db_timeouts = self._counter(catalog.DB_TIMEOUTS)
        self.db_replica_lag = self._gauge(catalog.DB_REPLICA_LAG)
        self.db_reads = self._counter(catalog.DB_READS)
        self.cache_requests = self._counter(catalog.CACHE_REQUESTS)
        self.cache_loads = self._counter(catalog.CACHE_LOADS)
        self.circuit_state = self._gauge(catalog.CIRCUIT_STATE)
        self.circuit_refused = self._counter(catalog.CIRCUIT_REFUSED)
        self.retries = self._counter(catalog.RETRIES)
        self.deadline_exceeded = self._counter(catalog.DEADLINE_EXCEEDED)
        self.rate_limit_requests = self._counter(catalog.RATE_LIMIT_REQUESTS)
        self.sign_in_key_fetches = self._counter(catalog.SIGN_IN_KEY_FETCHES)
        self.problems = self._counter(catalog.PROBLEMS)
        self.own_token_fetches = self._counter(catalog.OWN_TOKEN_FETCHES)
        self.queue_depth = self._gauge(catalog.QUEUE_DEPTH)
        self.queue_oldest_age = self._gauge(catalog.QUEUE_AGE)
        self.queue_read = self._gauge(catalog.QUEUE_READ)
        self.queue_most_attempts = self._gauge(catalog.QUEUE_MOST_ATTEMPTS)
        self.queue_parked = self._gauge(catalog.QUEUE_PARKED)
        self.dead_lettered = self._counter(catalog.DEAD_LETTERED)
        self.process_attempts = self._histogram(catalog.PROCESS_ATTEMPTS)
        self.process_duration = self._histogram(catalog.PROCESS_DURATION)
        self.charges_cancelled = self._counter(catalog.CHARGES_CANCELLED)
        self.orders_placed = self._counter(catalog.ORDERS_PLACED)
        self.idempotency_keys = self._counter(catalog.IDEMPOTENCY_KEYS)
        self.fulfilment_delay = self._histogram(catalog.FULFILMENT_DELAY)
        self.loop_lag = self._histogram(catalog.LOOP_LAG)
        self.loop_stalled = self._counter(catalog.LOOP_STALLED)
        self.gc_pause = self._histogram(catalog.GC_PAUSE)
        self.build_info = self._gauge(catalog.BUILD_INFO)
        self.ready = self._gauge(catalog.READY)
        self.fault_active = self._gauge(catalog.FAULT_ACTIVE)
        self.produced = self._counter(catalog.TELEMETRY_PRODUCED)
        self.exported = self._counter(catalog.TELEMETRY_EXPORTED)
        self.dropped = self._counter(catalog.TELEMETRY_DROPPED)
        self._tallies: dict[Any, Tally] = {}
        self.figures = Figures()
        self.registry.register(self.figures)
        self.overflow = self._counter(catalog.TELEMETRY_OVERFLOW)

    def tally(self, child: Any, edges: tuple[float, ...]) -> Tally:
        """The ``Tally`` of a histogram's child, told with every round: one a child, however many clients note in it."""
        return self._tallies.setdefault(child, Tally(child, edges))

    def tell_tallies(self) -> None:
        """The round is over: count what was noted. Another thread may make a tally meanwhile."""
        for tally in tuple(self._tallies.values()):
            tally.tell()

    def after_fork(self) -> None:
        """In the child: what was delivered until now is the parent's account. Its threads may have held a lock."""
        for counter in (self.produced, self.exported, self.dropped):
            for child in counter._metrics.values():
                child._value._lock = threading.Lock()  # type: ignore[attr-defined]
                child.reset()  # type: ignore[attr-defined]

    def _histogram(self, metric: catalog.Metric) -> Histogram:
        return self._made(Histogram, metric, buckets=metric.buckets)

    def _gauge(self, metric: catalog.Metric) -> Gauge:
        return self._made(Gauge, metric)

    def _counter(self, metric: catalog.Metric) -> OnesCounter:
        return self._made(OnesCounter, metric)

    def _made(self, kind: type[Any], metric: catalog.Metric, **more: Any) -> Any:
        instrument: MetricWrapperBase = kind(metric.name, metric.help, metric.labels, registry=self.registry, **more)
        return instrument


class OnesCounter(prometheus_client.Counter):
    """A counter that mostly counts single things. The library's takes a lock for each, at five times the price; here
    they are added when somebody looks.
    """

    def _metric_init(self) -> None:
        super()._metric_init()
        self._ones = itertools.count()
        self._added = 0

    def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:
        if amount == 1 and exemplar is None:
            next(self._ones)
        else:
            super().inc(amount, exemplar)

    def reset(self) -> None:
        self._add()
        super().reset()

    def _child_samples(self) -> Iterable[Sample]:
        self._add()
        return super()._child_samples()

    def _add(self) -> None:
        drawn = next(self._ones)  # how often it was drawn from before, with the times that it was here
        ones, self._added = drawn - self._added, drawn + 1
        self._value.inc(ones)


class Distribution:
    """One child of a histogram, observed in many at a time, and which observations become its exemplars.

    The first in each bucket of a round is one: fair to slow requests, and a busy bucket does not pay for exemplars that
    the next observation would overwrite. What a round observes is gathered and told at its end, since each telling
    takes a lock. Reaches into prometheus_client's histogram, whose own ``observe`` looks for the bucket a second time
    and validates the exemplar, at three times the price; a test compares the two.
    """

    __slots__ = ("_buckets", "_edges", "_gathered", "_seconds", "_sum")

    def __init__(self, child: Any, edges: tuple[float, ...]) -> None:
        self._buckets = child._buckets
        self._sum = child._sum
        self._edges = edges
        self._gathered: dict[int, Gathered] = {}
        self._seconds = 0.0

    def observe(self, seconds: float, ids: tuple[bytes, bytes], touched: Touched) -> bool:
        """Gather ``seconds`` until ``tell``; True when it becomes the exemplar of its bucket. ``ids``: of its trace and
        span; ``touched`` gets each distribution that has gathered something.
        """
        gathered = self._gathered
        if not gathered:
            touched.append(self)
        self._seconds += seconds
        index = bisect_left(self._edges, seconds)
        bucket = gathered.get(index)
        if bucket is not None:
            bucket.number += 1
            return False
        gathered[index] = Gathered(seconds, ids)
        return True

    def tell(self) -> None:
        """The round is over: count what it has gathered."""
        gathered, seconds = self._gathered, self._seconds
        self.forget()
        self._sum.inc(seconds)
        now_s = time.time()
        for index, bucket in gathered.items():
            trace_id, span_id = bucket.ids
            labels = {"trace_id": trace_id.hex(), "span_id": span_id.hex()}
            self._buckets[index].inc(bucket.number)
            self._buckets[index].set_exemplar(Exemplar(labels, bucket.first_s, now_s))

    def forget(self) -> None:
        """Count nothing of what was gathered."""
        self._gathered, self._seconds = {}, 0.0


class Gathered:
    """The observations of one bucket in one round: how many, and the first one, with the ids of its trace and span."""

    __slots__ = ("first_s", "ids", "number")

    def __init__(self, first_s: float, ids: tuple[bytes, bytes]) -> None:
        self.first_s = first_s
        self.ids = ids
        self.number = 1


class Tally:
    """One child of a histogram whose observations have no exemplars and can wait for the next round: noting one in
    seconds costs its caller an append. Made by ``Instruments.tally``.
    """

    __slots__ = ("_buckets", "_edges", "_noted", "_sum", "note")

    def __init__(self, child: Any, edges: tuple[float, ...]) -> None:
        self._buckets = child._buckets
        self._sum = child._sum
        self._edges = edges
        self._noted: deque[float] = deque()
        self.note: Callable[[float], None] = self._noted.append

    def tell(self) -> None:
        """Count what was noted so far."""
        noted = [self._noted.popleft() for _ in range(len(self._noted))]
        if not noted:
            return
        self._sum.inc(sum(noted))
        for index, number in Counter(bisect_left(self._edges, seconds) for seconds in noted).items():
            self._buckets[index].inc(number)


Touched = list[Distribution]
"""Those that have gathered something in a round."""
