"""The composition root: builds each process's application out of its parts. It alone sees all of them.

Nothing is built at import; everything is built once a process, from its settings. Connections are opened when they
are first needed; threads and tasks are started, and everything is closed again, by the application's lifespan.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import httpx
from fastapi import APIRouter, Depends, FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

from service import faults as fault
from service import health, telemetry
from service.catalog import http as catalog_http
from service.catalog.model import Product
from service.catalog.repository import ABSENT_TTL_S, PRODUCT_TTL_S, SqlProductRepository
from service.data.cache import Cache, build_cache_client
from service.data.consumer import Consumer
from service.data.engines import Databases, Timeouts, build_engine
from service.data.figures import read_postgres, read_valkey
from service.data.queue import forget_history, observe_queue
from service.data.schedule import Scheduler
from service.deadline import DeadlineMiddleware
from service.edge.answers import AnswerMiddleware
from service.edge.body import BodyLimitMiddleware
from service.edge.gate import Gate
from service.edge.own_writes import OwnWritesMiddleware
from service.edge.pagination import Cursors
from service.edge.ratelimit import Policy, RateLimits
from service.edge.signin import TokenSignIn
from service.edge.versioning import Version
from service.errors import install_error_handlers
from service.issuer import http as issuer_http
from service.issuer.keys import SigningKeys
from service.orders import http as orders_http
from service.orders.keys import SqlOrderKeys
from service.orders.payments_client import HttpPayments, build_payments_client
from service.orders.repository import CANCEL_QUEUE, FULFIL_QUEUE, SqlOrderRepository
from service.orders.workflow import RESERVATION_TTL_S, fulfil_order
from service.payments import http as payments_http
from service.payments.repository import SqlChargeRepository
from service.secrets import Rotating, build_secrets
from service.settings import Settings, SettingsRefused
from service.telemetry import NullTelemetry, Telemetry
from service.users import http as users_http
from service.users.repository import SqlUserRepository
from service.versions import VERSIONS
from service.worker import Worker

# FastAPI records telemetry of its own unless told not to; the door does that here, for a tenth of the price.
_NO_TELEMETRY_OF_ITS_OWN: Any = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}

TELEMETRY_FLUSH_S = 2.0  # what a dead collector may cost a process that leaves (promise 8: five seconds in all)
MAX_BODY_BYTES = 16_384  # an order of twenty lines is under two thousand
# What is done again and again, as cron expressions whose sixth field are seconds. What was charged for an order that
# never came to be is given back at most ten seconds later than it must; that is one look at an index.
SCHEDULE = {
    "stock.release-expired": "* * * * * */10",
    "jobs.forget-history": "*/10 * * * * 30",
    "orders.forget-keys": "*/10 * * * * 45",
}
HISTORY_TO_KEEP = timedelta(days=1)

Close = Callable[[], Awaitable[object]]


def build_api_app(settings: Settings) -> FastAPI:
    """Users, the catalogue and orders. ``app.state.health`` is what the server drains by."""
    tel = _build_telemetry(settings)
    databases = _build_databases(settings, tel, with_replica=True)
    valkey = build_cache_client(settings.valkey_url, pool_size=settings.pool_size)
    tel.instrument_redis(valkey)
    payments = build_payments_client(settings.payments_url, pool_size=settings.pool_size)
    tel.instrument_http_client(payments)

    state = health.Health()
    state.register("postgres", databases.ping_primary)
    faults = fault.Faults(fault.API_FAULTS, allowed=settings.faults_allowed, seed=settings.fault_seed)
    limits = RateLimits(
        valkey,
        Policy.parse(settings.rate_limit),
        {route: Policy.parse(text) for route, text in settings.rate_limits.items()},
    )
    issuer = httpx.AsyncClient()
    tel.instrument_http_client(issuer)
    sign_in = TokenSignIn(issuer, settings.issuer_url, settings.audience) if settings.sign_in == "required" else None
    gate = Gate(limits, sign_in)
    cursors = Cursors("products", settings.cursor_keys.split(","))
    users = SqlUserRepository(databases)
    products = SqlProductRepository(
        databases, Cache(valkey, "products", Product, ttl_s=PRODUCT_TTL_S, absent_ttl_s=ABSENT_TTL_S)
    )
    orders, order_keys, taker = SqlOrderRepository(databases), SqlOrderKeys(databases), HttpPayments(payments)
    routers: list[APIRouter] = []
    for version in VERSIONS:
        routers += [
            users_http.build_router(users, version, gate),
            catalog_http.build_router(products, cursors, version, gate),
            orders_http.build_router(orders, order_keys, taker, version, gate),
        ]
    return _assemble(
        "signalbox api",
        settings,
        tel,
        state,
        faults,
        routers=routers,
        disturb=faults.disturb_response,
        versions=VERSIONS,
        opening=[databases.start],
        position=databases.position,
        closing=[issuer.aclose, payments.aclose, valkey.aclose, databases.dispose],
    )


def build_payments_app(settings: Settings) -> FastAPI:
    """Charges. ``app.state.health`` is what the server drains by."""
    tel = _build_telemetry(settings)
    databases = _build_databases(settings, tel)
    state = health.Health()
    state.register("postgres", databases.ping_primary)
    faults = fault.Faults(fault.PAYMENTS_FAULTS, allowed=settings.faults_allowed, seed=settings.fault_seed)
    return _assemble(
        "signalbox payments",
        settings,
        tel,
        state,
        faults,
        routers=[payments_http.build_router(SqlChargeRepository(databases))],
        disturb=faults.disturb_charge,
        closing=[databases.dispose],
    )


def build_issuer_app(settings: Settings) -> FastAPI:
    """The development issuer. ``app.state.health`` is what the server drains by. Raises ``SettingsRefused``."""
    if settings.environment != "development":
        raise SettingsRefused(["SIGNALBOX_ENVIRONMENT: the development issuer is for development only"])
    tel = _build_telemetry(settings)
    # without a secret of the installation's own, nobody's client credentials are right
    secret = settings.issuer_client_secret or secrets.token_urlsafe()
    return _assemble(
        "signalbox development issuer",
        settings,
        tel,
        health.Health(),
        fault.Faults((), allowed=settings.faults_allowed, seed=settings.fault_seed),
        routers=[issuer_http.build_router(SigningKeys(), settings.issuer_url, settings.audience, secret)],
        closing=[],
    )


def build_worker_app(settings: Settings) -> FastAPI:
    """The worker, and around it the probes, metrics and faults over HTTP. ``app.state.health`` is its state."""
    tel = _build_telemetry(settings)
    databases = _build_databases(settings, tel)
    faults = fault.Faults(fault.WORKER_FAULTS, allowed=settings.faults_allowed, seed=settings.fault_seed)
    client = build_payments_client(settings.payments_url, pool_size=settings.pool_size)
    tel.instrument_http_client(client)
    orders, payments = SqlOrderRepository(databases), HttpPayments(client)

    async def fulfil(payload: str, headers: Mapping[str, str]) -> None:
        await faults.disturb_job(headers.get(fault.SCOPE_HEADER), payload)
        await fulfil_order(orders, UUID(payload))

    async def cancel_charge(payload: str, headers: Mapping[str, str]) -> None:
        await faults.disturb_job(headers.get(fault.SCOPE_HEADER))
        await payments.cancel(UUID(payload))

    async def release_expired(payload: str, headers: Mapping[str, str]) -> None:
        await orders.release_expired(RESERVATION_TTL_S)

    async def forget(payload: str, headers: Mapping[str, str]) -> None:
        await forget_history(databases, HISTORY_TO_KEEP)

    async def forget_keys(payload: str, headers: Mapping[str, str]) -> None:
        await SqlOrderKeys(databases).forget()

    scheduled = dict(zip(SCHEDULE, (release_expired, forget, forget_keys), strict=True))
    jobs = {FULFIL_QUEUE: fulfil, CANCEL_QUEUE: cancel_charge, **scheduled}
    name, password = f"signalbox/{settings.instance_id}", _database_password(settings)
    worker = Worker(
        lambda: Consumer(settings.database_url, jobs, application_name=f"{name}/queue", password=password),
        lambda: Scheduler(settings.database_url, SCHEDULE, application_name=f"{name}/schedule", password=password),
    )
    for queue in jobs:
        tel.observe_queue(queue, partial(observe_queue, databases, queue))
    valkey = build_cache_client(settings.valkey_url, pool_size=1)
    tel.observe_figures("postgres", lambda: read_postgres(databases))
    tel.observe_figures("valkey", lambda: read_valkey(valkey))
    state = health.Health()
    state.register("queue", worker.ping)
    state.on_drain(worker.stop_fetching)
    return _assemble(
        "signalbox worker",
        settings,
        tel,
        state,
        faults,
        opening=[worker.start],
        closing=[worker.finish, client.aclose, valkey.aclose, databases.dispose],
    )


def _build_telemetry(settings: Settings) -> Telemetry | NullTelemetry:
    if settings.telemetry == "off":
        return telemetry.switch_off()
    return telemetry.build_telemetry(
        service_name=settings.service_name,
        service_version=settings.version,
        instance_id=settings.instance_id,
        environment=settings.environment,
        otlp_url=settings.otlp_url or None,
        revision=settings.revision,
    )


def _database_password(settings: Settings) -> Rotating | None:
    """None: the one in the database's address."""
    if not settings.secrets:
        return None
    return Rotating(build_secrets(settings.secrets, os.environ), "database_password")


