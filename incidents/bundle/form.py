"""The form of a bundle: its manifest, the records of its parts, and what each field may hold.

Owns names, limits and validation of one record. Refuses to know files, backends and why a bundle is read.

A bundle is a zip file: `manifest.json` and one JSON Lines file a part. Metrics and logs are in a form of our own; a
line of `traces.jsonl` is one trace as an OTLP/JSON export request. Times are whole numbers: milliseconds for samples,
nanoseconds for lines and spans.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

FORMAT = "signalbox-bundle"
VERSION = 1
MANIFEST = "manifest.json"
METRICS, EXEMPLARS, LOGS, TRACES = "metrics.jsonl", "exemplars.jsonl", "logs.jsonl", "traces.jsonl"
PARTS = (METRICS, EXEMPLARS, LOGS, TRACES)

MAX_FILE_BYTES = 1024**3
MAX_PART_BYTES = 2 * 1024**3
"""Of one part, unpacked. Nothing is unpacked to disk, and never more than a record is held in memory."""
MAX_MANIFEST_BYTES = 1024**2
MAX_RECORD_BYTES = 16 * 1024**2
MAX_LINE_CHARACTERS = 200_000
"""Of one log line: Loki refuses more than 256 KB."""
MAX_SLICE_S = 7 * 86_400
MARGIN_S = 3_600
"""A trace belongs to the slice with all of its spans: they may begin or end this much outside it."""
EARLIEST_S = 946_684_800
"""2000-01-01: an earlier time is a mistake in somebody's units."""


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _parse_number(text: str) -> str:
    number = float(text)
    if math.isinf(number) and "inf" not in text.lower():
        raise ValueError(f"{text[:40]} is more than a sample can hold")
    return text


Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Time = Annotated[int, Field(ge=0, lt=2**63)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Value = Annotated[str, StringConstraints(max_length=65_536)]
Labels = Annotated[dict[Name, Value], Field(max_length=256)]
Number = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_parse_number)]
"""A float as Prometheus writes it: `NaN` and `+Inf` included, which JSON has no numbers for."""
TraceId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
SpanId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Nanoseconds = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,19}$")]


class Series(_Form):
    """Samples of one series; a long series comes in several records. `ended_ms`: from then on it was stale."""

    labels: Labels
    times_ms: list[Time]
    values: list[Number]
    ended_ms: Time | None = None

    def model_post_init(self, _: Any) -> None:
        if len(self.times_ms) != len(self.values):
            raise ValueError("there are not as many times as values")
        if "__name__" not in self.labels:
            raise ValueError("the series has no name")


class Exemplar(_Form):
    """One exemplar of a series."""

    at_ms: Time
    value: Number
    labels: Labels


class Exemplars(_Form):
    """Exemplars of one series, in order of time."""

    series: Labels
    exemplars: list[Exemplar]


class Line(_Form):
    """One log line: the labels of its stream, its structured metadata, its text."""

    at_ns: Time
    labels: Labels
    metadata: Labels = {}
    text: Annotated[str, StringConstraints(max_length=MAX_LINE_CHARACTERS)]


class AnyValue(_Form):
    """OTLP's value, as far as Jaeger tells it."""

    stringValue: Value | None = None
    boolValue: bool | None = None
    intValue: Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,19}$")] | None = None
    doubleValue: float | None = None


class Attribute(_Form):
    """OTLP's KeyValue."""

    key: Name
    value: AnyValue


Attributes = Annotated[list[Attribute], Field(max_length=1024)]


class Event(_Form):
    """OTLP's Span.Event."""

    timeUnixNano: Nanoseconds
    name: Value = ""
    attributes: Attributes = []


class Link(_Form):
    """OTLP's Span.Link."""

    traceId: TraceId
    spanId: SpanId


class Status(_Form):
    """OTLP's Status: 0 unset, 1 ok, 2 error."""

    code: Annotated[int, Field(ge=0, le=2)] = 0
    message: Value = ""


