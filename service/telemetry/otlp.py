"""OTLP/protobuf encoding of spans, by hand: the exporter package builds a message object per field, this joins bytes.

Owns the wire format of ``ExportTraceServiceRequest`` (opentelemetry-proto 1.x, trace/v1). Knows nothing of what is
measured. A test decodes its output with the generated classes of ``opentelemetry-proto`` and compares field by field.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence

_TIMES = struct.Struct("<BQBQ").pack
_TIMES_LENGTH = 18
_IDS = b"\x0a\x10\x12\x08"  # before the trace id, before the span id
_PARENT = b"\x22\x08"
_DOUBLE = struct.Struct("<d").pack
_FIXED64 = struct.Struct("<Q").pack
# Span.flags: field 16, fixed32, the W3C flag "sampled".
_SAMPLED = b"\x85\x01" + struct.pack("<I", 1)
_MAX_TEXT = 4096  # characters of one attribute value; more is cut, as OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT would

AttributeValue = str | bool | int | float | Sequence[str] | Sequence[bool] | Sequence[int] | Sequence[float]


def varint(value: int) -> bytes:
    """Base-128 encoding of a non-negative integer."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def delimited(tag: bytes, payload: bytes) -> bytes:
    """A length-delimited field: tag, length, payload."""
    return tag + varint(len(payload)) + payload


def _any_value(value: object) -> bytes:
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + varint(value & 0xFFFFFFFFFFFFFFFF)
    if isinstance(value, float):
        return b"\x21" + _DOUBLE(value)
    if isinstance(value, bytes):
        return delimited(b"\x3a", value[:_MAX_TEXT])
    if isinstance(value, (list, tuple)):
        return delimited(b"\x2a", b"".join(delimited(b"\x0a", _any_value(item)) for item in value))
    return delimited(b"\x0a", str(value)[:_MAX_TEXT].encode("utf-8", "replace"))


def key_value(key: str, value: object) -> bytes:
    """A ``KeyValue`` message. Values of no OTLP type are sent as their text; long text is cut."""
    return delimited(b"\x0a", key.encode("utf-8", "replace")) + delimited(b"\x12", _any_value(value))


def attributes_field(tag: bytes, attributes: Mapping[str, object] | None) -> bytes:
    """All attributes as repeated ``KeyValue`` fields under ``tag``."""
    if not attributes:
        return b""
    return b"".join(delimited(tag, key_value(key, value)) for key, value in attributes.items())


def event_field(name: str, time_unix_ns: int, attributes: Mapping[str, object] | None) -> bytes:
    """One span event."""
    body = b"\x09" + _FIXED64(time_unix_ns) + delimited(b"\x12", name.encode()) + attributes_field(b"\x1a", attributes)
    return delimited(b"\x5a", body)


def link_field(trace_id: int, span_id: int, attributes: Mapping[str, object] | None) -> bytes:
    """One span link."""
    body = (
        b"\x0a\x10"
        + trace_id.to_bytes(16, "big")
        + b"\x12\x08"
        + span_id.to_bytes(8, "big")
        + attributes_field(b"\x22", attributes)
    )
    return delimited(b"\x6a", body)


def status_field(code: int, message: str | None) -> bytes:
    """Span status; ``code`` 0 unset, 1 ok, 2 error. Unset is not written at all."""
    if code == 0:
        return b""
    text = delimited(b"\x12", message[:_MAX_TEXT].encode("utf-8", "replace")) if message else b""
    return delimited(b"\x7a", text + b"\x18" + varint(code))


class SpanShape:
    """What many spans share, encoded once: name, kind (OTLP numbering), attributes known beforehand.

    Its methods return one span as a field of ``ScopeSpans``. Ids are 16 and 8 bytes, no ``parent_id`` is empty bytes,
    times are nanoseconds since the epoch.
    """

    __slots__ = ("_child", "_root", "_shared")

    def __init__(self, name: str, kind: int, attributes: Mapping[str, object] | None = None) -> None:
        self._shared = (
            delimited(b"\x2a", name.encode("utf-8", "replace"))
            + b"\x30"
            + varint(kind)
            + attributes_field(b"\x4a", attributes)
        )
        # A span that holds nothing else always has the same length, so all of it but ids and times is laid out here.
        self._root = self._layout(len(_IDS) + 24)
        self._child = self._layout(len(_IDS) + 24 + len(_PARENT) + 8)

    def _layout(self, ids_length: int) -> tuple[Callable[..., bytes], bytes, bytes]:
        head = b"\x12" + varint(ids_length + len(self._shared) + _TIMES_LENGTH + len(_SAMPLED)) + _IDS[:2]
        ids = "s16s2s8s" if ids_length < 32 else "s16s2s8s2s8s"
        tail = self._shared + b"\x39"
        return struct.Struct(f"<{len(head)}{ids}{len(tail)}sQBQ{len(_SAMPLED)}s").pack, head, tail

    def encode(self, trace_id: bytes, span_id: bytes, parent_id: bytes, start_unix_ns: int, end_unix_ns: int) -> bytes:
        """A span that holds nothing beyond its shape."""
        if parent_id:
            pack, head, tail = self._child
            return pack(
                head, trace_id, _IDS[2:], span_id, _PARENT, parent_id, tail, start_unix_ns, 0x41, end_unix_ns, _SAMPLED
            )
        pack, head, tail = self._root
        return pack(head, trace_id, _IDS[2:], span_id, tail, start_unix_ns, 0x41, end_unix_ns, _SAMPLED)

    def encode_with(
        self, trace_id: bytes, span_id: bytes, parent_id: bytes, start_unix_ns: int, end_unix_ns: int, rest: bytes
    ) -> bytes:
        """A span with further encoded fields."""
        body = b"".join(
            (
                _IDS[:2],
                trace_id,
                _IDS[2:],
                span_id,
                _PARENT + parent_id if parent_id else b"",
                self._shared,
                _TIMES(0x39, start_unix_ns, 0x41, end_unix_ns),
                rest,
                _SAMPLED,
            )
        )
        return b"\x12" + varint(len(body)) + body


def export_request(
    resource: Mapping[str, object], scope_name: str, scope_version: str, spans: Iterable[bytes]
) -> bytes:
    """A whole ``ExportTraceServiceRequest`` for one resource and scope."""
    resource_field = delimited(b"\x0a", attributes_field(b"\x0a", resource))
    scope = delimited(b"\x0a", delimited(b"\x0a", scope_name.encode()) + delimited(b"\x12", scope_version.encode()))
    return delimited(b"\x0a", resource_field + delimited(b"\x12", scope + b"".join(spans)))


def rejected_spans(response: bytes) -> int:
    """Spans a collector says it refused: ``partial_success.rejected_spans`` of its answer (0 when absent)."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    if not response:
        return 0
    return int(ExportTraceServiceResponse.FromString(response).partial_success.rejected_spans)
