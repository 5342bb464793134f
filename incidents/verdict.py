"""What happened in a run, claim by claim, and whether the incident held.

Owns the record of a run and the judgement over it. Refuses to know how anything was observed.

An incident whose signals were not observed has failed, however fast its alert came; a twin in which a signal was
observed, or could not be looked for, has failed too.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from typing import Any, Literal

from incidents.observe import Reading, parse_time
from incidents.scenario import TWIN_SUFFIX, Check, Scenario, Signal
from incidents.trace import Span, services

Phase = Literal["baseline", "onset", "watch", "keep", "mitigation", "recovery"]


@dataclass(frozen=True)
class Event:
    """One line of the timeline; `at` in seconds since the epoch."""

    at: float
    phase: Phase
    what: str


_UNREAD = Reading(None, "not looked for")


@dataclass
class Sighting:
    """A signal and what was seen of it; `after_s` counts from onset to the first time that it held."""

    signal: Signal
    reading: Reading = _UNREAD
    after_s: float | None = None


@dataclass
class Outcome:
    """A check of the baseline, the mitigation or the rollback, and its last reading."""

    check: Check
    reading: Reading = _UNREAD

    @property
    def ok(self) -> bool:
        return self.check.wanted.holds(self.reading.value)


@dataclass
class Record:
    """Everything a run observed. Moments are in seconds since the epoch, None for what did not happen."""

    scenario: Scenario
    twin: bool
    seed: int
    clock: float
    started_at: float
    ended_at: float | None = None
    onset_at: float | None = None
    mitigated_at: float | None = None
    recovered_at: float | None = None
    timeline: list[Event] = field(default_factory=list)
    baseline: list[Outcome] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)
    mitigation: list[Outcome] = field(default_factory=list)
    rollback: list[Outcome] = field(default_factory=list)
    pages: list[dict[str, Any]] = field(default_factory=list)
    page_as_sent: dict[str, Any] | None = None
    """The expected page as it was first seen: later notices of the same alert change its texts."""
    trace: list[Span] = field(default_factory=list)
    triage: dict[str, Any] | None = None
    """What triage said when the page arrived, and how the truth stood in it; None when it gave no answer."""
    load: dict[str, Any] | None = None
    troubles: list[str] = field(default_factory=list)
    """Why the run could not do what it should: each is a failed claim of its own."""

    def __post_init__(self) -> None:
        self.baseline = [Outcome(check) for check in self.scenario.baseline.checks]
        self.sightings = [Sighting(signal) for signal in self.scenario.signals]
        self.mitigation = [] if self.twin else [Outcome(check) for check in self.scenario.mitigation.checks]
        self.rollback = [Outcome(check) for check in self.scenario.rollback.checks]

    @property
    def id(self) -> str:
        return self.scenario.id + (TWIN_SUFFIX if self.twin else "")

    @property
    def page(self) -> dict[str, Any] | None:
        """The expected alert's first page since onset."""
        alert = self.scenario.alert
        expected = [page for page in self.pages if page["alert"] == alert.name and page["tier"] == alert.tier]
        return min(expected, key=lambda page: parse_time(page["received_at"]), default=None)

    @property
    def fired_after_s(self) -> float | None:
        """From onset to the page's arrival at the pager, by the pager's own time stamp."""
        return None if self.page is None else self._after_onset(parse_time(self.page["received_at"]))

    @property
    def resolved_at(self) -> float | None:
        """When the pager saw the expected alert end. `updated_at` is the arrival of the resolution where it is told."""
        page = self.page
        if page is None or page["state"] != "resolved":
            return None
        return parse_time(page.get("updated_at") or page["resolved_at"])

    def note(self, at: float, phase: Phase, what: str) -> None:
        """Add a line to the timeline, which is kept in the order of time."""
        insort(self.timeline, Event(at, phase, what), key=lambda event: event.at)

    def _after_onset(self, at: float) -> float | None:
        return None if self.onset_at is None else round(max(at - self.onset_at, 0.0), 3)


@dataclass(frozen=True)
class Claim:
    """One thing that had to be true, and whether it was. `query` is how it was asked."""

    kind: Literal["baseline", "alert", "signal", "exemplar", "silence", "mitigation", "rollback", "load", "run"]
    name: str
    wanted: str
    observed: str
    ok: bool
    query: str = ""


def judge(record: Record) -> list[Claim]:
    """Every claim of the run. The incident held when all of them are true."""
    troubles, baseline = _troubles(record), _outcomes("baseline", record.baseline)
    if record.onset_at is None:
        return [*troubles, *baseline]
    return [
        *troubles,
        _alert(record),
        *(_signal(record, sighting) for sighting in record.sightings),
        *_exemplar(record),
        _silence(record),
        *_outcomes("mitigation", record.mitigation),
        *_resolution(record),
        *_outcomes("rollback", record.rollback),
        _load(record),
        *baseline,
    ]


def held(claims: list[Claim]) -> bool:
    """Whether the promise was kept: every claim true, and at least one made."""
    return bool(claims) and all(claim.ok for claim in claims)


