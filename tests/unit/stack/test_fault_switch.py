"""Faults switched over HTTP while a process that has some stands still."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stack import faults
from stack.errors import WrongUse
from stack.faults import Process, clear_faults, list_faults, set_fault

PATIENCE_S = 5


class Part(ThreadingHTTPServer):
    """A process with one fault, which answers while `goes_on` is set."""

    def __init__(self, fault: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.fault = fault
        self.active = self.refuses = False
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.lets_go_on: list[Part] = []


class Handler(BaseHTTPRequestHandler):
    server: Part

    def do_GET(self) -> None:
        if not self.server.goes_on.wait(PATIENCE_S):
            return
        told = {"name": self.server.fault, "active": self.server.active, "parameters": {}, "description": ""}
        body = json.dumps({"detail": "not now"} if self.server.refuses else {"faults": [told]}).encode()
        self.send_response(409 if self.server.refuses else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.active = True
        self.do_GET()

    def do_DELETE(self) -> None:
        if self.server.goes_on.is_set():
            self.server.active = False
            for other in self.server.lets_go_on:
                other.goes_on.set()
        self.do_GET()

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Part, Part]]:
    """Payments, which stands still, and `faults`, which has stopped it."""
    monkeypatch.setattr(faults, "TIMEOUT_S", 0.3)
    payments, outside = Part("charge-errors"), Part("stop-process")
    payments.goes_on.clear()
    payments.active = outside.active = True
    outside.lets_go_on.append(payments)
    for part in (payments, outside):
        threading.Thread(target=part.serve_forever, daemon=True).start()
    yield payments, outside
    payments.goes_on.set()
    for part in (payments, outside):
        part.shutdown()
        part.server_close()


def processes(parts: tuple[Part, Part]) -> list[Process]:
    return [
        Process(name, name, f"http://127.0.0.1:{part.server_address[1]}")
        for name, part in zip(("payments", "faults"), parts, strict=True)
    ]


def test_all_faults_end_and_what_was_stopped_goes_on(parts: tuple[Part, Part]) -> None:
    answers = clear_faults(processes(parts))
    assert not answers.problems
    assert {fault["component"]: fault["active"] for fault in answers.faults} == {"payments": False, "faults": False}
    assert not any(part.active for part in parts)


def test_one_fault_ends_though_another_process_stands_still(parts: tuple[Part, Part]) -> None:
    answers = clear_faults(processes(parts), "stop-process")
    assert not answers.problems, "it goes on again"
    assert [(fault["component"], fault["active"]) for fault in answers.faults] == [("faults", False)]


def test_who_stands_still_is_named_and_the_others_are_listed(parts: tuple[Part, Part]) -> None:
    answers = list_faults(processes(parts))
    assert [fault["component"] for fault in answers.faults] == ["faults"]
    assert [str(problem) for problem in answers.problems.values()] == [
        "payments does not answer: timed out. See `signalbox status`."
    ]


def test_a_fault_that_only_the_silent_one_may_know_is_no_wrong_use(parts: tuple[Part, Part]) -> None:
    answers = set_fault(processes(parts), "charge-errors", {})
    assert not answers.faults
    assert [process.name for process in answers.problems] == ["payments"]
    parts[0].goes_on.set()
    with pytest.raises(WrongUse, match=r"called 'no-such'. There are charge-errors, stop-process"):
        set_fault(processes(parts), "no-such", {})


def test_who_refuses_keeps_nobody_else_from_it(parts: tuple[Part, Part]) -> None:
    payments, outside = parts
    payments.goes_on.set()
    payments.refuses = True
    answers = clear_faults(processes(parts))
    assert [str(problem) for problem in answers.problems.values()] == ["payments refuses: not now."]
    assert not outside.active