class OtlpSpan(_Form):
    """OTLP's Span."""

    traceId: TraceId
    spanId: SpanId
    parentSpanId: SpanId | Literal[""] = ""
    name: Value
    kind: Annotated[int, Field(ge=0, le=5)]
    startTimeUnixNano: Nanoseconds
    endTimeUnixNano: Nanoseconds
    attributes: Attributes = []
    events: Annotated[list[Event], Field(max_length=10_000)] = []
    links: Annotated[list[Link], Field(max_length=10_000)] = []
    status: Status = Status()


class Scope(_Form):
    """OTLP's InstrumentationScope."""

    name: Value = ""
    version: Value = ""


class ScopeSpans(_Form):
    """OTLP's ScopeSpans."""

    scope: Scope = Scope()
    spans: list[OtlpSpan]


class Resource(_Form):
    """OTLP's Resource."""

    attributes: Attributes = []


class ResourceSpans(_Form):
    """OTLP's ResourceSpans."""

    resource: Resource = Resource()
    scopeSpans: list[ScopeSpans]


class Trace(_Form):
    """One trace: OTLP's ExportTraceServiceRequest whose spans share one trace id."""

    resourceSpans: Annotated[list[ResourceSpans], Field(min_length=1)]

    def spans(self) -> list[OtlpSpan]:
        """All spans, whatever their resource and scope."""
        return [span for one in self.resourceSpans for scope in one.scopeSpans for span in scope.spans]

    def changed(
        self, attributes: Callable[[list[Attribute]], list[Attribute]], span: Callable[[OtlpSpan], OtlpSpan]
    ) -> Trace:
        """The same trace with the attributes of every resource, and every span, changed so."""
        return Trace(
            resourceSpans=[
                ResourceSpans(
                    resource=Resource(attributes=attributes(one.resource.attributes)),
                    scopeSpans=[
                        ScopeSpans(scope=scope.scope, spans=[span(each) for each in scope.spans])
                        for scope in one.scopeSpans
                    ],
                )
                for one in self.resourceSpans
            ]
        )

    def model_post_init(self, _: Any) -> None:
        if len({span.traceId for span in self.spans()}) != 1:
            raise ValueError("a record of traces holds exactly one trace")

    @property
    def trace_id(self) -> str:
        return self.spans()[0].traceId


class Part(_Form):
    """What the manifest says of a part. `counts` is in the part's own units, such as series and samples."""

    bytes: Annotated[int, Field(ge=0, le=MAX_PART_BYTES)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    records: Count
    counts: dict[Name, Count]


class SourceNote(_Form):
    """Where a part came from: the address without credentials, and what was asked for."""

    url: Value
    selected: Value


class Manifest(_Form):
    """What a bundle says of itself."""

    format: Literal["signalbox-bundle"]
    version: Literal[1]
    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
    start_ms: Time
    end_ms: Time
    captured_at: Value
    tool: Value
    sources: dict[Name, SourceNote]
    parts: dict[Name, Part]
    cut: list[Value]
    redacted: dict[Name, Count]

    def model_post_init(self, _: Any) -> None:
        if not EARLIEST_S * 1000 <= self.start_ms < self.end_ms:
            raise ValueError("its time range is absurd")
        if self.end_ms - self.start_ms > MAX_SLICE_S * 1000:
            raise ValueError(f"its time range is longer than {MAX_SLICE_S // 86_400} days")


def identify(parts: Mapping[str, Part], start_ms: int, end_ms: int) -> str:
    """The id of a bundle: follows from what it holds, so the same content has the same id."""
    told = "".join(f"{name} {part.sha256}\n" for name, part in sorted(parts.items()))
    return hashlib.sha256(f"{FORMAT} {VERSION} {start_ms} {end_ms}\n{told}".encode()).hexdigest()[:12]
