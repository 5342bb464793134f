"""The state document is written whole and read with suspicion."""

import json
import threading

import pytest

from stack.state import ComponentState, StackState, read_state, write_state


def a_state(**changes) -> StackState:
    parts = [ComponentState("api-1", "ready", "0.1.0", "checkout", 42, "http://127.0.0.1:8101", "", 1.5)]
    basics = {"pid": 7, "created": 2.5, "started_at": "2026-01-01T00:00:00+00:00", "clock": 20.0, "replicas": 1}
    return StackState(**{**basics, "port_offset": 0, "components": parts, **changes})


def test_what_was_written_is_read_again(tmp_path):
    path = tmp_path / "state.json"
    write_state(path, a_state(ready=True, urls={"gateway": "http://127.0.0.1:8080", "grafana": None}))
    assert read_state(path) == a_state(ready=True, urls={"gateway": "http://127.0.0.1:8080", "grafana": None})


def test_the_public_document_has_the_fields_that_were_promised_and_no_others():
    document = a_state(ready=True).document()
    assert document["ready"] is True
    assert set(document) == {"ready", "components"}
    assert list(document["components"][0]) == ["name", "state", "version", "source", "pid", "url", "detail"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 0}',
        '{"format": 1}',
        '{"format": 1, "components": [{"colour": "red"}]}',
        '{"format": 1, "components": 3}',
    ],
)
def test_a_damaged_or_older_document_counts_as_none(tmp_path, text):
    path = tmp_path / "state.json"
    path.write_text(text)
    assert read_state(path) is None


def test_no_document_counts_as_none(tmp_path):
    assert read_state(tmp_path / "state.json") is None


def test_a_reader_never_sees_half_a_document(tmp_path):
    path = tmp_path / "state.json"
    write_state(path, a_state())
    done = threading.Event()
    failures = []

    def read() -> None:
        while not done.is_set():
            try:
                json.loads(path.read_text())
            except ValueError as error:
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        write_state(path, a_state(wish=number, urls={f"part-{n}": "http://127.0.0.1" for n in range(number)}))
    done.set()
    reader.join()
    assert failures == []
