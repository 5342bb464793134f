"""Users in PostgreSQL. Owns their statements; the schema is in ``service/data/migrations``."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Text, column, select, table, update
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

    async def change(self, user_id: int, version: int, changes: dict[str, str]) -> User | None:
        """The user after ``changes``; None, and nothing changed, unless ``version`` is the present one.

        One statement compares and changes, so of two callers with the same version one succeeds. Raises ``EmailTaken``.
        """
        statement = (
            update(_users)
            .where(_users.c.id == user_id, _users.c.version == version)
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
