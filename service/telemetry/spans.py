"""Spans that cost almost nothing while a request runs, behind the OpenTelemetry API.

A span here is one object with two clock reads; ids are drawn when somebody asks for them or when it is sent, and
everything else (attributes of the route, metrics, log line, bytes) is made later by ``pipeline``. It lives in the
API's own context variable, so ``trace.get_current_span()`` and any third-party instrumentation see it.

Owns span objects, ids and the tracer provider. Knows nothing of routes, metrics or the wire.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.trace.propagation import _SPAN_KEY as SPAN_KEY  # the API has no public name for it
from opentelemetry.util._decorator import _agnosticcontextmanager  # what the API's own tracer uses
from opentelemetry.util.types import Attributes, AttributeValue

from service.telemetry.exceptions import exception_message, exception_stack
from service.telemetry.redact import redact_text, redact_value

# Limits of the OpenTelemetry specification (OTEL_SPAN_*_COUNT_LIMIT defaults).
MAX_ATTRIBUTES = 128
MAX_EVENTS = 128
MAX_LINKS = 128

now_ns = time.perf_counter_ns
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)

_random = random.SystemRandom()
_generator = random.Random(_random.getrandbits(128))
draw = _generator.getrandbits
Ids = tuple[bytes, bytes]
"""Trace id and span id, 16 and 8 bytes."""


class RemoteParent(NamedTuple):
    """The caller's span: ids of 16 and 8 bytes, not zero; W3C ``tracestate`` where there is one."""

    trace_id: bytes
    span_id: bytes
    state: TraceState | None = None

    def ids(self) -> Ids:
        """As ``Span.ids``."""
        return self.trace_id, self.span_id

    def request_id(self) -> str:
        """As ``Span.request_id``; the caller's request has a name of its own."""
        return ""


class Span(trace.Span):
    """One operation. Times are ``perf_counter_ns``; ``pipeline`` turns them into wall-clock time.

    ``parent`` is the parent span of this process, the remote ``SpanContext``, or None for a root.
    """

    # Defaults stand here: an object is made with the few fields that a request sets, the rest costs nothing.
    attributes: dict[str, Any] | None = None
    events: list[tuple[str, int, Mapping[str, Any] | None]] | None = None
    links: list[Link] | None = None
    dropped_attributes = 0
    dropped_events = 0
    dropped_links = 0
    status_code = StatusCode.UNSET
    status_message: str | None = None
    error_type: str | None = None
    own_request_id = ""  # of the span with which a request, or the work on a job of one, begins here
    end_ns = 0
    _context: SpanContext | None = None
    _failure: str | None = None  # what the exception said that was recorded last
    _ids: Ids | None = None
    # Of a request that is under way, a child may be converted by the ticker: whoever draws first has drawn for both.
    _publishing = threading.Lock()

    def __init__(self, name: str, kind: SpanKind, parent: Parent, sink: Callable[[Span], None]) -> None:
        self.name = name
        self.kind = kind
        self.parent = parent
        self._sink = sink
        self.start_ns = now_ns()

    # ids

    def ids(self) -> Ids:
        """Trace id and span id, drawn on first use, by whatever thread asks. The chance of a zero id is 2⁻⁶⁴."""
        if self._ids is None:
            parent = self.parent
            if parent is None:
                drawn = draw(192).to_bytes(24, "big")
                ids = drawn[:16], drawn[16:]
            else:
                ids = parent.ids()[0], draw(64).to_bytes(8, "big")
            with self._publishing:
                if self._ids is None:
                    self._ids = ids
        return self._ids

    def parent_span_id(self) -> bytes:
        """Id of the parent span, empty for a root."""
        return self.parent.ids()[1] if self.parent is not None else b""

    def request_id(self) -> str:
        """What the request is called that this span is part of; empty outside any."""
        return self.own_request_id or (self.parent.request_id() if self.parent is not None else "")

    def traceparent(self) -> str:
        """This span as a W3C ``traceparent`` header value."""
        trace_id, span_id = self.ids()
        return f"00-{trace_id.hex()}-{span_id.hex()}-01"

    def get_span_context(self) -> SpanContext:
        if self._context is None:
            trace_id, span_id = self.ids()
            state = self.parent.state if isinstance(self.parent, RemoteParent) else None
            self._context = SpanContext(
                int.from_bytes(trace_id, "big"),
                int.from_bytes(span_id, "big"),
                is_remote=False,
                trace_flags=_SAMPLED,
                trace_state=state,
            )
        return self._context

    # what is recorded

    def is_recording(self) -> bool:
        return not self.end_ns

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        if self.end_ns or not isinstance(key, str) or not key:
            return
        attributes = self.attributes
        if attributes is None:
            attributes = self.attributes = {}
        if key not in attributes and len(attributes) >= MAX_ATTRIBUTES:
            self.dropped_attributes += 1
            return
        attributes[key] = value if type(value) is bool else redact_value(key, value)

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        if self.end_ns:
            return
        if self.events is None:
            self.events = []
        if len(self.events) >= MAX_EVENTS:
            self.dropped_events += 1
            return
        at = now_ns() if timestamp is None else timestamp - wall_clock_offset()
        clean = {key: redact_value(key, value) for key, value in attributes.items()} if attributes else None
        self.events.append((name, at, clean))

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        if self.end_ns or context is None:
            return
        if self.links is None:
            self.links = []
        if len(self.links) >= MAX_LINKS:
            self.dropped_links += 1
            return
        clean = {key: redact_value(key, value) for key, value in attributes.items()} if attributes else None
        self.links.append(Link(context, clean))

    def update_name(self, name: str) -> None:
        if not self.end_ns:
            self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        if self.end_ns or self.status_code is StatusCode.OK:  # OK is final, says the specification
            return
        if isinstance(status, Status):
            code, description = status.status_code, status.description
        else:
            code = status
        if code is StatusCode.UNSET:
            return
        self.status_code = code
        if not description or code is not StatusCode.ERROR:
            self.status_message = None
        elif self._failure is not None:  # the API puts the message of the exception that it has just recorded here
            self.status_message = self._failure
        else:
            self.status_message = redact_text(description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        message = exception_message(exception)
        fields: dict[str, AttributeValue] = {
            "exception.type": exception_name(exception),
            "exception.message": message,
            "exception.stacktrace": exception_stack(exception),
        }
        self._failure = message
        if attributes:
            fields.update(attributes)
        self.add_event("exception", fields, timestamp)

    def fail(self, exception: BaseException) -> None:
        """Mark the span as failed by ``exception``, which is left to travel on."""
        self.error_type = exception_name(exception)
        self.record_exception(exception)
        self.set_status(StatusCode.ERROR, self._failure)

    def end(self, end_time: int | None = None) -> None:
        if self.end_ns:
            return
        self.end_ns = now_ns() if end_time is None else end_time - wall_clock_offset()
        self._sink(self)

    def __exit__(self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: object) -> None:
        """``with tracer.start_span(...)``: failed by what passes, as the SDK's span is, and ended."""
        if isinstance(exc_val, Exception) and self.is_recording():
            self.fail(exc_val)
        self.end()


Parent = Span | RemoteParent | None


def _after_fork() -> None:
    """In the child: ids of its own, and a lock that no thread of the parent holds."""
    _generator.seed(_random.getrandbits(128))
    Span._publishing = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def draw_request_id() -> str:
    """A name for a request that came without one."""
    return draw(128).to_bytes(16, "big").hex()


def wall_clock_offset() -> int:
    """What to add to ``perf_counter_ns`` to get nanoseconds since the epoch, as of now."""
    return time.time_ns() - time.perf_counter_ns()


def exception_name(exception: BaseException) -> str:
    """Qualified name of the exception's class, as ``error.type`` and ``exception.type`` want it."""
    kind = type(exception)
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )


