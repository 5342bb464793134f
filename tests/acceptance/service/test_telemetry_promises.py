"""Promises 6, 9, 10 and 15 against the running stack: what gets in, what gets out, and that all of it is found."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import string
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bench.promises.contexts import hostile_headers
from service.telemetry.redact import is_card_number
from tests.acceptance.backends import Backends, eventually
from tests.acceptance.service.conftest import Addresses, free_port
from tests.conftest import ROOT, Stack

pytestmark = pytest.mark.timeout(240)
SECRETS = 1_000
HOSTILE = 2_000  # bench.promises sends the rest of the ten thousand to a process of its own
CHANCE = random.Random(9)


def a_word(length: int = 10) -> str:
    return "".join(CHANCE.choices(string.ascii_lowercase, k=length)).capitalize()


def a_card() -> str:
    while not is_card_number(number := "4" + "".join(CHANCE.choices(string.digits, k=15))):
        pass
    return number


MAKE = {
    "name": lambda: f"{a_word()} {a_word()}",
    "token": lambda: "tok_" + "".join(CHANCE.choices(string.ascii_letters + string.digits, k=32)),
    "card": a_card,
    "e-mail": lambda: f"{a_word()}@{a_word()}.example".lower(),
}


READS_FILES = pytest.mark.native_only(reason="reads and writes the log files of the native stack")


class Written:
    """What the processes of the stack have written to stdout since it was made."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._sizes = {path: path.stat().st_size for path in logs.glob("*.log")}

    def text(self, *names: str) -> str:
        """Of all logs, or of those so called."""
        found = []
        for path in self._logs.glob("*.log"):
            if names and path.stem not in names:
                continue
            with path.open("rb") as log:
                log.seek(self._sizes.get(path, 0))
                found.append(log.read().decode(errors="replace"))
        return "".join(found)


@pytest.fixture
def written(stack: Stack) -> Written:
    return Written(stack.state_dir / "logs")


@pytest.fixture
def leaky(stack: Stack, addresses: Addresses) -> Iterator[httpx.Client]:
    """The careless application, its stdout among the logs that the collector reads."""
    port = free_port()
    offset = stack.port_offset
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "tests.acceptance.service.leaky:build_app",
        "--factory",
        "--port",
        str(port),
    ]
    environment = {
        **os.environ,
        "LEAKY_DATABASE": addresses.database,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{4318 + offset}",
    }
    log = stack.state_dir / "logs" / "leaky.log"
    with (
        log.open("ab") as output,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, headers={"connection": "close"}) as client,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output) as process,
    ):
        try:
            eventually(lambda: client.get("/metrics").status_code == 200, "the careless application", within_s=60)
            yield client
        finally:
            process.terminate()
            process.wait(15)


def plant(user: httpx.Client, api: httpx.Client, leaky: httpx.Client, secret: str, number: int) -> httpx.Response:
    """One secret in one place."""
    body = {"secret": secret}
    header = secret.encode()
    places = [
        lambda: user.get("/v1/products/7", params={"token": secret, "q": secret}),
        lambda: user.get(f"/v1/users/{secret}"),
        lambda: user.get("/v1/products/7", headers={"authorization": b"Bearer " + header, "cookie": b"s=" + header}),
        lambda: user.get("/v1/products/7", headers={"user-agent": header, "referer": header, "x-who": header}),
        lambda: user.get("/v1/products/7", headers={"baggage": b"who=" + header, "tracestate": b"a=" + header}),
        lambda: api.get("/v1/products/7", headers={"baggage": b"who=" + header, "tracestate": b"a=" + header}),
        lambda: user.post("/v1/orders", json={"user_id": secret, "items": [{"product_id": secret, "quantity": 1}]}),
        lambda: user.request("POST", "/v1/orders", content=header, headers={"idempotency-key": header}),
        *(lambda way=way: leaky.post(f"/raise/{way}", json=body) for way in ("f-string", "percent", "class", "key")),
        *(lambda way=way: leaky.post(f"/raise/{way}", json=body) for way in ("c", "cause", "group")),
        lambda: leaky.post("/later/f-string", json=body),
        lambda: leaky.post("/log", json=body),
        lambda: leaky.post("/span", json=body),
        lambda: leaky.post("/sql", json=body),
    ]
    return places[number % len(places)]()


