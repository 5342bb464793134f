"""What an order leaves behind, counted over a stretch of load: log of the database, rows, spans, lines, series.

Owns these countings. They feed the model of `bench/capacity`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg

from bench.scaling.ground import Ground
from stack.components import base_ports, components
from stack.layout import LOOPBACK
from stack.native.credentials import Credentials

COUNTERS = {
    "spans": 'sum(otelcol_receiver_accepted_spans{job="collector"} or otelcol_receiver_accepted_spans_total)',
    "spans_kept": 'sum(otelcol_exporter_sent_spans{exporter=~".*jaeger.*"} or'
    ' otelcol_exporter_sent_spans_total{exporter=~".*jaeger.*"})',
    "lines": "sum(otelcol_exporter_sent_log_records or otelcol_exporter_sent_log_records_total)",
    "line_bytes": "sum(loki_distributor_bytes_received_total)",
    "commands": "sum(redis_commands_processed_total or redis_commands_processed)",
    "jobs": 'sum(http_server_request_duration_seconds_count{job="payments"})',
}
SERIES = {
    "series_a_replica": 'max(count by (instance) ({job="api"}))',
    "series_in_all": "prometheus_tsdb_head_series",
    "resident_bytes_a_replica": 'max(process_resident_memory_bytes{job="api"})',
}


@dataclass
class Expense:
    """Counts from a first look to a second one."""

    ground: Ground
    before: dict[str, float]

    @classmethod
    async def begin(cls, ground: Ground) -> Expense:
        """Take the first look."""
        return cls(ground, await _look(ground))

    async def end(self, orders: int) -> dict[str, Any]:
        """What came since, by order; and the series there are. None stands for what nobody could tell."""
        after = await _look(self.ground)
        each = {
            name: round((after[name] - self.before[name]) / orders, 2)
            if name in after and name in self.before
            else None
            for name in ("wal_bytes", "data_bytes", *COUNTERS)
        }
        return {
            "orders": orders,
            "each": each,
            **{name: await _value(self.ground, text) for name, text in SERIES.items()},
        }


async def _look(ground: Ground) -> dict[str, float]:
    found = {name: await _value(ground, text) for name, text in COUNTERS.items()}
    known = {name: value for name, value in found.items() if value is not None}
    return {**known, **await _database(ground)}


async def _value(ground: Ground, query: str) -> float | None:
    return await ground.prometheus.value(query)


async def _database(ground: Ground) -> dict[str, float]:
    layout = ground.layout
    connection = await asyncpg.connect(
        host=LOOPBACK,
        port=layout.port(base_ports(components())["postgres"]),
        user="signalbox",
        password=Credentials(layout.secrets)["database_password"],
        database="signalbox",
        timeout=5,
    )
    try:
        row = await connection.fetchrow(
            "SELECT pg_current_wal_lsn() - '0/0' AS wal_bytes, pg_database_size(current_database()) AS data_bytes"
        )
        return {name: float(value) for name, value in row.items()} if row else {}
    finally:
        await connection.close()
