"""Keyset pagination: a page continues after the last id that the caller has seen.

Owns the cursor's form, which callers must treat as opaque. Knows no table: a repository reads ``limit`` rows with an
id above ``after``. Unlike an offset it costs the same on every page, and rows inserted meanwhile neither repeat nor
hide a row.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.errors import Unprocessable

# Ids are PostgreSQL bigints. What lies outside is refused at the edge, not by the database.
MAX_ID = 2**63 - 1
DEFAULT_LIMIT = 20
MAX_LIMIT = 100

_VERSION = b"\x01"  # first byte of a cursor, so that another form can be told apart later

T = TypeVar("T")


class InvalidCursor(Unprocessable):
    """The cursor is not one that this service gave out."""

    kind = "invalid-cursor"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows in order, and the cursor of what follows; None at the end."""

    items: Sequence[T]
    next_cursor: str | None


def encode_cursor(last_id: int) -> str:
    """Cursor of the page after ``last_id`` (0 to ``MAX_ID``)."""
    return base64.urlsafe_b64encode(_VERSION + last_id.to_bytes(8, "big")).decode()


def decode_cursor(cursor: str) -> int:
    """The id that ``cursor`` continues after. Raises ``InvalidCursor``."""
    try:
        raw = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise InvalidCursor("the cursor is not valid") from error
    last_id = int.from_bytes(raw[1:9], "big")
    if last_id > MAX_ID or encode_cursor(last_id) != cursor:
        raise InvalidCursor("the cursor is not valid")
    return last_id


def build_page(rows: Sequence[T], limit: int, id_of: Callable[[T], int]) -> Page[T]:
    """The page of at most ``limit`` of ``rows``, which must have been read with one row more than ``limit``."""
    items = rows[:limit]
    return Page(items, encode_cursor(id_of(items[-1])) if len(rows) > limit else None)
