"""A span has one pair of ids, whoever asks for them first: its request, or the ticker for a child of it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from opentelemetry.trace import SpanKind

from service.telemetry import middleware, spans
from service.telemetry.middleware import ServerSpan
from service.telemetry.spans import Ids, RemoteParent, Span

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def nowhere(message: object) -> None:
    """Takes what an application sends."""


def a_request(*headers: tuple[bytes, bytes]) -> ServerSpan:
    return ServerSpan({"type": "http", "headers": list(headers)}, nowhere, lambda span: None)


def work(parent: RemoteParent | None = None) -> Span:
    return Span("work", SpanKind.INTERNAL, parent, lambda span: None)


@pytest.mark.parametrize(
    "make",
    [
        a_request,
        lambda: a_request((b"traceparent", PARENT)),
        lambda: a_request((b"x-request-id", b"mine")),
        work,
        lambda: work(RemoteParent(b"t" * 16, b"s" * 8)),
    ],
    ids=["request", "continued", "named", "root", "child"],
)
def test_two_threads_that_ask_at_once_are_told_the_same(
    make: Callable[[], Span], monkeypatch: pytest.MonkeyPatch
) -> None:
    span, drawing, others = make(), spans.draw, list[tuple[Ids, str]]()
    asked = threading.Event()

    def draw_slowly(bits: int) -> int:
        if not asked.is_set():  # in the middle of the first draw, another thread goes all the way
            asked.set()
            other = threading.Thread(target=lambda: others.append((span.ids(), span.request_id())))
            other.start()
            other.join(5)
        return drawing(bits)

    monkeypatch.setattr(spans, "draw", draw_slowly)
    monkeypatch.setattr(middleware, "draw", draw_slowly)
    mine = span.ids(), span.request_id()
    assert others == [mine]
    assert span.ids() == mine[0]
