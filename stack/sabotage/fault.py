"""What a fault is here: a name, parameters, and three deeds, of which the last is safe at any time.

Owns the form. Knows no fault.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field

Record = dict[str, Any]
"""What undoing needs to know; plain JSON, because it is kept on disk before anything is broken."""


class Refused(Exception):
    """The fault cannot be switched on here and now; the text says why and what to do."""


class Parameters(BaseModel):
    """What every fault can be told: after how many seconds it ends by itself, whoever forgot it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    for_s: float | None = Field(default=None, gt=0, le=86_400)


class Fault(Protocol):
    """One fault. `plan` before anything is broken, `apply` once, `undo` as often as one likes and after any crash."""

    name: ClassVar[str]
    description: ClassVar[str]
    parameters: ClassVar[type[Parameters]]

    async def plan(self, parameters: Any) -> Record:
        """Look whether it can be done, and what undoing it will need. Changes nothing. Raises Refused."""

    async def apply(self, parameters: Any, record: Record) -> None:
        """Break it."""

    async def undo(self, parameters: Any, record: Record) -> None:
        """Make it whole again; nothing happens when it is whole."""
