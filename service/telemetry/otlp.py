"""OTLP/protobuf encoding of spans, by hand: the exporter package builds a message object per field, this joins bytes.

Owns the wire format of ``ExportTraceServiceRequest`` (opentelemetry-proto 1.x, trace/v1). Knows nothing of what is
measured. A test decodes its output with the generated classes of ``opentelemetry-proto`` and compares field by field.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

_TIMES = struct.Struct("<BQBQ").pack
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


def span_shape(name: str, kind: int, attributes: Mapping[str, object] | None = None) -> bytes:
    """The part of a span that many spans share: name, kind (OTLP numbering), attributes known beforehand."""
    return (
        delimited(b"\x2a", name.encode("utf-8", "replace"))
        + b"\x30"
        + varint(kind)
        + attributes_field(b"\x4a", attributes)
    )


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


def span_field(
    trace_id: bytes,
    span_id: bytes,
    parent_id: bytes | None,
    shape: bytes,
    start_unix_ns: int,
    end_unix_ns: int,
    rest: bytes = b"",
) -> bytes:
    """One span as a field of ``ScopeSpans``. Ids are 16 and 8 bytes, ``rest`` any further encoded span fields."""
    body = b"".join(
        (
            b"\x0a\x10",
            trace_id,
            b"\x12\x08",
            span_id,
            b"\x22\x08" + parent_id if parent_id is not None else b"",
            shape,
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
