"""Users in PostgreSQL. Owns their statements; the schema is in ``service/data/migrations``."""

from __future__ import annotations

from sqlalchemy import BigInteger, Text, column, select, table

from service.data.engines import Databases
from service.users.model import User

_users = table("users", column("id", BigInteger), column("name", Text), column("email", Text))


class SqlUserRepository:
    """Reads users from the replica."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases

    async def find(self, user_id: int) -> User | None:
        """The user, or None."""
        statement = select(_users.c.id, _users.c.name, _users.c.email).where(_users.c.id == user_id)
        rows = await self._databases.read(statement)
        return User(rows[0].id, rows[0].name, rows[0].email) if rows else None
