"""Users over HTTP. Owns the form of requests and responses, and nothing else."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict

from service.edge.pagination import MAX_ID
from service.errors import problem_responses
from service.users import workflow
from service.users.model import User, UserNotFound
from service.users.workflow import UserRepository


class UserOut(BaseModel):
    """A user as callers see it."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={"example": {"id": 1, "name": "Ada Keller", "email": "ada.keller.1@example.com"}},
    )

    id: int
    name: str
    email: str


def build_router(users: UserRepository) -> APIRouter:
    """Routes under ``/v1/users``."""
    router = APIRouter(prefix="/v1/users", tags=["users"])

    @router.get("/{user_id}", response_model=UserOut, responses=problem_responses(UserNotFound))
    async def get_user(user_id: Annotated[int, Path(ge=1, le=MAX_ID)]) -> User:
        """One user."""
        return await workflow.get_user(users, user_id)

    return router
