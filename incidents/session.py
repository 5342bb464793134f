"""From a scenario file to a verdict and a report: the parts put together.

Owns the order run → judge → collect → write. Does no work of its own, and refuses to know the command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from incidents.endpoints import EndpointError, Endpoints
from incidents.evidence import observe_evidence
from incidents.observe import Backends
from incidents.progress import Progress
from incidents.report import emit_headline, write_bundle
from incidents.run import Run
from incidents.scenario_file import ScenarioFile
from incidents.triage.score import summary
from incidents.verdict import emit_document, held, judge

CHECKOUT = Path(__file__).parent.parent
PROFILES = "profiles"
"""Below the reports: where `signalbox profile` leaves flame graphs. Those made during a run belong to its report."""


class Unusable(Exception):
    """The run could not begin, or its report could not be written; the text says why and what to do."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the document of `--json`, and why it failed in one sentence (empty when it held)."""

    held: bool
    why: str
    document: dict[str, Any]
    pages: int = 0
    """How many pages of the paging tier reached the pager during the run."""
    triage: dict[str, Any] | None = None
    """What triage said meanwhile, in short, and at which place the truth was; None when it gave no answer."""


@dataclass(frozen=True)
class Session:
    """One scenario, or its twin, against one system."""

    source: ScenarioFile
    twin: bool
    seed: int
    clock: float
    urls: dict[str, Any]
    components: list[dict[str, Any]]

    async def run(self, out: Path, *, quiet: bool = False, keep: bool = False) -> Outcome:
        """Run, judge and report. Raises Unusable, and Interrupted after Ctrl-C or SIGTERM."""
        try:
            endpoints = Endpoints.parse(self.urls)
        except EndpointError as error:
            raise Unusable(str(error)) from None
        scenario = self.source.scenario.at_clock(self.clock)
        async with Backends(endpoints, self.clock) as backends:
            with Progress(quiet=quiet) as progress:
                run = Run(scenario, twin=self.twin, seed=self.seed, backends=backends, progress=progress, keep=keep)
                record = await run.execute()
                claims = judge(record)
                progress.now("collecting the evidence")
                evidence = await observe_evidence(record, claims, self.source, backends, self.components)
                stamp = datetime.fromtimestamp(record.started_at, UTC).strftime("%Y%m%dT%H%M%SZ")
                profiles = made_since(out / PROFILES, record.started_at)
                try:
                    folder = _new_folder(out, f"{record.id}-{stamp}")
                    report = write_bundle(evidence, self._runbook(), folder, profiles)
                except OSError as error:
                    raise Unusable(f"the report cannot be written: {error}. Choose another --out folder") from None
                headline = emit_headline(evidence)
                progress.phase(evidence["verdict"], headline)
                progress.phase("report", str(report))
        document = emit_document(record, claims, str(report))
        pages = sum(page["tier"] == "page" for page in record.pages)
        said = summary(record.triage) if record.triage else None
        return Outcome(held(claims), "" if held(claims) else headline.rstrip("."), document, pages, said)

    def _runbook(self) -> str | None:
        """The runbook's text, where this is a checkout that has it."""
        try:
            return (CHECKOUT / self.source.scenario.runbook).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None


def made_since(folder: Path, moment: float) -> list[Path]:
    """The profiles that were recorded in `folder` since then (seconds since the epoch), oldest first."""
    found = [(file.stat().st_mtime, file) for file in folder.glob("*.svg")]
    return [file for at, file in sorted(found) if at >= moment]


def _new_folder(parent: Path, name: str) -> Path:
    """A folder that does not exist yet; runs that start within one second get a number."""
    folder = parent / name
    for number in range(2, 1000):
        if not folder.exists():
            break
        folder = parent / f"{name}-{number}"
    return folder
