"""The book of pages: what it keeps, what it forgets, and what it survives."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stack.pager.book import MAX_PAGES, Book
from stack.pager.page import Notice

NOW = 1_785_542_400.0


def notice(fingerprint: str = "f", state: str = "firing", starts_at: float = NOW, **changes: Any) -> Notice:
    fields: dict[str, Any] = {
        "fingerprint": fingerprint,
        "state": state,
        "starts_at": starts_at,
        "ends_at": None,
        "labels": {"alertname": "A", "tier": "page"},
        "annotations": {"summary": "é\n'quoted'"},
    }
    return Notice(**(fields | changes))


@pytest.fixture
def book(tmp_path: Path) -> Any:
    one = Book(tmp_path)
    yield one
    one.close()


def test_many_deliveries_of_one_episode_make_one_page(book: Book) -> None:
    [opened] = book.record([notice(), notice()], now=NOW + 1)
    assert book.record([notice()], now=NOW + 60) == []
    [page] = book.list()
    assert page.id == opened.id
    assert (page.received_at, page.updated_at) == (NOW + 1, NOW + 60)


def test_a_resolution_that_comes_first_leaves_a_resolved_page_whatever_follows(book: Book) -> None:
    assert book.record([notice(state="resolved", ends_at=NOW + 30)], now=NOW + 31) == []
    book.record([notice()], now=NOW + 32)
    [page] = book.list()
    assert (page.state, page.resolved_at) == ("resolved", NOW + 30)


def test_a_new_episode_is_a_new_page_and_ends_the_one_whose_resolution_was_lost(book: Book) -> None:
    book.record([notice()], now=NOW)
    book.record([notice(starts_at=NOW + 600)], now=NOW + 601)
    newest, oldest = book.list()
    assert (newest.state, newest.starts_at) == ("firing", NOW + 600)
    assert (oldest.state, oldest.resolved_at) == ("resolved", NOW + 600)


def test_a_notice_of_an_old_episode_does_not_open_it_again(book: Book) -> None:
    book.record([notice(starts_at=NOW + 600)], now=NOW + 601)
    assert book.record([notice()], now=NOW + 602) == []
    assert [page.state for page in book.list()] == ["firing", "resolved"]


def test_one_alert_leaves_the_episodes_of_another_alone(book: Book) -> None:
    book.record([notice("f"), notice("g", starts_at=NOW + 5)], now=NOW + 6)
    assert book.count() == {"firing": 2, "resolved": 0}


def test_pages_are_listed_by_state_and_by_the_time_of_receipt(book: Book) -> None:
    book.record([notice("a", starts_at=NOW - 900)], now=NOW + 1)
    book.record([notice("b", state="resolved", starts_at=NOW - 800)], now=NOW + 2)
    book.record([notice("c", starts_at=NOW - 700)], now=NOW + 3)
    assert [page.fingerprint for page in book.list()] == ["c", "b", "a"]
    assert [page.fingerprint for page in book.list(state="firing")] == ["c", "a"]
    assert [page.fingerprint for page in book.list(since=NOW + 2)] == ["c", "b"]
    assert [page.fingerprint for page in book.list(limit=1)] == ["c"]


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.record([notice(labels={"alertname": "A", "x": '"]}'})], now=NOW)
    [before] = book.list()
    book.set_trace_id(before.id, "ab" * 16)
    book.close()
    again = Book(tmp_path)
    [after] = again.list()
    assert after.labels == {"alertname": "A", "x": '"]}'}
    assert after.annotations == before.annotations
    assert after.trace_id == "ab" * 16
    assert again.find_open("f") == after
    again.close()


def test_a_full_book_drops_the_oldest_resolved_pages_first(tmp_path: Path) -> None:
    book = Book(tmp_path, max_pages=3)
    book.record([notice("open", starts_at=NOW - 9_000)], now=NOW)
    for number in range(5):
        book.record([notice(f"r{number}", "resolved", NOW + number)], now=NOW + number)
    assert [page.fingerprint for page in book.list()] == ["r4", "r3", "open"]
    book.record([notice(f"o{number}", starts_at=NOW + number) for number in range(5)], now=NOW + 9)
    assert [page.fingerprint for page in book.list()] == ["o4", "o3", "o2"]
    book.close()


def test_a_call_that_fails_keeps_nothing_of_itself(book: Book) -> None:
    unstorable = notice("g", annotations={"a": object()})
    with pytest.raises(TypeError):
        book.record([notice("f"), unstorable], now=NOW)
    assert book.list() == []
    assert len(book.record([notice("f")], now=NOW)) == 1


@pytest.mark.parametrize("damage", [b"this is not a database at all, it only has the name " * 40, None])
def test_a_damaged_file_is_moved_aside_and_paging_goes_on(tmp_path: Path, damage: bytes | None) -> None:
    book = Book(tmp_path)
    book.record([notice(f"f{number}") for number in range(50)], now=NOW)
    book.close()
    file = tmp_path / "pages.sqlite3"
    whole = file.read_bytes()
    file.write_bytes(damage or whole[:4096] + b"\xff" * (len(whole) - 4096))
    again = Book(tmp_path)
    assert again.list() == []
    assert len(again.record([notice()], now=NOW)) == 1
    again.close()
    assert len(list(tmp_path.glob("pages.sqlite3.damaged-*"))) == 1


def test_a_book_of_another_layout_is_not_written_into(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "pages.sqlite3")
    connection.executescript("CREATE TABLE page (id TEXT); PRAGMA user_version = 99")
    connection.close()
    Book(tmp_path).close()
    [aside] = tmp_path.glob("pages.sqlite3.damaged-*")
    kept = sqlite3.connect(aside)
    assert kept.execute("PRAGMA user_version").fetchone() == (99,)
    kept.close()


def test_a_folder_that_cannot_be_used_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "pages.sqlite3").mkdir()
    with pytest.raises(sqlite3.OperationalError):
        Book(tmp_path)
    assert (tmp_path / "pages.sqlite3").is_dir()


WRITER = """
import os, sys
from pathlib import Path
sys.path[0] = sys.argv[2]
from stack.pager.book import Book
from stack.pager.page import Notice
book = Book(Path(sys.argv[1]))
for number in range(100_000):
    notice = Notice(f"f{number}", "firing", 1e9 + number, None, {"alertname": "A"}, {"summary": "s" * 2000})
    book.record([notice], now=1e9)
    os.write(1, b"%d\\n" % number)
"""


def test_what_was_acknowledged_survives_kill_9_and_a_torn_last_write(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(root)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(40)][-1]
    writer.kill()
    acknowledged = max([acknowledged, *(int(line) for line in writer.stdout.read().split())])
    writer.wait()

    log = tmp_path / "pages.sqlite3-wal"
    with log.open("ab") as file:
        file.write(b"\x37\x7f\x06\x82 half a frame")
    book = Book(tmp_path)
    kept = {page.fingerprint for page in book.list()}
    expected = range(max(0, acknowledged - MAX_PAGES // 2), acknowledged + 1)  # older ones the book may have dropped
    missing = {f"f{number}" for number in expected} - kept
    assert not missing
    book.close()
