"""The proof by random requests must see what is wrong: a server error, a status or a body that is not described."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bench.fuzz.__main__ import document
from bench.fuzz.ask import fuzz
from bench.fuzz.targets import Target

pytestmark = pytest.mark.processes
COUNTED = {"type": "object", "required": ["count"], "properties": {"count": {"type": "integer"}}}


def description() -> dict[str, Any]:
    parameter = {"name": "size", "in": "query", "required": True, "schema": {"type": "integer", "minimum": 1}}
    answers = {
        "200": {"description": "good", "content": {"application/json": {"schema": COUNTED}}},
        "422": {"description": "bad", "content": {"application/json": {"schema": {}}}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "a shop", "version": "1"},
        "paths": {
            "/things": {"get": {"parameters": [parameter], "responses": answers}},
            "/all": {"get": {"responses": answers}},
        },
    }


@contextmanager
def serving(status: int, body: object) -> Iterator[str]:
    class Shop(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            described = self.path == "/openapi.json"
            said = json.dumps(description() if described else body).encode()
            self.send_response(200 if described else status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "server_errors", "all_wrong"),
    [
        (200, {"count": 1}, False, False),
        (200, {"count": "one"}, False, True),
        (500, {}, True, True),
        (404, {}, False, True),
    ],
    ids=["as described", "another body", "a server error", "another status"],
)
def test_only_answers_as_described_are_taken(status: int, body: object, server_errors: bool, all_wrong: bool) -> None:
    with serving(status, body) as url:
        found = fuzz(Target("shop", url, {"nobody": {}, "somebody": {"Authorization": "x"}}), cases=24, seed=1)
    asked = found.statuses.total()
    assert asked >= 24
    assert found.server_errors == (asked if server_errors else 0)
    assert len(found.failures) == (asked if all_wrong else 0), found.failures[:2]
    kept = document({"shop": found}, seed=1)
    assert kept["violations"] == len(found.failures)
    assert kept["cases"] == asked