@READS_FILES
def test_a_thousand_planted_secrets_are_nowhere(
    stack: Stack, backends: Backends, user: httpx.Client, leaky: httpx.Client, written: Written
) -> None:
    kinds = list(MAKE.values())
    secrets = [kinds[number % len(kinds)]() for number in range(SECRETS)]
    started = time.time()
    with httpx.Client(base_url=stack.urls["api-1"], timeout=15) as api:
        traces = [plant(user, api, leaky, secret, n).headers.get("x-trace-id") for n, secret in enumerate(secrets)]
    # What came last has arrived everywhere; nothing that was sent before is on its way any more.
    last = leaky.post("/log", json={"secret": "nothing"}).headers["x-trace-id"]
    eventually(lambda: backends.trace(last), "the last trace in Jaeger")
    eventually(lambda: backends.logs(f'{{service_name="leaky"}} | trace_id="{last}"'), "the last lines in Loki")

    told = {"stdout": written.text()}
    told["Loki"] = json.dumps(loki_since(backends, started))
    told["Jaeger"] = json.dumps([backends.trace(trace_id) for trace_id in traces if trace_id], ensure_ascii=False)
    window = {"match[]": '{__name__=~".+"}', "start": started - 60, "end": time.time()}
    told["Prometheus"] = backends.http.get(f"{backends.urls['prometheus']}/api/v1/series", params=window).text
    for place in ("stdout", "Loki", "Jaeger"):
        assert len(told[place]) > 100_000, f"{place} was hardly asked"
    assert "no account for [redacted]" in told["Loki"], "what the code says of its failures is still there"
    found = {place: [secret for secret in secrets if secret in text] for place, text in told.items()}
    print({place: f"{len(found[place])} of {SECRETS} in {len(text) >> 10} KiB" for place, text in told.items()})  # noqa: T201
    assert not any(found.values()), {place: leaked[:5] for place, leaked in found.items()}


def loki_since(backends: Backends, since: float) -> list[object]:
    """Every line of every service since then, with its labels and structured metadata."""
    found: list[object] = []
    end = int((time.time() + 1) * 1e9)
    while True:
        query = {"query": '{service_name=~".+"}', "start": str(int(since * 1e9)), "end": str(end), "limit": "4000"}
        answer = backends.http.get(f"{backends.urls['loki']}/loki/api/v1/query_range", params=query).json()
        streams = answer["data"]["result"]
        found += streams
        times = [int(at) for stream in streams for at, *_ in stream["values"]]
        if len(times) < 4000:
            return found
        end = min(times)


