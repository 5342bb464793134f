"""What can be done with users. Knows nothing of storage or HTTP."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from service.edge.caller import Caller
from service.users.model import User, UserChanged, UserNotFound


class UserRepository(Protocol):
    """Where users are kept."""

    async def find(self, user_id: int) -> User | None:
        """The user, or None."""
        ...

    async def change(self, user_id: int, versions: Collection[int] | None, changes: dict[str, str]) -> User | None:
        """The user after ``changes``; None, and nothing changed, unless the present version is among ``versions``.

        None: whichever it is. Raises ``EmailTaken``.
        """
        ...


async def get_user(users: UserRepository, caller: Caller, user_id: int) -> User:
    """The user with this id. Raises ``UserNotFound``, also when it is not the caller's business."""
    user = await users.find(user_id) if caller.may_act_for(user_id) else None
    if user is None:
        raise UserNotFound(f"there is no user {user_id}")
    return user


async def change_user(
    users: UserRepository, caller: Caller, user_id: int, versions: Collection[int] | None, changes: dict[str, str]
) -> User:
    """Change a user who is still as the caller has seen it: in one of ``versions``, None for whichever.

    Raises ``UserNotFound``, ``UserChanged``, ``EmailTaken``.
    """
    await get_user(users, caller, user_id)
    user = await users.change(user_id, versions, changes)
    if user is None:
        raise UserChanged("the user was changed meanwhile: read it again")
    return user
