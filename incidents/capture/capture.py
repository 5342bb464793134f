"""A capture: sources → redaction → bundle file.

Owns the order of the parts, the limits, and what is said of what was cut. Refuses to know options and where addresses
come from.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from incidents.bundle import form
from incidents.bundle.form import Manifest, SourceNote
from incidents.bundle.write import BundleWriter, Full, PartWriter
from incidents.capture.logs import Logs
from incidents.capture.metrics import EVERYTHING, Metrics
from incidents.capture.moments import Slice, emit_time
from incidents.capture.redact import Redactor
from incidents.capture.redaction import redact_exemplars, redact_line, redact_series, redact_trace
from incidents.capture.source import Source
from incidents.capture.traces import Traces
from incidents.progress import Progress


@dataclass(frozen=True)
class Choice:
    """What is taken (a series selector, a LogQL selector, services; empty for everything), and at most how much."""

    metrics: str = ""
    logs: str = ""
    services: tuple[str, ...] = ()
    max_part_bytes: int = 512 * 1024**2
    max_samples: int = 30_000_000
    max_lines: int = 1_000_000
    max_traces: int = 20_000


@dataclass
class Capture:
    """One capture. A source that is not given is not captured."""

    slice: Slice
    sources: dict[str, Source]
    choice: Choice
    redactor: Redactor
    progress: Progress
    cut: list[str] = field(default_factory=list)

    async def run(self, path: Path) -> Manifest:
        """Write the bundle. Raises SourceError and OSError; then there is no file."""
        notes: dict[str, SourceNote] = {}
        with BundleWriter(path, self.choice.max_part_bytes) as writer:
            if source := self.sources.get("prometheus"):
                metrics = Metrics(source, self.choice.metrics or EVERYTHING)
                notes["prometheus"] = SourceNote(url=source.url, selected=metrics.selector)
                await self._metrics(writer, metrics)
            if source := self.sources.get("loki"):
                notes["loki"] = SourceNote(url=source.url, selected=self.choice.logs or "all streams")
                await self._logs(writer, Logs(source, self.choice.logs or None))
            if source := self.sources.get("jaeger"):
                chosen = ", ".join(self.choice.services) or "all services"
                notes["jaeger"] = SourceNote(url=source.url, selected=chosen)
                await self._traces(writer, Traces(source, self.choice.services))
            return writer.finish(
                self.slice.start_ms,
                self.slice.end_ms,
                captured_at=emit_time(int(time.time() * 1000)),
                tool=_version(),
                sources=notes,
                cut=self.cut,
                redacted=dict(self.redactor.replaced),
            )

    async def _metrics(self, writer: BundleWriter, metrics: Metrics) -> None:
        known: set[tuple[tuple[str, str], ...]] = set()
        with writer.part(form.METRICS, samples=self.choice.max_samples) as part:
            try:
                async for share, portion in metrics.series(self.slice):
                    for one in portion:
                        series = redact_series(one, self.redactor)
                        labels = tuple(sorted(series.labels.items()))
                        part.add(series, samples=len(series.times_ms), series=labels not in known)
                        known.add(labels)
                    self._show("metrics", share, part)
            except Full as reached:
                self.cut.append(f"metrics end at {reached}")
        if metrics.native_histograms:
            self.cut.append("native histograms were left out: only classic ones are captured")
        self._tell("metrics", part)
        with writer.part(form.EXEMPLARS) as part:
            try:
                async for found in metrics.exemplars(self.slice):
                    for one in found:
                        part.add(redact_exemplars(one, self.redactor), exemplars=len(one.exemplars))
            except Full as reached:
                self.cut.append(f"exemplars end at {reached}")
        self._tell("exemplars", part)

    async def _logs(self, writer: BundleWriter, logs: Logs) -> None:
        with writer.part(form.LOGS, lines=self.choice.max_lines) as part:
            try:
                async for share, page in logs.lines(self.slice):
                    for line in page:
                        part.add(redact_line(line, self.redactor), lines=1)
                    self._show("logs", share, part)
            except Full as reached:
                self.cut.append(f"logs end at {reached}")
        if logs.skipped_ns:
            self.cut.append(f"logs: {logs.skipped_ns} nanoseconds held more lines than can be asked for at once")
        self._tell("logs", part)

    async def _traces(self, writer: BundleWriter, traces: Traces) -> None:
        with writer.part(form.TRACES, traces=self.choice.max_traces) as part:
            try:
                async for share, found in traces.traces(self.slice):
                    for trace in found:
                        part.add(redact_trace(trace, self.redactor), traces=1, spans=len(trace.spans()))
                    self._show("traces", share, part)
            except Full as reached:
                self.cut.append(f"traces end at {reached}")
        if traces.cut_searches:
            self.cut.append(f"traces: {traces.cut_searches} searches for one millisecond were not complete")
        if traces.unreadable:
            self.cut.append(f"traces: {traces.unreadable} had times or fields that make no sense")
        self._tell("traces", part)

    def _show(self, what: str, share: float, part: PartWriter) -> None:
        self.progress.now(f"{what}: {share:.0%}, {_counts(part)}")

    def _tell(self, what: str, part: PartWriter) -> None:
        self.progress.say(
            f"{what}: {_counts(part) or 'nothing'}, {part.bytes / 1024**2:.1f} MiB", ok=bool(part.records)
        )


def _counts(part: PartWriter) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in part.counts.items())


def _version() -> str:
    try:
        return f"signalbox {version('signalbox')}"
    except PackageNotFoundError:
        return "signalbox"
