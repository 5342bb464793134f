"""Users in PostgreSQL. Owns their statements; the schema is in ``service/data/migrations``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import BigInteger, Text, column, select, table, true, update
from sqlalchemy.exc import IntegrityError

from service.data.engines import Databases
from service.users.model import EmailTaken, User

_users = table(
    "users", column("id", BigInteger), column("name", Text), column("email", Text), column("version", BigInteger)
)
_columns = (_users.c.id, _users.c.name, _users.c.email, _users.c.version)


class SqlUserRepository:
    """Reads users from the replica, changes them on the primary."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases

    async def find(self, user_id: int) -> User | None:
        """The user, or None."""
        rows = await self._databases.read(select(*_columns).where(_users.c.id == user_id))
        return _user(rows[0]) if rows else None

    async def change(self, user_id: int, versions: Collection[int] | None, changes: dict[str, str]) -> User | None:
        """The user after ``changes``; None, and nothing changed, unless the present version is among ``versions``.

        None: whichever it is. One statement compares and changes, so of two callers with the same version one succeeds.
        Raises ``EmailTaken``.
        """
        as_seen = true() if versions is None else _users.c.version.in_(versions)
        statement = (
            update(_users)
            .where(_users.c.id == user_id, as_seen)
            .values(**changes, version=_users.c.version + 1)
            .returning(*_columns)
        )
        try:
            async with self._databases.transaction() as connection:
                row = (await connection.execute(statement)).first()
        except IntegrityError as error:
            raise EmailTaken("another user has this address") from error
        return _user(row) if row else None


def _user(row: Any) -> User:
    return User(row.id, row.name, row.email, row.version)
