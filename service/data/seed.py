"""The data set that the stack runs on: 50,000 users and 100,000 products, the same on every machine.

Owns how row number ``n`` looks. Rows are made by arithmetic on ``n`` alone, so every run makes the same ones. They are
copied in one transaction: a run that dies half-way has changed nothing, and a run that finds them does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import asyncpg

from service.data.dsn import asyncpg_dsn

USERS = 50_000
PRODUCTS = 100_000
# So few of the first products that a test, or a curious reader, can exhaust them.
SCARCE_PRODUCTS = 10
SCARCE_STOCK = 5
# More than steady load sells in a year.
PLENTY = 1_000_000

# Any number will do, as long as nothing else in the database locks the same one.
_ADVISORY_LOCK = 5_130_020_402

_FIRST_NAMES = (
    "Ada", "Amir", "Anna", "Bela", "Carla", "Chen", "Dora", "Elif", "Emil", "Fatima", "Goran", "Hanna", "Ines",
    "Ivan", "Jonas", "Kira", "Lars", "Leila", "Mara", "Milan", "Nils", "Noor", "Olga", "Pablo", "Priya", "Rosa",
    "Samir", "Sofia", "Tariq", "Yuki", "Zoe",
)  # fmt: skip
_LAST_NAMES = (
    "Adler", "Baker", "Costa", "Dahl", "Eriksen", "Fischer", "Garcia", "Haddad", "Ito", "Jansen", "Keller", "Lund",
    "Meyer", "Novak", "Okafor", "Petrov", "Quist", "Rossi", "Sato", "Tanaka", "Ulrich", "Vega", "Weber", "Yilmaz",
    "Zhou", "Bianchi", "Dubois", "Horvat", "Kowalski", "Lindgren", "Moreau", "Nakamura", "Olsen", "Popescu", "Silva",
    "Thomsen", "Varga",
)  # fmt: skip
_MANNERS = (
    "Sturdy", "Slim", "Folding", "Quiet", "Bright", "Heavy", "Compact", "Woven", "Matte", "Polished", "Classic",
    "Modern", "Portable", "Insulated", "Reclaimed", "Handmade", "Stackable",
)  # fmt: skip
_MATERIALS = (
    "Walnut", "Oak", "Steel", "Linen", "Wool", "Ceramic", "Glass", "Copper", "Bamboo", "Leather", "Cotton", "Cork",
    "Birch", "Granite", "Brass", "Felt", "Ash", "Slate", "Rattan",
)  # fmt: skip
_THINGS = (
    "Desk", "Lamp", "Chair", "Shelf", "Mug", "Kettle", "Blanket", "Basket", "Clock", "Mirror", "Bowl", "Stool",
    "Tray", "Planter", "Rug", "Cushion", "Board", "Carafe", "Hook", "Frame", "Bench", "Box", "Candle",
)  # fmt: skip

# Multipliers that are prime to the lengths above spread neighbours apart without repeating before they must.
_SPREAD = 7_919


def user_row(n: int) -> tuple[int, str, str]:
    """``(id, name, email)`` of user ``n``, from 1."""
    first = _FIRST_NAMES[n % len(_FIRST_NAMES)]
    last = _LAST_NAMES[n * _SPREAD // len(_FIRST_NAMES) % len(_LAST_NAMES)]
    return n, f"{first} {last}", f"{first}.{last}.{n}@example.com".lower()


def product_row(n: int) -> tuple[int, str, int, int]:
    """``(id, name, price_cents, stock)`` of product ``n``, from 1."""
    manner = _MANNERS[n % len(_MANNERS)]
    material = _MATERIALS[n // len(_MANNERS) % len(_MATERIALS)]
    thing = _THINGS[n // (len(_MANNERS) * len(_MATERIALS)) % len(_THINGS)]
    price_cents = 199 + n * _SPREAD % 500 * 50  # from 1.99 to 251.49
    stock = SCARCE_STOCK if n <= SCARCE_PRODUCTS else PLENTY + n * _SPREAD % 1000
    return n, f"{manner} {material} {thing}", price_cents, stock


async def seed(database_url: str) -> bool:
    """Put users and products in, unless they are there; whether anything was done. The tables have to exist."""
    connection = await asyncpg.connect(
        asyncpg_dsn(database_url), server_settings={"application_name": "signalbox/seed"}
    )
    try:
        async with connection.transaction():
            # two at once: the second waits here, and finds the rows
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _ADVISORY_LOCK)
            if await connection.fetchval("SELECT EXISTS (SELECT FROM products)"):
                return False
            await connection.copy_records_to_table(
                "users", records=_rows(user_row, USERS), columns=("id", "name", "email")
            )
            await connection.copy_records_to_table("products", records=_rows(product_row, PRODUCTS))
            await connection.execute("ANALYZE users, products")
    finally:
        await connection.close()
    return True


def _rows(row: Callable[[int], tuple[Any, ...]], count: int) -> Iterator[tuple[Any, ...]]:
    return (row(n) for n in range(1, count + 1))
