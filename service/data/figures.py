"""What PostgreSQL and Valkey tell of themselves: connections, work done, cache hits, waits, sizes.

Owns the questions asked of them. The names are those of the OpenTelemetry collector's receivers for these servers,
which cannot be had here; ``service.telemetry.catalog`` holds them.
"""

from __future__ import annotations

from redis.asyncio import Redis
from sqlalchemy import text

from service.data.engines import Databases

Figure = tuple[str, tuple[str, ...], float]

_DATABASE = text(
    "SELECT xact_commit AS postgresql_commits, xact_rollback AS postgresql_rollbacks,"
    " deadlocks AS postgresql_deadlocks, blks_hit AS postgresql_blks_hit, blks_read AS postgresql_blks_read,"
    " temp_bytes AS postgresql_temp_bytes, pg_database_size(datname) AS postgresql_db_size_bytes,"
    " current_setting('max_connections')::int AS postgresql_connection_max,"
    " (SELECT coalesce(max(extract(epoch FROM now() - xact_start)), 0) FROM pg_stat_activity"
    "  WHERE datname = current_database()) AS postgresql_oldest_transaction_seconds,"
    " (SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), 0) FROM pg_stat_replication)"
    "  AS postgresql_replication_delay_bytes"
    " FROM pg_stat_database WHERE datname = current_database()"
)
_ROWS = text(
    "SELECT tup_returned AS returned, tup_fetched AS fetched, tup_inserted AS inserted, tup_updated AS updated,"
    " tup_deleted AS deleted, (SELECT coalesce(sum(seq_tup_read), 0) FROM pg_stat_user_tables) AS scanned"
    " FROM pg_stat_database WHERE datname = current_database()"
)
_BACKENDS = text(
    "SELECT coalesce(state, 'unknown') AS state, count(*) AS backends FROM pg_stat_activity"
    " WHERE datname = current_database() GROUP BY 1"
)
_WAITS = text(
    "SELECT kind, count(activity.pid) AS backends FROM unnest(ARRAY['Lock', 'LWLock', 'IO', 'Client']) AS kind"
    " LEFT JOIN pg_stat_activity activity ON wait_event_type = kind AND datname = current_database() GROUP BY 1"
)
_INFO = {
    "connected_clients": "redis_clients_connected",
    "blocked_clients": "redis_clients_blocked",
    "used_memory": "redis_memory_used_bytes",
    "maxmemory": "redis_maxmemory_bytes",
    "total_commands_processed": "redis_commands_processed",
    "keyspace_hits": "redis_keyspace_hits",
    "keyspace_misses": "redis_keyspace_misses",
    "evicted_keys": "redis_keys_evicted",
    "expired_keys": "redis_keys_expired",
}


async def read_postgres(databases: Databases) -> list[Figure]:
    """The primary's figures about our database. Raises ``DatabaseUnavailable``."""
    (whole,), (rows,) = await databases.read_primary(_DATABASE), await databases.read_primary(_ROWS)
    figures: list[Figure] = [(name, (), float(value)) for name, value in whole._asdict().items()]
    figures += [("postgresql_rows", (kind,), float(value)) for kind, value in rows._asdict().items()]
    for row in await databases.read_primary(_BACKENDS):
        figures.append(("postgresql_backends", (row.state,), float(row.backends)))
    for row in await databases.read_primary(_WAITS):
        figures.append(("postgresql_waiting_backends", (row.kind,), float(row.backends)))
    return figures


async def read_valkey(client: Redis) -> list[Figure]:
    """Valkey's figures. Raises ``RedisError``."""
    info = await client.info()
    figures: list[Figure] = [(name, (), float(info[key])) for key, name in _INFO.items()]
    figures.append(("redis_db_keys", (), float(await client.dbsize())))
    return figures