def _build_databases(settings: Settings, tel: Telemetry | NullTelemetry, *, with_replica: bool = False) -> Databases:
    name = f"signalbox/{settings.instance_id}"
    timeouts = Timeouts(
        acquire_s=settings.db_acquire_timeout_s,
        connect_s=settings.db_connect_timeout_s,
        statement_s=settings.db_statement_timeout_s,
        idle_in_transaction_s=settings.db_idle_in_transaction_timeout_s,
    )

    def pool(url: str) -> AsyncEngine:
        return build_engine(
            url,
            pool_size=settings.pool_size,
            application_name=name,
            timeouts=timeouts,
            password=_database_password(settings),
        )

    primary = pool(settings.database_url)
    tel.instrument_engine(primary, pool_name="primary")
    if not (with_replica and settings.replica_url):
        return Databases(primary)
    replica = pool(settings.replica_url)
    tel.instrument_engine(replica, pool_name="replica")
    return Databases(primary, replica)


def _assemble(
    title: str,
    settings: Settings,
    tel: Telemetry | NullTelemetry,
    state: health.Health,
    faults: fault.Faults,
    *,
    routers: Sequence[APIRouter] = (),
    disturb: Callable[..., Awaitable[None]] | None = None,
    opening: Sequence[Callable[[], None]] = (),
    closing: Sequence[Close],
    position: Callable[[], Awaitable[int]] | None = None,
    versions: Sequence[Version] = (),
) -> FastAPI:
    """What every process has in common.

    ``disturb`` is asked before each public route, where faults are allowed. ``position`` is where the database's log
    ends: callers of a process that has one read their own writes. ``versions``: of an API that has some.
    """

    if settings.defect and faults.allowed:  # this version is said to have it from its first request on
        faults.switch_on(settings.defect, {"percent": settings.defect_percent})

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tel.start()
        for open_part in opening:
            open_part()
        state.started = True
        try:
            yield
        finally:
            for close in closing:
                await close()
            await tel.shutdown(TELEMETRY_FLUSH_S)

    app = FastAPI(
        title=title,
        version=settings.version,
        docs_url="/docs" if settings.docs == "on" else None,
        openapi_url="/openapi.json" if settings.docs == "on" else None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        telemetry=_NO_TELEMETRY_OF_ITS_OWN,
    )
    app.state.health = state
    install_error_handlers(app)
    disturbance = [Depends(disturb)] if disturb is not None and faults.allowed else []
    for router in routers:
        app.include_router(router, dependencies=disturbance)
    app.include_router(health.build_router(state))
    app.include_router(fault.build_router(faults))
    if position is not None:
        app.add_middleware(OwnWritesMiddleware, position=position)
    app.add_middleware(DeadlineMiddleware, budget_s=settings.request_timeout_s)
    app.add_middleware(BodyLimitMiddleware, most_bytes=MAX_BODY_BYTES)
    if versions:
        app.add_middleware(AnswerMiddleware, by_prefix={version.name: version.headers() for version in versions})
    tel.instrument_app(app)
    return app
