"""Idempotency keys in PostgreSQL: whoever asks twice with the same key has ordered once.

A key is claimed before anything is done, with the id that the order will have, and settled by the transaction that
writes the order: either both are there or neither. Whoever holds a claim for longer than ``LEASE_S`` is taken for dead:
the next attempt takes the key over with an id of its own and gives up the old one, its stock and its charge. Should the
late one live after all, it finds at its commit that the key is not its own any more, and commits nothing.
"""

from __future__ import annotations

from uuid import uuid4

from sqlalchemy import LargeBinary, Text, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.data.engines import PIECE, Databases
from service.orders.model import Claim, IdempotencyKey, KeyInUse, KeyReused

# Above the longest that an order can take: the waits for connections, three transactions and payments.
LEASE_S = 60
# After this, a key may be used for something else.
KEEP_S = 24 * 3600

_client, _key = bindparam("client", type_=Text), bindparam("key", type_=Text)
_fingerprint, _order_id = bindparam("fingerprint", type_=LargeBinary), bindparam("order_id", type_=Uuid)

_CLAIM = text(
    f"""
    INSERT INTO order_keys AS held (client, key, fingerprint, order_id)
    VALUES (:client, :key, :fingerprint, :order_id)
    ON CONFLICT (client, key) DO UPDATE SET order_id = excluded.order_id, taken_at = clock_timestamp()
        WHERE held.fingerprint = excluded.fingerprint AND NOT held.placed
          AND held.taken_at < clock_timestamp() - interval '{LEASE_S} seconds'
    RETURNING order_id, old.order_id AS previous
    """
).bindparams(_client, _key, _fingerprint, _order_id)
_LOOK = text("SELECT fingerprint, order_id, placed FROM order_keys WHERE client = :client AND key = :key").bindparams(
    _client, _key
)
_SETTLE = text("UPDATE order_keys SET placed = true WHERE order_id = :order_id AND NOT placed").bindparams(_order_id)
_ABANDON = text("UPDATE order_keys SET taken_at = '-infinity' WHERE order_id = :order_id AND NOT placed").bindparams(
    _order_id
)
_FORGET = text(
    f"""
    DELETE FROM order_keys WHERE (client, key) IN (
        SELECT client, key FROM order_keys WHERE created_at < now() - interval '{KEEP_S} seconds' LIMIT {PIECE})
    """
)


class SqlOrderKeys:
    """Keeps keys on the primary."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases

    async def claim(self, key: IdempotencyKey) -> Claim:
        """Take ``key`` for one attempt, or find the order that was placed with it.

        Raises ``KeyReused`` when it came with another request, ``KeyInUse`` while another attempt is under way.
        """
        named = {"client": key.client, "key": key.value}
        async with self._databases.transaction() as connection:
            row = (
                await connection.execute(_CLAIM, {**named, "fingerprint": key.fingerprint, "order_id": uuid4()})
            ).first()
        if row is not None:
            return Claim(row.order_id, row.previous)
        found = await self._databases.read_primary(_LOOK.bindparams(**named))
        if found and found[0].fingerprint != key.fingerprint:
            raise KeyReused("this idempotency key came with another request before")
        if not found or not found[0].placed:
            raise KeyInUse("a request with this idempotency key is under way")
        return Claim(found[0].order_id, placed=True)

    async def abandon(self, claim: Claim) -> None:
        """Let the next attempt have the claim at once."""
        async with self._databases.transaction() as connection:
            await connection.execute(_ABANDON, {"order_id": claim.order_id})

    async def forget(self) -> None:
        """Delete keys older than ``KEEP_S``."""
        await self._databases.delete_in_pieces(_FORGET)


async def settle(connection: AsyncConnection, claim: Claim) -> None:
    """Note in the order's transaction that it is placed. Raises ``KeyInUse`` when another attempt took over."""
    if (await connection.execute(_SETTLE, {"order_id": claim.order_id})).rowcount != 1:
        raise KeyInUse("another request with this idempotency key took over")
