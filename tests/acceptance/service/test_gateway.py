"""The gateway alone: the stack's own Caddyfile before two replicas that a test can make slow, cut off or count."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from service.errors import Problem
from tests.acceptance.backends import eventually
from tests.acceptance.service.conftest import free_port
from tests.conftest import ROOT, Stack

pytestmark = pytest.mark.native_only(reason="puts the machine's own Caddy before replicas of the test's own")

STATIC = ROOT / "deploy" / "gateway" / "static"
PROBLEM = "application/problem+json"


class Replica(socketserver.ThreadingTCPServer):
    """Answers with its name, once or, for ``/v1/large``, many times; and as a replica does, with the request's name.

    ``cutting``: hangs up on what it has read instead. ``seen`` counts what it has read.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.name = name
        self.cutting = self.gone = False
        self.release = threading.Event()
        self.seen: Counter[str] = Counter()
        self.heads: list[dict[str, str]] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def leave(self) -> None:
        """Listen no more, and hang up on whoever is connected as soon as he asks."""
        self.gone = True
        self.release.set()
        self.shutdown()
        self.server_close()


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Replica

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.server.gone:
            self.close_connection = True
            return
        if self.path != "/readyz":
            self.server.seen[body.decode() or self.path] += 1
            self.server.heads.append({name.lower(): value for name, value in self.headers.items()})
            if self.server.cutting:
                self.close_connection = True
                return
            if self.path == "/v1/slow":
                self.server.release.wait(10)
        told = self.server.name.encode() * (1000 if self.path == "/v1/large" else 1)
        self.send_response(200)
        self.send_header("content-length", str(len(told)))
        self.send_header("content-type", "application/json")
        self.send_header("etag", '"3"')
        self.send_header("x-request-id", self.headers.get("x-request-id", "none"))
        self.end_headers()
        self.wfile.write(told)

    do_GET = do_POST = do_PATCH = handle_one

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def replicas() -> Iterator[list[Replica]]:
    both = [Replica("one"), Replica("two")]
    yield both
    for replica in both:
        replica.leave()


def listed(replicas: list[Replica]) -> str:
    return " ".join(f"127.0.0.1:{replica.server_address[1]}" for replica in replicas)


