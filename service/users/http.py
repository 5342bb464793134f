"""Users over HTTP. Owns the form of requests and responses, and nothing else."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Path, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.edge.caller import Caller
from service.edge.conditions import ANY, InvalidCondition, parse_tags, strong
from service.edge.description import UNAVAILABLE, headers
from service.edge.gate import Gate, GatedRoute, MissingScope, NoUser, Unauthenticated
from service.edge.pagination import MAX_ID
from service.edge.versioning import Version
from service.errors import ServiceError, problem_responses
from service.users import workflow
from service.users.model import EmailTaken, User, UserChanged, UserNotFound
from service.users.workflow import UserRepository

# No control characters, NUL among them, which PostgreSQL cannot store.
_NAME = r"^[^\x00-\x1f\x7f]+$"
_EMAIL = r"^[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+$"
_TAG = re.compile(r'"([1-9]\d{0,17})"')

UserId = Annotated[int, Path(ge=1, le=MAX_ID)]
IfMatch = Annotated[
    list[str] | None,
    Header(
        description="The `ETag` of the user as it was read, several of which one has to be the present one, or `*`.",
        examples=[['"3"']],
    ),
]


class PreconditionRequired(ServiceError):
    """A change has to name the state that it is meant for (RFC 6585)."""

    status = HTTPStatus.PRECONDITION_REQUIRED
    kind = "precondition-required"


class UserOut(BaseModel):
    """A user as callers see it."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={"example": {"id": 1, "name": "Ada Keller", "email": "ada.keller.1@example.com"}},
    )

    id: int
    name: str
    email: str


class UserPatch(BaseModel):
    """What to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "Ada Lund"}, "minProperties": 1})

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=_NAME)] = ""
    email: Annotated[str, Field(max_length=254, pattern=_EMAIL)] = ""

    @model_validator(mode="after")
    def _something(self) -> UserPatch:
        if not self.model_fields_set:
            raise ValueError("name at least one field")
        return self


def build_router(users: UserRepository, version: Version, gate: Gate) -> APIRouter:
    """Routes under ``/users``. A user sees and changes himself, a service anybody."""
    router = APIRouter(
        prefix=f"{version.prefix}/users", tags=["users"], deprecated=version.ends, route_class=GatedRoute
    )
    refusals = (Unauthenticated, MissingScope, NoUser, UserNotFound, *UNAVAILABLE)

    @router.get("/{user_id}", response_model=version.form(UserOut), responses=problem_responses(*refusals))
    async def get_user(user_id: UserId, response: Response, caller: Caller = gate.needs("users:read")) -> User:
        """One user. The answer's `ETag` is what a change has to name."""
        user = await workflow.get_user(users, caller, user_id)
        response.headers["ETag"] = _tag(user)
        return user

    @router.patch(
        "/{user_id}",
        response_model=version.form(UserOut),
        responses={
            200: {"headers": headers("ETag", "Set-Cookie")},
            **problem_responses(*refusals, EmailTaken, UserChanged, PreconditionRequired, InvalidCondition),
        },
    )
    async def change_user(
        user_id: UserId,
        body: UserPatch,
        response: Response,
        if_match: IfMatch = None,
        caller: Caller = gate.needs("users:write"),
    ) -> User:
        """Change a user whom nobody has changed since it was read."""
        if if_match is None:
            raise PreconditionRequired("If-Match has to name the ETag of the user as you have read it")
        seen = _versions(parse_tags(",".join(if_match)))
        changes = body.model_dump(exclude_unset=True)
        user = await workflow.change_user(users, caller, user_id, seen, changes)
        response.headers["ETag"] = _tag(user)
        return user

    return router


def _versions(tags: frozenset[str]) -> frozenset[int] | None:
    """The versions that are meant; None for whichever is there. What is no tag of ours names no version."""
    if tags == ANY:
        return None
    return frozenset(int(version[1]) for tag in strong(tags) if (version := _TAG.fullmatch(tag)))


def _tag(user: User) -> str:
    return f'"{user.version}"'