def emit_document(record: Record, claims: list[Claim], report: str | None) -> dict[str, Any]:
    """The document of `incident run --json`."""
    alert = record.scenario.alert
    return {
        "id": record.id,
        "verdict": "held" if held(claims) else "failed",
        "alert": {
            "name": alert.name,
            "tier": alert.tier,
            "fired_after_s": record.fired_after_s,
            "deadline_s": alert.deadline_s,
        },
        "signals": [
            {
                "name": sighting.signal.name,
                "query": sighting.signal.question(),
                "observed": sighting.reading.value,
                "wanted": _wanted(record, sighting),
                "ok": record.onset_at is not None and _seen_as_claimed(record, sighting),
            }
            for sighting in record.sightings
        ],
        "report": report,
    }


def _alert(record: Record) -> Claim:
    alert, after_s = record.scenario.alert, record.fired_after_s
    observed = "no page arrived" if after_s is None else f"after {after_s:.1f} s"
    if record.twin:
        return Claim("alert", alert.name, "stays silent", observed, after_s is None)
    in_time = after_s is not None and after_s <= alert.deadline_s
    return Claim("alert", alert.name, f"{alert.tier} within {alert.deadline_s:g} s", observed, in_time)


def _seen_as_claimed(record: Record, sighting: Sighting) -> bool:
    if record.twin:
        return sighting.after_s is None and not sighting.reading.blind
    return sighting.after_s is not None and sighting.after_s <= sighting.signal.deadline_s


def _wanted(record: Record, sighting: Sighting) -> str:
    return f"not {sighting.signal.wanted}" if record.twin else str(sighting.signal.wanted)


def _signal(record: Record, sighting: Sighting) -> Claim:
    wanted = _wanted(record, sighting)
    if not record.twin:
        wanted += f" within {sighting.signal.deadline_s:g} s"
    observed = str(sighting.reading)
    if sighting.after_s is not None:
        observed += f" after {sighting.after_s:.1f} s"
    ok = _seen_as_claimed(record, sighting)
    return Claim("signal", sighting.signal.name, wanted, observed, ok, sighting.signal.question())


def _exemplar(record: Record) -> list[Claim]:
    wanted = record.scenario.alert.exemplar_crosses
    if record.twin or not wanted:
        return []
    page = record.page
    if page is None:
        observed = "no page arrived"
    elif not page.get("trace_id"):
        observed = "the page carries no trace id"
    elif not record.trace:
        observed = f"Jaeger does not have trace {page['trace_id']}"
    else:
        observed = f"{len(record.trace)} spans of {', '.join(services(record.trace))}"
    ok = bool(record.trace) and set(wanted) <= set(services(record.trace))
    query = f"trace {page['trace_id']}" if page and page.get("trace_id") else ""
    return [Claim("exemplar", "the page's exemplar trace", f"crosses {', '.join(wanted)}", observed, ok, query)]


def _silence(record: Record) -> Claim:
    """A twin pages nobody at all; a run with faults pages nobody that it names."""
    if record.twin:
        loud = sorted({page["alert"] for page in record.pages if page["tier"] == "page"})
        wanted = "nobody is paged"
    else:
        loud = sorted({page["alert"] for page in record.pages if record.scenario.forbids(page["alert"])})
        wanted = "silent: " + (", ".join(record.scenario.must_not_fire) or "nothing named")
    return Claim("silence", "other alerts", wanted, ", ".join(loud) or "silent", not loud)


def _resolution(record: Record) -> list[Claim]:
    alert, page = record.scenario.alert, record.page
    if record.twin or page is None or record.mitigated_at is None:
        return []
    resolved_at = record.resolved_at
    after_s = None if resolved_at is None else max(resolved_at - record.mitigated_at, 0.0)
    observed = "still firing" if after_s is None else f"resolved after {after_s:.1f} s"
    ok = after_s is not None and after_s <= alert.resolves_within_s
    return [Claim("mitigation", f"{alert.name} ends", f"within {alert.resolves_within_s:g} s", observed, ok)]


def _outcomes(kind: Literal["baseline", "mitigation", "rollback"], outcomes: list[Outcome]) -> list[Claim]:
    return [
        Claim(kind, one.check.name, str(one.check.wanted), str(one.reading), one.ok, one.check.question())
        for one in outcomes
    ]


def _load(record: Record) -> Claim:
    """Load that was not sent proves nothing."""
    if record.load is None:
        return Claim("load", "the requests", "sent as planned", "the load generator was lost", ok=False)
    sent, unsent = record.load["sent"], record.load["unsent"]
    observed = f"{sent:,} requests sent" + (f", {unsent:,} not sent" if unsent else "")
    return Claim("load", "the requests", "sent as planned", observed, sent > 0 and unsent == 0)


def _troubles(record: Record) -> list[Claim]:
    return [Claim("run", "the run itself", "no trouble", trouble, ok=False) for trouble in record.troubles]
