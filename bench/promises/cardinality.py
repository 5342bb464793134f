"""Promise 5: strangers cannot grow the number of series, whatever paths, methods, hosts and headers they think of.

Requests go down one connection, many at a time, so that a hundred thousand of them take a minute and not a quarter of
an hour. What is over the bound is counted, not lost.
"""

from __future__ import annotations

import random
import re
import socket
import string
import subprocess
from collections.abc import Iterator

from bench.promises import subject
from bench.promises.figures import Figure
from bench.promises.subject import METHODS, Subject

MAX_SERIES = 2_000
AT_ONCE = 50
STRANGE = ["PROPFIND", "MKCOL", "LOCK", "PURGE", "SEARCH", "REPORT", "TRACE", "NOTIFY", "COPY"]  # what the parser knows
_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_REQUESTS = re.compile(r"^http_server_request_duration_seconds_count\{.*\} (\S+)$", re.MULTILINE)
_OVERFLOW = re.compile(r"^telemetry_cardinality_overflow_total (\S+)$", re.MULTILINE)


def measure(requests: int, seed: int = 5) -> Iterator[Figure]:
    """So many requests of strangers to one process: figures of promise 5."""
    chance = random.Random(seed)
    with subject.running("", subprocess.DEVNULL) as one:
        before = _counted(one)
        answered = sum(_send(one, [_request(chance) for _ in range(AT_ONCE)]) for _ in range(requests // AT_ONCE))
        text = one.metrics()
        counted = _counted(one) - before
    series = sum(1 for line in text.splitlines() if line and not line.startswith("#"))
    overflow = _OVERFLOW.search(text)
    over = float(overflow[1]) if overflow else 0.0
    case = f"{requests} random requests"
    yield Figure(5, case, "series of the process", series, f"≤ {MAX_SERIES}", series <= MAX_SERIES)
    yield Figure(
        5, case, "requests counted - answered", counted - answered, "0", counted == answered, f"{answered} answered"
    )
    yield Figure(5, case, "requests counted as overflow", over, "> 0", over > 0)


def _counted(one: Subject) -> int:
    one.settled("logs", within_s=10)
    return int(sum(float(value) for value in _REQUESTS.findall(one.metrics())))


def _request(chance: random.Random) -> bytes:
    """A request as nobody foresaw it: its path, method, host and headers."""

    def word(most: int = 12) -> str:
        return "".join(chance.choices(string.ascii_letters + string.digits, k=chance.randint(1, most)))

    method = chance.choice(METHODS + STRANGE)
    path = chance.choice(
        [
            f"/{word()}/{word()}",
            f"/things/{word()}",
            f"/status/{chance.randint(200, 599)}",
            f"/things/{word()}?{word()}={word()}",
        ]
    )
    headers = f"host: {word()}.example\r\nuser-agent: {word()}\r\nx-{word()}: {word()}\r\ntraceparent: {word(55)}"
    return f"{method} {path} HTTP/1.1\r\n{headers}\r\ncontent-length: 0\r\n\r\n".encode()


def _send(one: Subject, requests: list[bytes]) -> int:
    """Send them down one connection; how many were answered."""
    with socket.create_connection(("127.0.0.1", one.port), timeout=60) as connection:
        last = b"GET /metrics-are-elsewhere HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"
        connection.sendall(b"".join(requests) + last)
        answers = bytearray()
        while chunk := connection.recv(1 << 16):
            answers += chunk
    return len(_ANSWER.findall(bytes(answers)))
