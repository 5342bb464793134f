"""OTLP/protobuf encoding of spans, by hand: the exporter package builds a message object per field, this joins bytes.

Owns the wire format of ``ExportTraceServiceRequest`` (opentelemetry-proto 1.x, trace/v1). Knows nothing of what is
measured. A test decodes its output with the generated classes of ``opentelemetry-proto`` and compares field by field.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence

_TRACE_ID, _SPAN_ID, _PARENT = b"\x0a\x10", b"\x12\x08", b"\x22\x08"  # what stands before each
_TIMES_LENGTH = 18  # start and end, a byte of tag before each
_MAX_LAYOUTS = 16  # that a shape keeps
_DOUBLE = struct.Struct("<d").pack
_FIXED64 = struct.Struct("<Q").pack
# Span.flags: field 16, fixed32, the W3C flag "sampled".
_SAMPLED = b"\x85\x01" + struct.pack("<I", 1)
Layout = tuple[Callable[..., bytes], bytes, bytes]
"""Joins the parts of a span, what stands before its trace id, and what stands between its ids and its times."""
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
    """What many spans share, encoded once: name, kind (OTLP numbering), attributes known beforehand."""

    __slots__ = ("_layouts", "_shared")

    def __init__(self, name: str, kind: int, attributes: Mapping[str, object] | None = None) -> None:
        self._shared = (
            delimited(b"\x2a", name.encode("utf-8", "replace"))
            + b"\x30"
            + varint(kind)
            + attributes_field(b"\x4a", attributes)
        )
        self._layouts: dict[tuple[int, int], Layout] = {}

    def encode(
        self,
        trace_id: bytes,
        span_id: bytes,
        parent_id: bytes,
        start_unix_ns: int,
        end_unix_ns: int,
        rest: bytes = b"",
    ) -> bytes:
        """One span as a field of ``ScopeSpans``. Ids are 16 and 8 bytes, no ``parent_id`` is empty bytes, times are
        nanoseconds since the epoch; ``rest`` are the encoded fields that it has beyond its shape.
        """
        lengths = (len(parent_id), len(rest))
        pack, head, tail = self._layouts.get(lengths) or self._lay_out(*lengths)
        if parent_id:
            return pack(
                head, trace_id, _SPAN_ID, span_id, _PARENT, parent_id, tail, start_unix_ns, 0x41, end_unix_ns,
                rest, _SAMPLED,
            )  # fmt: skip
        return pack(head, trace_id, _SPAN_ID, span_id, tail, start_unix_ns, 0x41, end_unix_ns, rest, _SAMPLED)

    def _lay_out(self, parent_length: int, rest_length: int) -> Layout:
        """Where everything stands in spans of these lengths. Most spans of a shape have one of a few."""
        parent = len(_PARENT) + parent_length if parent_length else 0
        ids = len(_TRACE_ID) + 16 + len(_SPAN_ID) + 8 + parent
        length = ids + len(self._shared) + _TIMES_LENGTH + rest_length + len(_SAMPLED)
        head = b"\x12" + varint(length) + _TRACE_ID
        tail = self._shared + b"\x39"
        parent_format = f"2s{parent_length}s" if parent_length else ""
        form = struct.Struct(f"<{len(head)}s16s2s8s{parent_format}{len(tail)}sQBQ{rest_length}s{len(_SAMPLED)}s")
        layout = form.pack, head, tail
        if len(self._layouts) < _MAX_LAYOUTS:
            self._layouts[parent_length, rest_length] = layout
        return layout


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
