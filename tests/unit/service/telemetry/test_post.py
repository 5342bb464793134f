"""One HTTP connection to a collector: whatever it answers is an answer or a failure, and the next post goes on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from service.telemetry.post import Poster, PostFailed

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n"
CLOSING = b"HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
GARBAGE = b"\x16\x03\x01 no HTTP at all\r\n\r\n"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + OK
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
CUT_OFF = b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\nhi"


class Server:
    """Answers each request with the next of ``answers`` and, after one that is no whole answer, hangs up."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1/traces"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                while self.answers:
                    received = b""
                    while not received.endswith(b"body"):
                        part = connection.recv(65536)
                        if not part:
                            break
                        received += part
                    if not received:
                        break
                    self.requests.append(received)
                    answer = self.answers.pop(0)
                    connection.sendall(answer)
                    if answer not in (OK, CHUNKED, CONTINUED):
                        break

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def poster(server: Server) -> Poster:
    return Poster(server.url, "application/x-protobuf", timeout_s=2)


def test_posts_share_a_connection_whatever_form_the_answer_has(server: Server) -> None:
    server.answers = [OK, CHUNKED, CONTINUED, OK]
    posts = poster(server)
    assert [posts.post(b"body") for _ in range(4)] == [(200, b"hi")] * 4
    assert server.connections == 1
    head = server.requests[0].split(b"\r\n")
    assert head[0] == b"POST /v1/traces HTTP/1.1"
    assert {b"content-type: application/x-protobuf", b"content-length: 4"} < set(head)
    posts.close()


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        pytest.param(CLOSING, (503, b""), id="it closes after its answer"),
        pytest.param(SWITCHED, (101, b""), id="it leaves HTTP"),
    ],
)
def test_a_server_that_ends_the_connection_gets_a_new_one(
    server: Server, answer: bytes, read: tuple[int, bytes]
) -> None:
    server.answers = [answer, OK]
    posts = poster(server)
    assert posts.post(b"body") == read
    assert posts.post(b"body") == (200, b"hi")
    assert server.connections == 2
    posts.close()


@pytest.mark.parametrize("answer", [GARBAGE, CUT_OFF, b""])
def test_what_is_no_whole_answer_is_a_failure_and_the_next_post_goes_on(server: Server, answer: bytes) -> None:
    server.answers = [OK, answer, OK]
    posts = poster(server)
    posts.post(b"body")
    with pytest.raises(PostFailed) as failed:
        posts.post(b"body")
    assert failed.value.reused
    assert posts.post(b"body") == (200, b"hi")
    posts.close()


def test_nobody_there_is_a_failure_of_a_fresh_connection(server: Server) -> None:
    server.close()
    with pytest.raises(PostFailed) as failed:
        poster(server).post(b"body")
    assert not failed.value.reused


@pytest.mark.parametrize("url", ["ftp://collector", "collector:4318", "http://"])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="no http or https URL"):
        Poster(url, "text/plain", 1)
