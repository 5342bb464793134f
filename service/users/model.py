"""A user, and what can go wrong in finding one. Knows nothing of storage or HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from service.errors import NotFound


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may order."""

    id: int
    name: str
    email: str


class UserNotFound(NotFound):
    """No user has this id."""

    kind = "user-not-found"
