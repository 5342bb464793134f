"""A process's pools of database connections, as its settings want them and its telemetry sees them."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from sqlalchemy.ext.asyncio import AsyncEngine

from service.data.engines import Databases, Timeouts, build_engine
from service.secrets import Rotating, build_secrets
from service.settings import Settings
from service.telemetry import NullTelemetry, Telemetry


def database_password(settings: Settings, tel: Telemetry | NullTelemetry) -> Rotating | None:
    """None: the one in the database's address."""
    if not settings.secrets:
        return None
    read_at_start = urlsplit(settings.database_url).password
    return Rotating(
        build_secrets(settings.secrets, os.environ, tel.instrument_http_client),
        "database_password",
        unquote(read_at_start) if read_at_start else None,
    )


def build_databases(settings: Settings, tel: Telemetry | NullTelemetry, *, with_replica: bool = False) -> Databases:
    name = f"signalbox/{settings.instance_id}"
    timeouts = Timeouts(
        acquire_s=settings.db_acquire_timeout_s,
        connect_s=settings.db_connect_timeout_s,
        statement_s=settings.db_statement_timeout_s,
        idle_in_transaction_s=settings.db_idle_in_transaction_timeout_s,
    )

    password = database_password(settings, tel)

    def pool(url: str) -> AsyncEngine:
        return build_engine(
            url,
            pool_size=settings.pool_size,
            application_name=name,
            timeouts=timeouts,
            password=password,
        )

    primary = pool(settings.database_url)
    tel.instrument_engine(primary, pool_name="primary")
    if not (with_replica and settings.replica_url):
        return Databases(primary)
    replica = pool(settings.replica_url)
    tel.instrument_engine(replica, pool_name="replica")
    return Databases(primary, replica)
