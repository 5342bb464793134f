"""Every name the service emits: metrics with their labels and buckets, span and event names, attribute keys.

Owns the vocabulary. Knows nothing of how a value is measured, stored or sent. SLO queries, dashboards and the
live ``/metrics`` are checked against this table, so a name is written here once and nowhere else by hand.

Names follow the OpenTelemetry semantic conventions (HTTP 1.x, database 1.x, messaging) in their Prometheus spelling:
dots become underscores, the unit is a suffix, counters end in ``_total``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

# Edges of the request histogram, seconds. Semantic conventions propose these for http.server.request.duration
# (less 0.0075, 0.075, 0.75 and 7.5, which no objective uses). Every latency objective must be one of them.
REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Database and cache calls are an order of magnitude shorter: semantic conventions for db.client.operation.duration.
CALL_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
# A job may wait: the fulfilment objective (30 s) is an edge, the last edge is the longest back-off.
FULFILMENT_SECONDS = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
# Connections live from seconds to hours; their ends matter more than their quantiles.
CONNECTION_SECONDS = (1.0, 10.0, 60.0, 600.0, 3600.0)
# Attempts of a job: the first, the first retries, and the last one before it is parked (service.data.consumer).
ATTEMPTS = (1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 24.0)
# Pauses of the process itself: a healthy loop stays under 10 ms, a collection under 5 ms.
PAUSE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family. ``name`` is the family as scraped, less the ``_total``/``_bucket``/``_count`` suffixes."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    def series_names(self) -> tuple[str, ...]:
        """Names under which the samples of this family appear in Prometheus."""
        if self.kind == "counter":
            return (f"{self.name}_total",)
        if self.kind == "histogram":
            return (f"{self.name}_bucket", f"{self.name}_count", f"{self.name}_sum")
        return (self.name,)


POOL = "db_client_connection_pool_name"
DESTINATION = "messaging_destination_name"

HTTP_SERVER_DURATION = Metric(
    "http_server_request_duration_seconds",
    "histogram",
    "Time from the first byte of a request to the last byte of its response, by route template.",
    ("http_request_method", "http_route", "http_response_status_code", "outcome"),
    REQUEST_SECONDS,
)
HTTP_SERVER_ACTIVE = Metric("http_server_active_requests", "gauge", "Requests in flight.")
WEBSOCKET_DURATION = Metric(
    "websocket_connection_duration_seconds",
    "histogram",
    "From the acceptance of a WebSocket connection to its end, by route template.",
    ("http_route", "outcome"),
    CONNECTION_SECONDS,
)
WEBSOCKET_OPEN = Metric("websocket_open_connections", "gauge", "WebSocket connections that are open.")
HTTP_CLIENT_DURATION = Metric(
    "http_client_request_duration_seconds",
    "histogram",
    "Time of an outbound HTTP call, by peer.",
    ("peer_service", "server_address", "http_request_method", "http_response_status_code", "outcome"),
    REQUEST_SECONDS,
)
# The semantic conventions have this name for .NET, and none yet for all.
HTTP_CLIENT_QUEUED = Metric(
    "http_client_request_time_in_queue_seconds",
    "histogram",
    "Time an outbound HTTP call waited for a connection of its pool, by peer.",
    ("peer_service", "server_address"),
    CALL_SECONDS,
)
DB_OPERATION_DURATION = Metric(
    "db_client_operation_duration_seconds",
    "histogram",
    "Time of one statement or cache command as the client sees it.",
    ("db_system_name", POOL, "db_operation_name", "outcome"),
    CALL_SECONDS,
)
DB_CONNECTIONS = Metric(
    "db_client_connection_count",
    "gauge",
    "Connections of a pool, by state.",
    (POOL, "db_client_connection_state"),
)
DB_CONNECTIONS_MAX = Metric("db_client_connection_max", "gauge", "Most connections a pool may open.", (POOL,))
DB_WAIT = Metric(
    "db_client_connection_wait_time_seconds",
    "histogram",
    "Time a caller waited for a connection of the pool.",
    (POOL,),
    CALL_SECONDS,
)
DB_TIMEOUTS = Metric(
    "db_client_connection_timeouts", "counter", "Callers that gave up waiting for a connection.", (POOL,)
)
DB_REPLICA_LAG = Metric(
    "db_replica_lag_seconds", "gauge", "Age of the newest commit that a replica has for certain.", (POOL,)
)
DB_READS = Metric(
    "db_reads", "counter", "Reads that may go to a replica, by the pool that got them and why.", (POOL, "reason")
)
CACHE_REQUESTS = Metric("cache_requests", "counter", "Cache look-ups, by result.", ("cache", "result"))
CACHE_LOADS = Metric(
    "cache_loads", "counter", "Times that a value was fetched from its source, by what for.", ("cache", "cause")
)
CIRCUIT_STATE = Metric("circuit_state", "gauge", "Circuit to a peer: 0 closed, 1 half open, 2 open.", ("peer",))
CIRCUIT_REFUSED = Metric("circuit_refused", "counter", "Calls that an open circuit spared a peer.", ("peer",))
RETRIES = Metric("retries", "counter", "Second tries: taken, or refused for want of budget.", ("peer", "result"))
DEADLINE_EXCEEDED = Metric(
    "deadline_exceeded", "counter", "Requests, jobs and calls given up for want of time.", ("what",)
)
RATE_LIMIT_REQUESTS = Metric(
    "rate_limit_requests",
    "counter",
    "Requests counted against a rate limit, by where the count was kept (shared, local) and the result.",
    ("where", "result"),
)
SIGN_IN_KEY_FETCHES = Metric(
    "sign_in_key_fetches", "counter", "Times that the issuer was asked for its keys, by outcome.", ("outcome",)
)
PROBLEMS = Metric(
    "problems",
    "counter",
    "Problems that requests were answered with, by kind; and why, where callers are told less than we know.",
    ("kind", "reason"),
)
OWN_TOKEN_FETCHES = Metric(
    "own_token_fetches", "counter", "Times that the issuer was asked for a token of our own, by outcome.", ("outcome",)
)
QUEUE_DEPTH = Metric("messaging_queue_depth", "gauge", "Jobs that wait.", (DESTINATION,))
QUEUE_AGE = Metric("messaging_queue_oldest_age_seconds", "gauge", "Age of the oldest waiting job.", (DESTINATION,))
# When the two above were read: they keep their last value while the database does not answer.
QUEUE_READ = Metric(
    "messaging_queue_read_timestamp_seconds", "gauge", "When a queue was last read, Unix time.", (DESTINATION,)
)
QUEUE_MOST_ATTEMPTS = Metric(
    "messaging_queue_most_attempts", "gauge", "Failed attempts of the unluckiest job that waits.", (DESTINATION,)
)
QUEUE_PARKED = Metric("messaging_queue_parked", "gauge", "Dead letters: jobs that wait for a person.", (DESTINATION,))
DEAD_LETTERED = Metric(
    "messaging_dead_lettered",
    "counter",
    "Jobs parked: out of attempts, late, unreadable, refused, or deadly.",
    (DESTINATION, "reason"),
)
PROCESS_ATTEMPTS = Metric(
    "messaging_process_attempts", "histogram", "Which attempt a delivery was.", (DESTINATION,), ATTEMPTS
)
PROCESS_DURATION = Metric(
    "messaging_process_duration_seconds",
    "histogram",
    "Time the worker spent on one delivery of a job.",
    (DESTINATION, "outcome"),
    REQUEST_SECONDS,
)
CHARGES_CANCELLED = Metric(
    "charges_cancelled", "counter", "Orders given up: refunded, or voided before anything was charged.", ("status",)
)
ORDERS_PLACED = Metric("orders_placed", "counter", "Orders committed.")
IDEMPOTENCY_KEYS = Metric(
    "idempotency_keys",
    "counter",
    "Orders asked for with an idempotency key, by what the key was: one of service.orders.model.KeyResult.",
    ("result",),
)
FULFILMENT_DELAY = Metric(
    "fulfilment_delay_seconds",
    "histogram",
    "From an order's commit to its fulfilment.",
    (),
    FULFILMENT_SECONDS,
)
LOOP_LAG = Metric("event_loop_lag_seconds", "histogram", "How late the event loop ran a timer.", (), PAUSE_SECONDS)
LOOP_STALLED = Metric(
    "event_loop_stalled_seconds",
    "counter",
    "Time in which one frame (module:function:line) kept the event loop from running.",
    ("code_frame",),
)
GC_PAUSE = Metric(
    "python_gc_pause_seconds", "histogram", "Length of a garbage collection.", ("generation",), PAUSE_SECONDS
)
BUILD_INFO = Metric(
    "signalbox_build_info",
    "gauge",
    "Constant 1; its labels say what is running.",
    ("service_name", "service_version", "revision"),
)
READY = Metric(
    "signalbox_ready", "gauge", "1 while the process should be given work, as /readyz told when it was last asked."
)
FAULT_ACTIVE = Metric("signalbox_fault_active", "gauge", "1 while a fault is switched on.", ("fault",))
TELEMETRY_PRODUCED = Metric("telemetry_produced", "counter", "Spans and log lines made.", ("signal",))
TELEMETRY_EXPORTED = Metric("telemetry_exported", "counter", "Spans and log lines delivered.", ("signal",))
TELEMETRY_DROPPED = Metric(
    "telemetry_dropped", "counter", "Spans and log lines given up, by reason.", ("signal", "reason")
)
TELEMETRY_OVERFLOW = Metric(
    "telemetry_cardinality_overflow",
    "counter",
    "Requests counted under the overflow route to bound the series.",
)

# What PostgreSQL and Valkey tell of themselves, under the names of the OpenTelemetry collector's receivers for them.
SERVER_FIGURES = (
    Metric("postgresql_backends", "gauge", "Connections to our database, by state.", ("state",)),
    Metric("postgresql_waiting_backends", "gauge", "Connections that wait, by what for.", ("wait_event_type",)),
    Metric("postgresql_connection_max", "gauge", "Connections that the server allows."),
    Metric("postgresql_commits", "counter", "Transactions committed."),
    Metric("postgresql_rollbacks", "counter", "Transactions rolled back."),
    Metric("postgresql_deadlocks", "counter", "Deadlocks found."),
    Metric("postgresql_blks_hit", "counter", "Blocks found in the server's memory."),
    Metric("postgresql_blks_read", "counter", "Blocks that had to be read."),
    Metric(
        "postgresql_rows",
        "counter",
        "Rows, by what was done with them; scanned: read without an index.",
        ("operation",),
    ),
    Metric("postgresql_temp_bytes", "counter", "Bytes that queries wrote because memory did not suffice."),
    Metric("postgresql_db_size_bytes", "gauge", "Size of our database."),
    Metric("postgresql_oldest_transaction_seconds", "gauge", "Age of the oldest open transaction."),
    Metric("postgresql_replication_delay_bytes", "gauge", "How much log the furthest replica has not replayed."),
    Metric("redis_clients_connected", "gauge", "Connections to Valkey."),
    Metric("redis_clients_blocked", "gauge", "Connections to Valkey that wait in a blocking command."),
    Metric("redis_memory_used_bytes", "gauge", "Memory that Valkey has allocated."),
    Metric("redis_maxmemory_bytes", "gauge", "Memory that Valkey may use; 0 is no limit."),
    Metric("redis_commands_processed", "counter", "Commands that Valkey has done."),
    Metric("redis_keyspace_hits", "counter", "Look-ups of keys that were there."),
    Metric("redis_keyspace_misses", "counter", "Look-ups of keys that were not."),
    Metric("redis_keys_evicted", "counter", "Keys thrown out for want of memory."),
    Metric("redis_keys_expired", "counter", "Keys that reached the end of their life."),
    Metric("redis_db_keys", "gauge", "Keys in Valkey."),
)

METRICS: tuple[Metric, ...] = (
    tuple(value for value in list(globals().values()) if isinstance(value, Metric)) + SERVER_FIGURES
)

# Label values with a meaning of their own.
UNMATCHED_ROUTE = "unmatched"
OVERFLOW_ROUTE = "overflow"
OTHER_METHOD = "_OTHER"
STANDARD_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
# (route, method, status) combinations that a process may export beyond those its routes have from the start; what comes
# later is counted as overflow. A combination is fifteen series, a process is promised to stay below 2,000.
MAX_MORE_SHAPES = 60
# Peers of outbound calls, and answers of one peer, that are told apart; a user may choose neither.
MAX_PEERS = 50
MAX_PEER_ANSWERS = 10
OTHER_PEER = "other"

# Probes and scrapes are the platform's conversation with the process, not its users': no span, no line, no SLI.
UNOBSERVED_PATHS = frozenset({"/livez", "/readyz", "/startupz", "/metrics"})

# Which problem a request was answered with, and why where its caller is told less, in its span and its line.
PROBLEM_KIND_ATTRIBUTE = "signalbox.problem.kind"
PROBLEM_REASON_ATTRIBUTE = "signalbox.problem.reason"

# Set on a span that a histogram refers to as its exemplar: the collector's keep policy never drops its trace.
EXEMPLAR_ATTRIBUTE = "signalbox.exemplar"
# What a request is called, in header and job, on spans, in lines. One text, and on jobs' spans too, so that one search
# finds all: the conventions' http.request.header.x-request-id is a list, and neither a job nor a drawn id has a header.
REQUEST_ID_HEADER = "x-request-id"
REQUEST_ID_ATTRIBUTE = "signalbox.request.id"
REQUEST_ID_FIELD = "request_id"


def series_names(metrics: Iterable[Metric] = METRICS) -> frozenset[str]:
    """All sample names of ``metrics``: what a query may refer to."""
    return frozenset(name for metric in metrics for name in metric.series_names())
