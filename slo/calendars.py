"""Periods of the calendar: days, weeks, months, quarters and years as people in a time zone count them.

Owns when each period begins, in seconds since 1970, over the years for which rules are written. Months have 28 to 31
days; a day on which the clocks change has 23 or 25 hours. Refuses to know what is counted in a period.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from slo.durations import parse_duration

Unit = Literal["d", "w", "M", "Q", "Y"]

# Rules cannot ask a time-zone database, so they carry the periods of these years. A definition compiles to the same
# rules on any day; `slo lint` warns when the end comes near.
FIRST_YEAR, LAST_YEAR = 2026, 2036

DAYS = {"d": 1, "w": 7}
MONTHS = {"M": 1, "Q": 3, "Y": 12}
NOMINAL_DAYS = {"d": 1, "w": 7, "M": 30, "Q": 90, "Y": 365}


def nominal_length(name: str) -> timedelta:
    """How long a period is on paper, by its name: `1M` is 30 days, other names are lengths of time."""
    if name[-1:] in MONTHS:
        return timedelta(days=int(name[:-1]) * NOMINAL_DAYS[name[-1]])
    return parse_duration(name)


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive periods of one length: where the first begins, how long each is, how many there are."""

    begin_s: int
    length_s: int
    count: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """Periods of `count` units, one of which begins at `anchor` on the clocks of `zone`."""

    count: int
    unit: Unit
    anchor: datetime
    zone: str

    @property
    def name(self) -> str:
        """`1M`, as OpenSLO writes it."""
        return f"{self.count}{self.unit}"

    @property
    def key(self) -> str:
        """What tells it from other calendars, in a label."""
        return f"{self.name} from {self.anchor:%Y-%m-%dT%H:%M:%S} {self.zone}"

    @property
    def nominal(self) -> timedelta:
        """How long a period is on paper: burn windows are shares of this."""
        return nominal_length(self.name)

    @property
    def longest(self) -> timedelta:
        """The longest period there is."""
        return timedelta(seconds=max(run.length_s for run in self.runs()))

    def wall_clock(self, moment_s: int) -> str:
        """A moment as its people write it."""
        return datetime.fromtimestamp(moment_s, ZoneInfo(self.zone)).isoformat()

    def begin(self, index: int) -> int:
        """When a period begins, counted from the one at the anchor, in seconds since 1970.

        A day that a month does not have becomes its last; an hour that the clocks skip is the one after.
        """
        return int(self._wall(index).replace(tzinfo=ZoneInfo(self.zone)).timestamp())

    def runs(self, first_year: int = FIRST_YEAR, last_year: int = LAST_YEAR) -> Iterator[Run]:
        """The periods from the one that is under way when the first year begins to the end of the last year."""
        earliest = int(datetime(first_year, 1, 1, tzinfo=UTC).timestamp())
        latest = int(datetime(last_year + 1, 1, 1, tzinfo=UTC).timestamp())
        index = max(0, self._index_before(earliest))
        begin_s, run = self.begin(index), None
        while begin_s < latest:
            index += 1
            end_s = self.begin(index)
            if run and run.length_s == end_s - begin_s:
                run = Run(run.begin_s, run.length_s, run.count + 1)
            else:
                if run:
                    yield run
                run = Run(begin_s, end_s - begin_s, 1)
            begin_s = end_s
        if run:
            yield run

    def _index_before(self, moment_s: int) -> int:
        """The last period that begins at a moment or before it."""
        elapsed_days = (moment_s - self.begin(0)) / 86400
        index = int(elapsed_days // (self.count * NOMINAL_DAYS[self.unit])) + 1
        while self.begin(index) > moment_s:
            index -= 1
        return index

    def _wall(self, index: int) -> datetime:
        if self.unit in DAYS:
            return self.anchor + timedelta(days=index * self.count * DAYS[self.unit])
        months = self.anchor.month - 1 + index * self.count * MONTHS[self.unit]
        year, month = self.anchor.year + months // 12, months % 12 + 1
        day = min(self.anchor.day, calendar.monthrange(year, month)[1])
        return self.anchor.replace(year=year, month=month, day=day)
