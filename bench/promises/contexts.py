"""Promise 10: what strangers write into ``traceparent``, ``tracestate`` and ``baggage`` breaks and decides nothing.

Whether a trace is kept is the collector's decision, on spans that are all delivered, so a caller can force a sample in
one way only: by making the process send more, or something else, than for anybody. That is what is counted here.
"""

from __future__ import annotations

import random
import re
import socket
import string
import subprocess
from collections import Counter
from collections.abc import Iterator

from bench.promises import subject
from bench.promises.figures import Figure

AT_ONCE = 50
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


def hostile_headers(chance: random.Random) -> bytes:
    """The three headers as nobody should send them, one of them twice now and then."""
    trace_id, span_id = (f"{chance.getrandbits(4 * digits):0{digits}x}" for digits in (32, 16))
    noise = "".join(chance.choices(string.printable[:94], k=chance.randint(0, 300)))
    parents = [
        f"00-{trace_id}-{span_id}-01",
        f"00-{trace_id}-{span_id}-ff",
        f"ff-{trace_id}-{span_id}-01",
        f"00-{'0' * 32}-{span_id}-01",
        f"00-{trace_id}-{'0' * 16}-01",
        f"00-{trace_id.upper()}-{span_id}-01",
        f"00-{trace_id}-{span_id}-01-{noise}",
        noise,
    ]
    states = [f"ot=th:0;rv:{'f' * 14}", noise, ",".join(f"k{n}=v" for n in range(100)), "a=b=c,,;"]
    bags = [f"signalbox.exemplar=true,sampled=1,{noise}", ";".join("k=v" for _ in range(200)), noise, "=%ZZ;=,"]
    lines = [
        ("traceparent", chance.choice(parents)),
        ("tracestate", chance.choice(states)),
        ("baggage", chance.choice(bags)),
    ]
    if chance.random() < 0.1:
        lines.append(("traceparent", chance.choice(parents)))
    return "".join(f"{name}: {value}\r\n" for name, value in lines).encode()


def measure(requests: int, seed: int = 10) -> Iterator[Figure]:
    """So many hostile requests to one process: figures of promise 10."""
    chance = random.Random(seed)
    with subject.running("", subprocess.DEVNULL) as one:
        before = one.settled("spans")["produced"]
        statuses: Counter[int] = Counter()
        for _ in range(requests // AT_ONCE):
            statuses += _send(one, [hostile_headers(chance) for _ in range(AT_ONCE)])
        one.settled("logs")
        made = one.settled("spans")["produced"] - before
    case = f"{requests} hostile contexts"
    answered = sum(statuses.values())
    failed = sum(count for status, count in statuses.items() if status >= 500)
    told = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
    yield Figure(10, case, "answers of 500 or above", failed, "0", failed == 0 and answered == requests, told)
    forced = made - statuses[200]
    yield Figure(10, case, "spans beyond one a request", forced, "0", forced == 0, f"{made} spans")


def _send(one: subject.Subject, contexts: list[bytes]) -> Counter[int]:
    """Send them down one connection, all at once; the answers by status."""
    ask = b"GET /things/1 HTTP/1.1\r\nhost: test\r\n"
    with socket.create_connection(("127.0.0.1", one.port), timeout=60) as connection:
        connection.sendall(b"".join(ask + extra + b"\r\n" for extra in contexts[:-1]))
        connection.sendall(ask + contexts[-1] + b"connection: close\r\n\r\n")
        answers = bytearray()
        while chunk := connection.recv(1 << 16):
            answers += chunk
    return Counter(int(status) for status in _STATUS.findall(bytes(answers)))