# The API keeps its context in a context variable; another place can be configured, which then takes the API's own way.
_variable: ContextVar[Context] | None = getattr(context_api._RUNTIME_CONTEXT, "_current_context", None)
get_context: Callable[[], Context] = _variable.get if _variable is not None else context_api.get_current
set_context: Callable[[Context], Any] = _variable.set if _variable is not None else context_api.attach
reset_context: Callable[[Any], None] = _variable.reset if _variable is not None else context_api._RUNTIME_CONTEXT.detach


def current_span() -> Parent:
    """Parent for a new span: the current one of this process, a remote one, or None."""
    span: Any = get_context().get(SPAN_KEY)
    if span is None or hasattr(span, "ids"):  # isinstance of an abstract class costs three times as much
        return span
    return _foreign_parent(span)


def parent_of(context: Context) -> Parent:
    """The span in ``context`` as a parent."""
    span: Any = context.get(SPAN_KEY)
    return span if hasattr(span, "ids") else _foreign_parent(span)


def _foreign_parent(span: object) -> Parent:
    """A parent that is no span of ours, as far as it is one."""
    if not isinstance(span, trace.Span):
        return None
    remote = span.get_span_context()
    if not remote.is_valid:
        return None
    return RemoteParent(remote.trace_id.to_bytes(16, "big"), remote.span_id.to_bytes(8, "big"), remote.trace_state)


def enter(span: Span) -> Any:
    """Make ``span`` current, everything else in the context (baggage) stays. Returns what ``leave`` takes."""
    current = get_context()
    return set_context(Context({**current, SPAN_KEY: span}) if current else Context({SPAN_KEY: span}))


def leave(token: Any) -> None:
    """Make current again what was before ``enter``.

    A generator that is run a step at a time in a thread pool is left in another context than it was entered in: there
    is nothing to restore there.
    """
    try:  # noqa: SIM105  # contextlib.suppress costs as much as all the rest of leaving
        reset_context(token)
    except ValueError:
        pass


class Active:
    """``with Active(span):`` makes the span current, fails it when an exception passes, ends it. Yields the span."""

    __slots__ = ("span", "token")

    def __init__(self, span: Span) -> None:
        self.span = span

    def __enter__(self) -> Span:
        self.token = enter(self.span)
        return self.span

    def __exit__(self, kind: type[BaseException] | None, exception: BaseException | None, stack: object) -> None:
        leave(self.token)
        if exception is not None and isinstance(exception, Exception):
            self.span.fail(exception)
        self.span.end()


class Tracer(trace.Tracer):
    """The OpenTelemetry tracer over ``Span``."""

    def __init__(self, sink: Callable[[Span], None]) -> None:
        self._sink = sink

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        parent = parent_of(context if context is not None else context_api.get_current())
        span = Span(name, kind, parent, self._sink)
        if start_time is not None:
            span.start_ns = start_time - wall_clock_offset()
        if attributes:
            span.set_attributes(attributes)
        for link in links or ():
            span.add_link(link.context, link.attributes)
        return span

    @_agnosticcontextmanager  # a decorator too, of coroutine functions as well
    def start_as_current_span(  # type: ignore[override]
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[trace.Span]:
        span = self.start_span(name, context, kind, attributes, links, start_time)
        with trace.use_span(span, end_on_exit, record_exception, set_status_on_exception) as current:
            yield current


class TracerProvider(trace.TracerProvider):
    """Hands out tracers that feed one sink. The instrumentation scope is not kept: all spans are the service's."""

    def __init__(self, sink: Callable[[Span], None]) -> None:
        self._tracer = Tracer(sink)

    def get_tracer(self, *args: Any, **kwargs: Any) -> Tracer:
        return self._tracer
