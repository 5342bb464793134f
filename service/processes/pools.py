"""A process's pools of database connections, as its settings want them and its telemetry sees them."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from sqlalchemy.ext.asyncio import AsyncEngine

from service.data.engines import Databases, Standby, Timeouts, build_engine
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


def database_timeouts(settings: Settings) -> Timeouts:
    return Timeouts(
        acquire_s=settings.db_acquire_timeout_s,
        connect_s=settings.db_connect_timeout_s,
        statement_s=settings.db_statement_timeout_s,
        idle_in_transaction_s=settings.db_idle_in_transaction_timeout_s,
    )


def build_databases(settings: Settings, tel: Telemetry | NullTelemetry, *, with_replicas: bool = False) -> Databases:
    name, password = f"signalbox/{settings.instance_id}", database_password(settings, tel)

    def pool(url: str, size: int = settings.pool_size, suffix: str = "") -> AsyncEngine:
        return build_engine(
            url,
            pool_size=size,
            application_name=name + suffix,
            timeouts=database_timeouts(settings),
            password=password,
        )

    primary = pool(settings.database_url)
    tel.instrument_engine(primary, pool_name="primary")
    standbys = []
    for number, url in enumerate(settings.replicas if with_replicas else (), 1):
        reads = pool(url)
        pool_name = "replica" if number == 1 else f"replica-{number}"
        tel.instrument_engine(reads, pool_name=pool_name)
        standbys.append(Standby(pool_name, reads, looks=pool(url, 1, "/looks")))
    return Databases(primary, standbys)
