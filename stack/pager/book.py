"""The book of pages, on disk.

Owns: the SQLite file, one transaction a delivery, what is kept and for how long. A page that was acknowledged to
Alertmanager survives `kill -9` (write-ahead log, synchronous commits). Refuses to know: HTTP, links, why a page
changed (page.py decides).
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path

from stack.pager.page import CLOSED, Notice, Page, State, build_page, build_page_id, close_page, update_page

# When the book is full the oldest resolved pages go first. A usual page takes 2 KiB, the largest about 1 MiB.
MAX_PAGES = 1_000

_VERSION = 1
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS page (
    id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, state TEXT NOT NULL, starts_at REAL NOT NULL,
    received_at REAL NOT NULL, updated_at REAL NOT NULL, resolved_at REAL, trace_id TEXT,
    labels TEXT NOT NULL, annotations TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS evidence (page_id TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS page_fingerprint ON page (fingerprint);
CREATE INDEX IF NOT EXISTS page_received ON page (received_at);
PRAGMA user_version = {_VERSION};
"""

logger = logging.getLogger(__name__)


class Book:
    """Pages by id. For one thread at a time. Every method blocks on the disk and may raise sqlite3.Error, after
    which nothing of that call has been kept."""

    def __init__(self, folder: Path, *, max_pages: int = MAX_PAGES) -> None:
        """Opens or makes the book in `folder`. A damaged file is moved aside, never deleted: a pager that
        starts with an empty book still pages, one that does not start cannot."""
        self._max_pages = max_pages
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "pages.sqlite3"
        try:
            self._connection = _open(file)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # full disk, no permission: moving would not help
                raise
            logger.error("%s is damaged (%s); moved aside, starting with an empty book", file, error)
            _move_aside(file)
            self._connection = _open(file)

    def close(self) -> None:
        self._connection.close()

    def check(self) -> None:
        """Raises sqlite3.Error when a page could not be written now."""
        with self._transaction():
            pass

    def record(self, notices: Iterable[Notice], *, now: float) -> list[Page]:
        """Keeps what `notices` say, in one transaction, and returns the pages that they opened."""
        opened = []
        with self._transaction() as connection:
            for notice in notices:
                known = _find(connection, build_page_id(notice.fingerprint, notice.starts_at))
                page = build_page(notice, now) if known is None else update_page(known, notice, now)
                page = _end_overtaken_episodes(connection, page, now)
                _save(connection, page)
                if known is None and page.state == "firing":
                    opened.append(page)
            connection.execute(
                "DELETE FROM page WHERE id IN "
                "(SELECT id FROM page ORDER BY state = 'firing' DESC, starts_at DESC LIMIT -1 OFFSET ?)",
                (self._max_pages,),
            )
            connection.execute("DELETE FROM evidence WHERE page_id NOT IN (SELECT id FROM page)")
        return opened

    def close_page(self, page: Page, why: str, *, now: float) -> None:
        """Ends a page whose end nobody told, saying why. One that has ended or changed meanwhile stays as it is."""
        with self._transaction() as connection:
            if _find(connection, page.id) == page:
                closed = close_page(page, now, now)
                _save(connection, replace(closed, annotations=page.annotations | {CLOSED: why}))

    def set_evidence(self, page_id: str, document: bytes) -> None:
        """Keeps what is known about the cause of a page, as JSON. Nothing for a page that is not there or has ended."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO evidence SELECT id, ? FROM page WHERE id = ? AND state = 'firing'",
                (document.decode(), page_id),
            )

    def evidence(self, page_ids: Iterable[str]) -> dict[str, str]:
        """The JSON that was kept, by page."""
        wanted = list(page_ids)
        marks = ", ".join("?" * len(wanted))
        return dict(
            self._connection.execute(f"SELECT page_id, document FROM evidence WHERE page_id IN ({marks})", wanted)
        )

    def set_trace_id(self, page_id: str, trace_id: str) -> None:
        with self._transaction() as connection:
            connection.execute("UPDATE page SET trace_id = ? WHERE id = ?", (trace_id, page_id))

    def find(self, page_id: str) -> Page | None:
        return _find(self._connection, page_id)

    def find_open(self, fingerprint: str) -> Page | None:
        """The firing page of an alert, if there is one."""
        row = self._connection.execute(
            "SELECT * FROM page WHERE fingerprint = ? AND state = 'firing' ORDER BY starts_at DESC", (fingerprint,)
        ).fetchone()
        return None if row is None else _load(row)

    def find_latest(self, fingerprint: str) -> Page | None:
        """The latest page of an alert, firing or not."""
        row = self._connection.execute(
            "SELECT * FROM page WHERE fingerprint = ? ORDER BY starts_at DESC", (fingerprint,)
        ).fetchone()
        return None if row is None else _load(row)

    def list(self, *, state: State | None = None, since: float = 0.0, limit: int = MAX_PAGES) -> list[Page]:
        """Pages received at `since` or later, the newest start first."""
        rows = self._connection.execute(
            "SELECT * FROM page WHERE received_at >= ? AND (? IS NULL OR state = ?) "
            "ORDER BY starts_at DESC, received_at DESC, id LIMIT ?",
            (since, state, state, limit),
        ).fetchall()
        return [_load(row) for row in rows]

    def count(self) -> dict[str, int]:
        """How many pages are kept, by state."""
        rows = self._connection.execute("SELECT state, count(*) FROM page GROUP BY state").fetchall()
        return {"firing": 0, "resolved": 0} | dict(rows)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def _open(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -1024")
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if verdict != "ok" or version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"check: {verdict}, version: {version}")
        connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


def _move_aside(file: Path) -> None:
    for part in (file, file.with_name(file.name + "-wal"), file.with_name(file.name + "-shm")):
        if part.exists():
            part.rename(part.with_name(f"{part.name}.damaged-{int(time.time())}"))


def _end_overtaken_episodes(connection: sqlite3.Connection, page: Page, now: float) -> Page:
    """An alert has one open episode: a later one ends those before it, and one that comes late is born ended."""
    rows = connection.execute("SELECT * FROM page WHERE fingerprint = ? AND id != ?", (page.fingerprint, page.id))
    for other in map(_load, rows.fetchall()):
        if other.state == "firing" and other.starts_at < page.starts_at:
            _save(connection, close_page(other, page.starts_at, now))
        elif page.state == "firing" and page.starts_at < other.starts_at:
            page = close_page(page, other.starts_at, now)
    return page


def _find(connection: sqlite3.Connection, page_id: str) -> Page | None:
    row = connection.execute("SELECT * FROM page WHERE id = ?", (page_id,)).fetchone()
    return None if row is None else _load(row)


def _load(row: tuple[object, ...]) -> Page:
    page = Page(*row)  # type: ignore[arg-type]
    return replace(page, labels=json.loads(str(page.labels)), annotations=json.loads(str(page.annotations)))


def _save(connection: sqlite3.Connection, page: Page) -> None:
    *values, _, _ = astuple(page)
    connection.execute(
        "INSERT OR REPLACE INTO page VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*values, json.dumps(page.labels), json.dumps(page.annotations)),
    )
