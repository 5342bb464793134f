"""The same shop the plain way: synchronous, a connection a query, one query a row, no cache, no replica.

Written as one would write it first, on the same tables and the same payments. Each switch in ``NAIVE`` (comma
separated) brings one improvement of the service, so that it can be measured on its own:

``pool`` connections are kept · ``joins`` one query instead of one a row · ``cache`` products in Valkey · ``replica``
reads go to the replica. What is left between all four and the service is that the latter is asynchronous, and all
that it does besides: telemetry, deadlines, jobs. Run as ``python -m bench.service.naive --port P``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import redis
import uvicorn
from fastapi import FastAPI, HTTPException
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

PRODUCT = "SELECT id, name, price_cents, stock FROM products"
THREADS = (
    40  # what Starlette runs synchronous routes on; a pooled connection for each would be more than the service has
)
POOL = 10


class Database:
    """Connections to one server, new for every query or kept."""

    def __init__(self, dsn: str, *, pooled: bool) -> None:
        self._dsn = dsn
        self._pool = ConnectionPool(dsn, min_size=1, max_size=POOL, timeout=10, open=True) if pooled else None

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        if self._pool is not None:
            with self._pool.connection() as connection:
                yield connection
        else:
            with psycopg.connect(self._dsn) as connection:
                yield connection

    def rows(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        with self.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statement, parameters).fetchall()


def payments_headers() -> dict[str, str]:
    """A token that payments believes, fetched once: it is good for an hour, longer than any run."""
    client = os.environ.get("SIGNALBOX_CLIENT_ID", "signalbox"), os.environ["SIGNALBOX_CLIENT_SECRET"]
    grant = {"grant_type": "client_credentials", "scope": "charges:write"}
    answer = httpx.post(f"{os.environ['SIGNALBOX_ISSUER_URL']}/token", data=grant, auth=client)
    return {"authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"}


def build_app(switches: set[str]) -> FastAPI:  # noqa: C901  # plain code is one long function
    """The application with those switches on."""
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False})
    dsn = os.environ["SIGNALBOX_DATABASE_URL"].replace("+asyncpg", "")
    primary = Database(dsn, pooled="pool" in switches)
    reads = primary
    if "replica" in switches:
        reads = Database(os.environ["SIGNALBOX_REPLICA_URLS"].replace("+asyncpg", ""), pooled="pool" in switches)
    cache = redis.Redis.from_url(os.environ["SIGNALBOX_VALKEY_URL"]) if "cache" in switches else None
    joins = "joins" in switches
    payments, known = f"{os.environ['SIGNALBOX_PAYMENTS_URL']}/v1/charges", payments_headers()

    def product(number: int) -> dict[str, Any]:
        key = f"naive:{number}"
        if cache is not None and (copy := cache.get(key)):
            return json.loads(copy)
        rows = reads.rows(f"{PRODUCT} WHERE id = %s", number)
        if not rows:
            raise HTTPException(404)
        if cache is not None:
            cache.set(key, json.dumps(rows[0]), ex=30)
        return rows[0]

    @app.get("/readyz")
    def ready() -> None:
        primary.rows("SELECT 1")

    @app.get("/v1/products/{number}")
    def get_product(number: int) -> dict[str, Any]:
        return product(number)

    @app.get("/v1/products")
    def list_products(limit: int = 20) -> dict[str, Any]:
        if joins:
            return {"items": reads.rows(f"{PRODUCT} ORDER BY id LIMIT %s", limit)}
        ids = reads.rows("SELECT id FROM products ORDER BY id LIMIT %s", limit)
        return {"items": [reads.rows(f"{PRODUCT} WHERE id = %s", row["id"])[0] for row in ids]}

    @app.get("/v1/users/{number}")
    def get_user(number: int) -> dict[str, Any]:
        rows = reads.rows("SELECT id, name, email FROM users WHERE id = %s", number)
        if not rows:
            raise HTTPException(404)
        return rows[0]

    @app.get("/v1/orders/{number}")
    def get_order(number: UUID) -> dict[str, Any]:
        orders = primary.rows("SELECT * FROM orders WHERE id = %s", number)
        if not orders:
            raise HTTPException(404)
        items = primary.rows(
            "SELECT product_id, quantity, unit_price_cents FROM order_items WHERE order_id = %s", number
        )
        if not joins:
            for item in items:
                item["name"] = primary.rows("SELECT name FROM products WHERE id = %s", item["product_id"])[0]["name"]
        return {**orders[0], "items": items}

    @app.post("/v1/orders", status_code=201)
    def place_order(order: dict[str, Any]) -> dict[str, Any]:
        number, total = uuid4(), 0
        with primary.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            lines = sorted(order["items"], key=lambda line: line["product_id"])
            for line in lines:
                cursor.execute(
                    "UPDATE products SET stock = stock - %s WHERE id = %s RETURNING price_cents",
                    (line["quantity"], line["product_id"]),
                )
                line["price"] = (cursor.fetchone() or {})["price_cents"]
                total += line["price"] * line["quantity"]
            # Everybody who wants the same product waits for this answer, and a connection is held meanwhile.
            charge = {"order_id": str(number), "amount_cents": total, "currency": "EUR"}
            httpx.post(payments, json=charge, headers=known, timeout=5).raise_for_status()
            cursor.execute(
                "INSERT INTO orders (id, user_id, status, total_cents, currency, created_at, fulfilled_at)"
                " VALUES (%s, %s, 'fulfilled', %s, 'EUR', now(), now())",
                (number, order["user_id"], total),
            )
            for line in lines:
                cursor.execute(
                    "INSERT INTO order_items VALUES (%s, %s, %s, %s)",
                    (number, line["product_id"], line["quantity"], line["price"]),
                )
        return {"id": str(number), "total_cents": total}

    return app


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    switches = {switch for switch in os.environ.get("NAIVE", "").split(",") if switch}
    uvicorn.run(build_app(switches), host="127.0.0.1", port=parser.parse_args().port, log_level="warning")


if __name__ == "__main__":
    main()
