"""The api: users, the catalogue and orders."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from service import faults as fault
from service import health
from service.app import assemble, build_telemetry
from service.catalog import http as catalog_http
from service.catalog.model import Product
from service.catalog.repository import ABSENT_TTL_S, PRODUCT_TTL_S, SqlProductRepository
from service.data.cache import Cache, build_cache_client
from service.edge.description import describe_answers
from service.edge.gate import Gate
from service.edge.pagination import Cursors
from service.edge.quota import Policy
from service.edge.ratelimit import RateLimits
from service.orders import http as orders_http
from service.orders.keys import SqlOrderKeys
from service.orders.payments_client import HttpPayments, build_payments_client
from service.orders.repository import SqlOrderRepository
from service.processes.callers import build_sign_in
from service.processes.identity import build_issuer_client, build_own_token
from service.processes.pools import build_databases
from service.settings import Settings
from service.users import http as users_http
from service.users.repository import SqlUserRepository
from service.versions import VERSIONS


def build_app(settings: Settings) -> FastAPI:
    """Users, the catalogue and orders. ``app.state.health`` is what the server drains by."""
    tel = build_telemetry(settings)
    databases = build_databases(settings, tel, with_replicas=True)
    valkey = build_cache_client(settings.valkey_url, pool_size=settings.pool_size)
    tel.instrument_redis(valkey, pool_name="cache")
    # Connections of its own even where the server is the same: a crowd at the cache is not in the way of the counting.
    counting = build_cache_client(settings.counting_url, pool_size=settings.pool_size)
    tel.instrument_redis(counting, pool_name="quotas")
    payments = build_payments_client(settings.payments_url, pool_size=settings.pool_size)
    tel.instrument_http_client(payments, peer="payments")

    state = health.Health()
    state.register("postgres", databases.ping)
    faults = fault.Faults(fault.API_FAULTS, allowed=settings.faults_allowed, seed=settings.fault_seed)
    limits = RateLimits(
        counting,
        Policy.parse(settings.rate_limit),
        {route: Policy.parse(text) for route, text in settings.rate_limits.items()},
    )
    issuer = build_issuer_client(tel)
    gate = Gate(limits, build_sign_in(issuer, settings))
    cursors = Cursors("products", settings.cursor_keys.split(","))
    users = SqlUserRepository(databases)
    products = SqlProductRepository(
        databases, Cache(valkey, "products", Product, ttl_s=PRODUCT_TTL_S, absent_ttl_s=ABSENT_TTL_S)
    )
    orders, order_keys = SqlOrderRepository(databases), SqlOrderKeys(databases)
    taker = HttpPayments(payments, build_own_token(issuer, settings, tel))
    routers: list[APIRouter] = []
    for version in VERSIONS:
        routers += [
            users_http.build_router(users, version, gate),
            catalog_http.build_router(products, cursors, version, gate),
            orders_http.build_router(orders, order_keys, taker, version, gate),
        ]
    app = assemble(
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
        closing=[issuer.aclose, payments.aclose, valkey.aclose, counting.aclose, databases.dispose],
    )
    describe_answers(app, VERSIONS)
    return app
