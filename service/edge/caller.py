"""Who is asking, and for whom that one may act.

Knows nothing of tokens or of HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Acts for any user: other services, support tools. Everybody else acts for himself.
ANY_USER = "any-user"


@dataclass(frozen=True, slots=True)
class Caller:
    """``subject`` is who is counted and logged. ``user_id`` is None for a service, and for who did not sign in."""

    subject: str
    scopes: frozenset[str] = field(default_factory=frozenset)
    user_id: int | None = None

    def may_act_for(self, user_id: int) -> bool:
        """Whether what belongs to this user is this caller's business."""
        return self.user_id == user_id or ANY_USER in self.scopes
