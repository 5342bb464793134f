"""Keyset pagination: a page continues after the last id that the caller has seen.

Owns the cursor's form, which is opaque and signed: callers must not read meaning into it (it hides nothing), and cannot
make one up, or take one from one collection to another. Knows no table: a repository reads ``limit`` rows with an id
above ``after``. Unlike an offset it costs the same on every page, and rows inserted meanwhile neither repeat nor hide
a row.
"""

from __future__ import annotations

import base64
import hmac
from binascii import Error as NotBase64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Generic, TypeVar

from service.errors import Unprocessable

# Ids are PostgreSQL bigints. What lies outside is refused at the edge, not by the database.
MAX_ID = 2**63 - 1
DEFAULT_LIMIT = 20
MAX_LIMIT = 100

_VERSION = b"\x02"  # first byte of a cursor, so that another form can be told apart later
_HEAD_BYTES = 1 + 8  # version, id
_MAC_BYTES = 16  # half of SHA-256's: nobody can try 2^128 of them

T = TypeVar("T")


class InvalidCursor(Unprocessable):
    """The cursor is not one that this service gave out for this collection."""

    kind = "invalid-cursor"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows in order, and the cursor of what follows; None at the end."""

    items: Sequence[T]
    next_cursor: str | None


class Cursors:
    """Cursors of one collection. The first of ``keys`` signs, each of them is accepted, so a key can be replaced."""

    def __init__(self, collection: str, keys: Sequence[str]) -> None:
        self._keys = [sha256(f"{collection}:{key}".encode()).digest() for key in keys]

    def encode(self, last_id: int) -> str:
        """Cursor of the page after ``last_id`` (0 to ``MAX_ID``)."""
        head = _VERSION + last_id.to_bytes(8, "big")
        return base64.urlsafe_b64encode(head + _sign(self._keys[0], head)).rstrip(b"=").decode()

    def decode(self, cursor: str) -> int:
        """The id that ``cursor`` continues after. Raises ``InvalidCursor``."""
        try:
            raw = base64.b64decode(cursor.encode("ascii") + b"==", altchars=b"-_", validate=True)
        except (NotBase64, UnicodeEncodeError) as error:
            raise InvalidCursor("the cursor is not valid") from error
        head, mac = raw[:_HEAD_BYTES], raw[_HEAD_BYTES:]
        # one text for one cursor: unused bits at the end of base64 must not make others
        known = base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == cursor and head.startswith(_VERSION)
        if not (known and any(hmac.compare_digest(mac, _sign(key, head)) for key in self._keys)):
            raise InvalidCursor("the cursor is not valid")
        return int.from_bytes(head[1:], "big")

    def page(self, rows: Sequence[T], limit: int, id_of: Callable[[T], int]) -> Page[T]:
        """The page of at most ``limit`` of ``rows``, which must have been read with one row more than ``limit``."""
        items = rows[:limit]
        return Page(items, self.encode(id_of(items[-1])) if len(rows) > limit else None)


def _sign(key: bytes, head: bytes) -> bytes:
    return hmac.digest(key, head, "sha256")[:_MAC_BYTES]
