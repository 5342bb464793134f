"""JSON that another process has answered, which is not to be trusted to be any. Knows nothing of what it should say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2


def read_json(answer: httpx2.Response) -> Any:
    """What was answered. Raises ``ValueError`` where it is no JSON, or nested deeper than anybody can read."""
    try:
        return answer.json()
    except RecursionError:
        raise ValueError("nested too deeply") from None
