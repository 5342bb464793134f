"""What can be done with users. Knows nothing of storage or HTTP."""

from __future__ import annotations

from typing import Protocol

from service.users.model import User, UserNotFound


class UserRepository(Protocol):
    """Where users are kept."""

    async def find(self, user_id: int) -> User | None:
        """The user, or None."""
        ...


async def get_user(users: UserRepository, user_id: int) -> User:
    """The user with this id. Raises ``UserNotFound``."""
    user = await users.find(user_id)
    if user is None:
        raise UserNotFound(f"there is no user {user_id}")
    return user