@pytest.fixture
def gateway(stack: Stack, replicas: list[Replica], tmp_path: Path) -> Iterator[httpx.Client]:
    caddy = psutil.Process(stack.component("gateway")["pid"]).cmdline()[0]
    port = free_port()
    environment = {
        **os.environ,
        "SIGNALBOX_PORT_GATEWAY": str(port),
        "SIGNALBOX_PORT_GATEWAY_METRICS": str(free_port()),
        "SIGNALBOX_API_UPSTREAMS": "" if "SIGNALBOX_API_DISCOVERY" in os.environ else listed(replicas),
        "SIGNALBOX_STATIC": str(STATIC),
        "OTEL_TRACES_EXPORTER": "none",
        "XDG_DATA_HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    command = [caddy, "run", "--config", str(ROOT / "deploy/gateway/Caddyfile"), "--adapter", "caddyfile"]
    with (
        (tmp_path / "caddy.log").open("wb") as log,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=15) as client,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            eventually(lambda: client.get("/healthz").status_code == 200, "the gateway", within_s=20)
            eventually(lambda: client.get("/v1/ready").status_code == 200, "a replica behind it", within_s=20)
            yield client
        finally:
            process.terminate()


def test_work_goes_to_the_replica_that_has_least(gateway: httpx.Client, replicas: list[Replica]) -> None:
    with ThreadPoolExecutor(1) as hand:
        slow = hand.submit(gateway.get, "/v1/slow")
        busy = eventually(lambda: next((one for one in replicas if one.seen["/v1/slow"]), None), "the slow request")
        served = {gateway.get("/v1/quick").text for _ in range(10)}
        busy.release.set()
        assert slow.result().text == busy.name
    assert served == {"one", "two"} - {busy.name}


def test_only_what_changes_nothing_is_asked_twice_and_a_broken_replica_is_left_out(
    gateway: httpx.Client, replicas: list[Replica]
) -> None:
    broken, whole = replicas
    broken.cutting = True
    posted = [gateway.post("/v1/orders", content=f"order {number}") for number in range(20)]
    delivered = broken.seen + whole.seen
    assert [delivered[f"order {number}"] for number in range(20)] == [1] * 20, "a POST was delivered twice, or not"
    lost = [answer for answer in posted if answer.status_code == 502]
    assert len(lost) == sum(count for what, count in broken.seen.items() if what.startswith("order")) > 0
    assert {answer.headers["content-type"] for answer in lost} == {PROBLEM}
    assert len(lost) > 3, "a body may have been broken by its sender: it is no proof against a replica"
    read = [gateway.get(f"/v1/read/{number}") for number in range(40)]
    assert {answer.status_code for answer in read} == {200}
    tried = [what for what in broken.seen if what.startswith("/v1/read")]
    assert 1 <= len(tried) <= 6, "three failures within two seconds, and it is out"


def test_a_line_says_who_answered_and_at_which_try(
    gateway: httpx.Client, replicas: list[Replica], tmp_path: Path
) -> None:
    broken, _ = replicas
    broken.cutting = True
    posted = [gateway.post("/v1/orders", content=f"order {number}") for number in range(20)]
    read = [gateway.get(f"/v1/read/{number}") for number in range(40)]
    lines = lines_of(tmp_path / "caddy.log", posted + read)
    at = {replica.name: f"127.0.0.1:{replica.server_address[1]}" for replica in replicas}
    lost = [line for answer, line in zip(posted, lines[:20], strict=True) if answer.status_code == 502]
    assert {(line["upstream"], line["retries"]) for line in lost} == {(at["one"], 0)}
    saved = [line["retries"] for line in lines[20:] if line["retries"]]
    assert 1 <= sum(saved) <= sum(count for what, count in broken.seen.items() if what.startswith("/v1/read"))
    assert {(line["upstream"], line["status"]) for line in lines[20:]} == {(at["two"], 200)}


def lines_of(log: Path, answers: list[httpx.Response]) -> list[dict[str, Any]]:
    """The gateway's lines of these answers, in their order."""
    names = [answer.headers["x-request-id"] for answer in answers]

    def all_of_them() -> list[dict[str, Any]] | None:
        read = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
        by_name = {line["request_id"]: line for line in read if "request_id" in line}
        return [by_name[name] for name in names] if by_name.keys() >= {*names} else None

    return eventually(all_of_them, "the lines of all answers")


def test_a_broken_replica_that_was_found_by_name_is_left_out_as_well(
    request: pytest.FixtureRequest, replicas: list[Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in Kubernetes, where nobody but the kubelet asks for health: what Caddy has lost it remembers all the same."""
    found = "\n".join(
        f"a localhost {replica.server_address[1]} {{\nversions ipv4\nrefresh 1s\n}}" for replica in replicas
    )
    monkeypatch.setenv("SIGNALBOX_API_DISCOVERY", f"dynamic multi {{\n{found}\n}}")
    gateway: httpx.Client = request.getfixturevalue("gateway")
    broken, _ = replicas
    broken.cutting = True
    read = [gateway.get(f"/v1/read/{number}") for number in range(40)]
    assert {answer.status_code for answer in read} == {200}
    tried = [what for what in broken.seen if what.startswith("/v1/read")]
    assert 1 <= len(tried) <= 6, "three failures within two seconds, and it is out"


def test_a_request_has_one_name_and_the_caller_does_not_choose_it(
    gateway: httpx.Client, replicas: list[Replica]
) -> None:
    mine = {"x-request-id": "mine", "traceparent": f"00-{'1' * 32}-{'2' * 16}-01", "x-forwarded-for": "198.51.100.7"}
    mine["x-request-timeout-ms"] = "1"
    answer = gateway.get("/v1/named", headers=mine)
    [seen] = [
        head for one in replicas for head in one.heads if head.get("x-request-id") == answer.headers["x-request-id"]
    ]
    assert answer.headers.get_list("x-request-id") == [seen["x-request-id"]] != ["mine"]
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert "1" * 32 not in seen.get("traceparent", "")
    assert "x-request-timeout-ms" not in seen, "his deadline would be our failure"


def test_behind_a_cdn_that_is_trusted_a_client_has_the_address_that_the_cdn_says(
    request: pytest.FixtureRequest, replicas: list[Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not the one that he put before it himself."""
    monkeypatch.setenv("SIGNALBOX_GATEWAY_TRUSTED_PROXIES", "127.0.0.0/8 10.0.0.0/8")
    gateway: httpx.Client = request.getfixturevalue("gateway")
    for said in ("198.51.100.7", "203.0.113.9, 198.51.100.7", "198.51.100.7, 10.1.2.3"):
        answer = gateway.get("/v1/named", headers={"x-forwarded-for": said})
        [seen] = [
            head for one in replicas for head in one.heads if head.get("x-request-id") == answer.headers["x-request-id"]
        ]
        assert seen["x-forwarded-for"] == "198.51.100.7", said


HIDDEN = (
    *("/metrics", "/METRICS", "//metrics", "/%6detrics", "/v1/../metrics", "/v1/%2e%2e/metrics", "/static/../metrics"),
    *("/internal/faults", "/livez", "/readyz", "/startupz", "/config/", "/static/../Caddyfile", "/v3/x", "/"),
)


def test_what_is_not_public_is_not_there(gateway: httpx.Client, replicas: list[Replica]) -> None:
    """Promise 11. Sent as it is: httpx would tidy the dots up."""
    for path in HIDDEN:
        with socket.create_connection((gateway.base_url.host, gateway.base_url.port or 80), timeout=10) as raw:
            raw.sendall(f"GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda raw=raw: raw.recv(65536), b""))
        assert answer.partition(b"\r\n")[0].split()[1] in (b"404", b"308", b"400"), (path, answer)
    assert not [seen for one in replicas for seen in one.seen if not seen.startswith("/v1/")]


def test_what_is_too_large_is_refused(gateway: httpx.Client) -> None:
    answer = gateway.post("/v1/orders", content=b"x" * 70_000)
    assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)
    assert gateway.get("/v1/x", headers={"x-long": "x" * 10_000}).status_code == 200
    assert gateway.get("/v1/x", headers={"x-long": "x" * 64_000}).status_code == 431


PROBLEMS = [
    ("GET", "/v3/nothing", b"", 404, "not-found"),
    ("GET", "/v3/no%22thing", b"", 404, "not-found"),
    ("GET", "/static/nothing.css", b"", 404, "not-found"),
    ("POST", "/static/index.html", b"", 405, "method-not-allowed"),
    ("POST", "/v1/orders", iter([b"in chunks"]), 411, "length-required"),
    ("POST", "/v1/orders", b"x" * 70_000, 413, "request-entity-too-large"),
    ("POST", "/v1/lost", b"lost", 502, "bad-gateway"),
    ("GET", "/v1/away", b"", 503, "unavailable"),
]


def test_what_the_gateway_says_itself_it_says_as_the_api_does(gateway: httpx.Client, replicas: list[Replica]) -> None:
    for method, path, body, status, kind in PROBLEMS:
        for replica in replicas:
            replica.cutting = path == "/v1/lost"
            if path == "/v1/away":
                replica.leave()
        if path == "/v1/away":
            eventually(lambda: gateway.get("/v1/gone").status_code == 503, "that nobody is there")
        answer = gateway.request(method, path, content=body)
        assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), (path, answer.text)
        problem = answer.json()
        assert problem.keys() == Problem.model_fields.keys() - {"errors"}
        assert problem["type"] == f"urn:signalbox:problem:{kind}"
        assert (problem["status"], problem["title"]) == (status, answer.reason_phrase)
        assert problem["request_id"] == answer.headers["x-request-id"]
        assert problem["trace_id"] == answer.headers["x-trace-id"] != "0" * 32
        assert len(problem["trace_id"]) == 32
        assert problem["instance"] == (path if "%" not in path else f"urn:uuid:{problem['request_id']}")
        assert answer.headers["cache-control"] == "no-store"
        assert (answer.headers.get("retry-after") == "1") is (status == 503)


def test_the_service_knows_its_tags_again_whatever_was_compressed_on_the_way(
    gateway: httpx.Client, replicas: list[Replica]
) -> None:
    """The gateway marks what it has compressed; a change that names such a mark must not be refused for it."""
    tags = [
        gateway.get("/v1/large", headers={"accept-encoding": encoding}).headers["etag"]
        for encoding in ("gzip", "zstd", "identity")
    ]
    assert tags == ['"3-gzip"', '"3-zstd"', '"3"'], "the gateway does not mark what it compresses any more"
    told = {"if-match": ", ".join(tags), "if-none-match": ", ".join(f"W/{tag}" for tag in tags)}
    gateway.patch("/v1/users/7", headers=told, content=b"a change")
    [seen] = [head for one in replicas for head in one.heads if "if-match" in head]
    assert (seen["if-match"], seen["if-none-match"]) == ('"3", "3", "3"', 'W/"3", W/"3", W/"3"')


def test_static_files_are_named_by_their_content_and_kept_for_ever(gateway: httpx.Client) -> None:
    page = gateway.get("/static/")
    assert page.headers["cache-control"] == "no-cache"
    assert gateway.get("/static/", headers={"if-none-match": page.headers["etag"]}).status_code == 304
    assets = sorted((STATIC / "assets").iterdir())
    assert assets
    for path in assets:
        name, digest, kind = path.name.split(".")
        right = sha256(path.read_bytes()).hexdigest()[:12]
        assert digest == right, f"{path.name} has changed: rename it to {name}.{right}.{kind}, in index.html too"
        assert f"/static/assets/{path.name}" in page.text
        answer = gateway.get(f"/static/assets/{path.name}", headers={"accept-encoding": "gzip"})
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert ("content-encoding" in answer.headers) is (path.stat().st_size > 512), path.name
        assert answer.content == path.read_bytes()
