"""A user, and what can go wrong in finding one. Knows nothing of storage or HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from service.errors import Conflict, NotFound, ServiceError


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may order. ``version`` counts the changes."""

    id: int
    name: str
    email: str
    version: int


class UserNotFound(NotFound):
    """No user has this id."""

    kind = "user-not-found"


class EmailTaken(Conflict):
    """Another user has this address."""

    kind = "email-taken"


class UserChanged(ServiceError):
    """The user is not any more as the caller has seen it. Read again, then decide again."""

    status = HTTPStatus.PRECONDITION_FAILED
    kind = "user-changed"
