"""What `make annotate` tells Grafana, and that a deploy goes on when Grafana hears nothing of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.conftest import missing_backend
from tests.contract.api_server import answering
from tests.contract.pipeline_steps import set_up
from tests.contract.test_dashboards import DASHBOARDS

TEXT = 'canary begins: "so it is", $HOME `id` and ${PATH} can\'t \\n 100 %'


class Grafana(ThreadingHTTPServer):
    """Takes annotations, and keeps what it was sent. Answers with `status`."""

    def __init__(self, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = status
        self.taken: list[tuple[str, str, Any]] = []  # path, authorization, document

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Grafana

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.taken.append((self.path, self.headers["authorization"], json.loads(body)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def grafana(status: int = 200) -> Iterator[Grafana]:
    if shutil.which("curl") is None:
        missing_backend("curl is not on PATH: nobody can write an annotation")
    with Grafana(status) as server, answering(server):
        yield server


def annotate(**variables: str) -> str:
    """What the step prints; it ends well whatever happens."""
    with set_up() as bench:
        done = bench.make("annotate", VERSION="1.4.0", REVISION="0c5d", **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_dashboard_asks_for_the_tags_that_the_pipeline_gives() -> None:
    with grafana() as server:
        said = annotate(TEXT="promoted", GRAFANA_URL=server.url, GRAFANA_TOKEN="secret")
    [(path, authorization, note)] = server.taken
    assert (path, authorization, said) == ("/api/annotations", "Bearer secret", "")
    assert note["text"] == "signalbox 1.4.0 (0c5d): promoted"
    assert set(note) == {"tags", "text"}, "with the id of a dashboard it would show on that one alone"
    for name, dashboard in DASHBOARDS.items():
        targets = [one["target"] for one in dashboard["annotations"]["list"] if one["datasource"]["type"] == "grafana"]
        assert [target["type"] for target in targets] == ["tags"], name
        assert set(targets[0]["tags"]) <= set(note["tags"]), name


def test_a_text_arrives_as_it_was_written_and_is_never_a_command() -> None:
    with grafana() as server:
        annotate(TEXT=TEXT.replace("$", "$$"), GRAFANA_URL=server.url, GRAFANA_TOKEN="secret")
    [(_, _, note)] = server.taken
    assert note["text"] == f"signalbox 1.4.0 (0c5d): {TEXT}"


@pytest.mark.parametrize("given", [{}, {"GRAFANA_URL": "http://127.0.0.1:1"}, {"GRAFANA_TOKEN": "secret"}])
def test_without_grafana_or_its_token_the_step_says_so_and_goes_on(given: dict[str, str]) -> None:
    assert "Not noted on the dashboards: GRAFANA_URL or GRAFANA_TOKEN is not given" in annotate(TEXT="x", **given)


def test_a_grafana_that_is_down_or_refuses_stops_nothing() -> None:
    with grafana(status=403) as server:
        assert "Grafana did not take it" in annotate(TEXT="x", GRAFANA_URL=server.url, GRAFANA_TOKEN="wrong")
    assert len(server.taken) == 1
    assert "Grafana did not take it" in annotate(TEXT="x", GRAFANA_URL=server.url, GRAFANA_TOKEN="wrong")
