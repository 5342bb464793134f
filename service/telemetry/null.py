"""Telemetry switched off: the same calls, and nothing happens. What `bench/telemetry` measures the door against.

Owns nothing. Whoever asks for the door of a process that has it switched off gets this one.
"""

from __future__ import annotations

from typing import Any

from opentelemetry import trace


class NullInstrument:
    """Stands for any instrument and any of its children."""

    def labels(self, *values: str) -> NullInstrument:
        return self

    def _nothing(self, *values: object) -> None:
        """Take an observation and forget it."""

    inc = dec = set = observe = set_function = _nothing


class NullInstruments:
    """Every attribute is an instrument that forgets."""

    def __getattr__(self, name: str) -> NullInstrument:
        instrument = NullInstrument()
        self.__dict__[name] = instrument  # found without this method the next time
        return instrument


class NullActive:
    """``with`` yields a span that records nothing."""

    def __enter__(self) -> trace.Span:
        return trace.INVALID_SPAN

    def __exit__(self, *raised: object) -> None:
        pass


class NullTelemetry:
    """What ``Telemetry`` offers, doing nothing."""

    def __init__(self) -> None:
        self.instruments: Any = NullInstruments()
        self.active = NullActive()

    def span(self, *_: object, **__: object) -> NullActive:
        return self.active

    consumer_span = span

    def event(self, *_: object, **__: object) -> None:
        """Forget what has happened."""

    instrument_app = instrument_engine = instrument_http_client = instrument_redis = sink = event
    observe_queue = observe_figures = note = problem = event

    def start(self) -> None:
        """Start nothing."""

    async def shutdown(self, timeout_s: float = 0.0) -> None:
        """Stop nothing."""
