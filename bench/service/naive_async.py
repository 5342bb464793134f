"""The plain shop, asynchronous: the same queries on the same tables as ``naive``, and nothing else improved.

So that what being asynchronous is worth can be told from the pool, the cache, the joins and the replica: a connection a
query, one query a row, no cache, no replica. Run as ``python -m bench.service.naive_async --port P``.
"""

from __future__ import annotations

import argparse
import os
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import uvicorn
from fastapi import FastAPI, HTTPException
from psycopg.rows import dict_row

from bench.service.naive import PRODUCT


class Database:
    """A new connection for every query."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def rows(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        async with await psycopg.AsyncConnection.connect(self._dsn, row_factory=dict_row) as connection:
            return await (await connection.execute(statement, parameters)).fetchall()

    async def transaction(self) -> psycopg.AsyncConnection[dict[str, Any]]:
        return await psycopg.AsyncConnection.connect(self._dsn, row_factory=dict_row)


def build_app() -> FastAPI:
    """The application."""
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False})
    database = Database(os.environ["SIGNALBOX_DATABASE_URL"].replace("+asyncpg", ""))

    async def one(statement: str, key: Any) -> dict[str, Any]:
        rows = await database.rows(f"{statement} WHERE id = %s", key)
        if not rows:
            raise HTTPException(404)
        return rows[0]

    @app.get("/readyz")
    async def ready() -> None:
        await database.rows("SELECT 1")

    @app.get("/v1/products/{number}")
    async def get_product(number: int) -> dict[str, Any]:
        return await one(PRODUCT, number)

    @app.get("/v1/products")
    async def list_products(limit: int = 20) -> dict[str, Any]:
        ids = await database.rows("SELECT id FROM products ORDER BY id LIMIT %s", limit)
        return {"items": [await one(PRODUCT, row["id"]) for row in ids]}

    @app.get("/v1/users/{number}")
    async def get_user(number: int) -> dict[str, Any]:
        return await one("SELECT id, name, email FROM users", number)

    @app.get("/v1/orders/{number}")
    async def get_order(number: UUID) -> dict[str, Any]:
        order = await one("SELECT * FROM orders", number)
        lines = "SELECT product_id, quantity, unit_price_cents FROM order_items WHERE order_id = %s"
        items = await database.rows(lines, number)
        for item in items:
            item["name"] = (await one("SELECT name FROM products", item["product_id"]))["name"]
        return {**order, "items": items}

    @app.post("/v1/orders", status_code=201)
    async def place_order(order: dict[str, Any]) -> dict[str, Any]:
        number, total = uuid4(), 0
        async with await database.transaction() as connection:
            lines = sorted(order["items"], key=lambda line: line["product_id"])
            for line in lines:
                found = await connection.execute(
                    "UPDATE products SET stock = stock - %s WHERE id = %s RETURNING price_cents",
                    (line["quantity"], line["product_id"]),
                )
                line["price"] = (await found.fetchone() or {})["price_cents"]
                total += line["price"] * line["quantity"]
            charge = {"order_id": str(number), "amount_cents": total, "currency": "EUR"}
            async with httpx.AsyncClient(timeout=5) as client:
                answer = await client.post(f"{os.environ['SIGNALBOX_PAYMENTS_URL']}/v1/charges", json=charge)
            answer.raise_for_status()
            await connection.execute(
                "INSERT INTO orders (id, user_id, status, total_cents, currency, created_at, fulfilled_at)"
                " VALUES (%s, %s, 'fulfilled', %s, 'EUR', now(), now())",
                (number, order["user_id"], total),
            )
            for line in lines:
                await connection.execute(
                    "INSERT INTO order_items VALUES (%s, %s, %s, %s)",
                    (number, line["product_id"], line["quantity"], line["price"]),
                )
        return {"id": str(number), "total_cents": total}

    return app


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(build_app(), host="127.0.0.1", port=parser.parse_args().port, log_level="warning")


if __name__ == "__main__":
    main()