def test_hostile_contexts_break_nothing_and_force_no_sample(stack: Stack, backends: Backends) -> None:
    statuses: dict[int, int] = {}
    adopted, kept_ids, chosen = [], [], set()
    for name in ("gateway", "api-1"):  # from outside, and as it would be without a gateway
        url = httpx.URL(stack.urls[name])
        for _ in range(HOSTILE // 2 // 50):
            headers = [hostile_headers(CHANCE) for _ in range(50)]
            sent = b"".join(headers).decode()
            answers = converse(url.host, url.port or 80, headers)
            for status, _ in answers:
                statuses[status] = statuses.get(status, 0) + 1
            if name == "gateway":
                chosen.update(re.findall(r"\b[0-9a-f]{32}\b", sent))
                kept_ids += [trace_id for _, trace_id in answers if trace_id]
                adopted += [trace_id for _, trace_id in answers if trace_id and trace_id in sent]
    print({"answers": statuses, "trace ids of strangers adopted": len(adopted)})  # noqa: T201
    assert sum(statuses.values()) == HOSTILE
    assert not [status for status in statuses if status >= 500]
    assert statuses[200] > HOSTILE * 0.8
    assert not adopted, "a stranger's trace id decides whether a trace is kept"
    for trace_id in CHANCE.sample(sorted(chosen), 20):
        assert backends.trace(trace_id) is None
    eventually(lambda: backends.trace(kept_ids[-1]), "the trace that the gateway began instead")


def converse(host: str, port: int, headers: list[bytes]) -> list[tuple[int, str]]:
    """Status and trace id of each request, sent down one connection."""
    ask = b"GET /v1/products/7 HTTP/1.1\r\nhost: test\r\n"
    requests = b"".join(ask + extra + b"\r\n" for extra in headers[:-1])
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.sendall(requests + ask + headers[-1] + b"connection: close\r\n\r\n")
        answers = bytearray()
        while chunk := connection.recv(1 << 16):
            answers += chunk
    heads = re.findall(rb"HTTP/1\.1 (\d{3}) [^\r]*\r\n((?:[^\r\n]+\r\n)*)", bytes(answers))
    ids = [re.search(rb"x-trace-id: ([0-9a-f]{32})", head, re.IGNORECASE) for _, head in heads]
    return [(int(status), found[1].decode() if found else "") for (status, _), found in zip(heads, ids, strict=True)]


@READS_FILES
def test_every_request_line_carries_a_trace_that_is_found_with_its_lines(
    backends: Backends, user: httpx.Client, written: Written
) -> None:
    for number in range(40):
        user.get(f"/v1/products/{number + 1}")
        user.get("/v1/products", params={"limit": 3})
        user.get("/nowhere")
        user.post("/v1/orders", json={"user_id": 5, "items": [{"product_id": 900 + number, "quantity": 1}]})
    time.sleep(0.5)
    text = written.text("api-1", "api-2", "payments", "gateway", "worker")
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    requests = [
        line for line in lines if line.get("logger") == "http.server" or "http.log.access" in line.get("logger", "")
    ]
    traced = [line.get("trace_id") or line.get("traceID") for line in requests]
    ids = {trace_id for trace_id in traced if trace_id}
    print({"request lines": len(requests), "with a trace id": sum(map(bool, traced)), "traces": len(ids)})  # noqa: T201
    assert len(requests) > 300
    assert all(traced), [line for line, trace_id in zip(requests, traced, strict=True) if not trace_id][:3]

    missing = set(ids)

    def all_in_jaeger() -> bool:
        missing.difference_update([trace_id for trace_id in missing if backends.trace(trace_id)])
        return not missing

    eventually(all_in_jaeger, "every trace in Jaeger", within_s=30)
    sample = sorted(ids)[::10]
    for trace_id in sample:
        query = f'{{service_namespace="signalbox"}} | trace_id="{trace_id}"'
        eventually(lambda query=query: backends.logs(query), f"lines of {trace_id}")


def test_spans_that_were_accepted_survive_a_stalled_backend_and_a_killed_collector(
    stack: Stack, backends: Backends, user: httpx.Client
) -> None:
    """Promise 6, as far as the collector's queue on disk gives it: from its keep decision on."""
    jaeger, collector = stack.component("jaeger"), stack.component("collector")
    os.kill(jaeger["pid"], signal.SIGSTOP)
    try:
        traces = [user.get(f"/v1/products/{number + 1}").headers["x-trace-id"] for number in range(30)]
        time.sleep(4)  # the collector's keep decision and batch, and the service's own half second
        os.kill(collector["pid"], signal.SIGKILL)
        eventually(
            lambda: stack.component("collector")["pid"] not in (None, collector["pid"]), "a new collector", within_s=60
        )
    finally:
        os.kill(jaeger["pid"], signal.SIGCONT)
    missing = set(traces)

    def all_there() -> bool:
        missing.difference_update([trace_id for trace_id in missing if backends.trace(trace_id)])
        return not missing

    eventually(all_there, "every accepted trace in Jaeger", within_s=60)
