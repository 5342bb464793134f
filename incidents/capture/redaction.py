"""The records of a bundle → the same records with everything redacted that they hold.

Owns which fields of a record are text and under which key. Refuses to know the rules.
"""

from __future__ import annotations

from incidents.bundle.form import (
    MAX_LINE_CHARACTERS,
    AnyValue,
    Attribute,
    Event,
    Exemplar,
    Exemplars,
    Line,
    OtlpSpan,
    Series,
    Status,
    Trace,
)
from incidents.capture.redact import Redactor


def redact_series(series: Series, redactor: Redactor) -> Series:
    """Its labels."""
    return series.model_copy(update={"labels": redactor.labels(series.labels)})


def redact_exemplars(exemplars: Exemplars, redactor: Redactor) -> Exemplars:
    """The labels of the series and of each exemplar."""
    return Exemplars(
        series=redactor.labels(exemplars.series),
        exemplars=[
            Exemplar(at_ms=one.at_ms, value=one.value, labels=redactor.labels(one.labels))
            for one in exemplars.exemplars
        ],
    )


def redact_line(line: Line, redactor: Redactor) -> Line:
    """Labels, structured metadata and text, which is cut at the length that Loki takes."""
    return Line(
        at_ns=line.at_ns,
        labels=redactor.labels(line.labels),
        metadata=redactor.labels(line.metadata),
        text=redactor.text(line.text)[:MAX_LINE_CHARACTERS],
    )


def redact_trace(trace: Trace, redactor: Redactor) -> Trace:
    """Names, attributes, events and status texts; never ids."""
    return trace.changed(lambda attributes: _attributes(attributes, redactor), lambda span: _span(span, redactor))


def _span(span: OtlpSpan, redactor: Redactor) -> OtlpSpan:
    return span.model_copy(
        update={
            "name": redactor.text(span.name),
            "attributes": _attributes(span.attributes, redactor),
            "events": [
                Event(
                    timeUnixNano=event.timeUnixNano,
                    name=redactor.text(event.name),
                    attributes=_attributes(event.attributes, redactor),
                )
                for event in span.events
            ],
            "status": Status(code=span.status.code, message=redactor.text(span.status.message)),
        }
    )


def _attributes(attributes: list[Attribute], redactor: Redactor) -> list[Attribute]:
    return [Attribute(key=pair.key, value=_value(pair.key, pair.value, redactor)) for pair in attributes]


def _value(key: str, value: AnyValue, redactor: Redactor) -> AnyValue:
    """A number under a key such as `user.id` is a person as well."""
    text = value.stringValue if value.stringValue is not None else value.intValue
    if text is None:
        return value
    redacted = redactor.value(key, text)
    return value if redacted == text else AnyValue(stringValue=redacted)
