"""An OpenSLO timeWindow → the table of windows for its period, rolling or of the calendar.

Owns the form of calendars: lengths in days, weeks, months, quarters or years, a start on the clocks of a time zone.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from slo.calendars import LAST_YEAR, Calendar, Unit
from slo.durations import parse_duration
from slo.model import WindowTable
from slo.parse.catalogue import Catalogue
from slo.parse.fields import Fields

START_FORM = "%Y-%m-%d %H:%M:%S"
_PERIOD = re.compile(r"([1-9][0-9]{0,3})([dwMQY])")
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}")


def read_time_window(spec: Fields, catalogue: Catalogue) -> WindowTable | None:
    """Read the one time window of an SLO; None when a problem was filed."""
    listed = spec.mappings("timeWindow")
    if len(listed) != 1:
        if spec.has("timeWindow"):
            spec.problem("timeWindow", "field-form", "exactly one time window is needed", "List one")
        return None
    window = listed[0]
    calendar = window.mapping("calendar", required=False)
    rolling = window.choice("isRolling", ["true", "false"], default="false" if calendar else None)
    table = None
    if calendar is None:
        if rolling == "false":
            remedy = "Add it with startTime and timeZone, or write `isRolling: true`"
            window.problem("calendar", "field-missing", "a window that does not roll needs a calendar", remedy)
        table = window.parsed("duration", lambda text: catalogue.table_for(parse_duration(_fixed(text))))
    else:
        if rolling == "true":
            window.problem("isRolling", "field-form", "a calendar does not roll", "Remove one of the two")
        table = _read_calendar(window, calendar, catalogue)
    window.done()
    return table


def _read_calendar(window: Fields, fields: Fields, catalogue: Catalogue) -> WindowTable | None:
    start, zone = fields.parsed("startTime", _parse_start), fields.parsed("timeZone", _parse_zone)
    fields.done()
    period = window.parsed("duration", _parse_period)
    if start is None or zone is None or period is None:
        return None
    calendar = Calendar(*period, start, zone)
    table = window.parsed("duration", lambda _: catalogue.table_for(calendar.nominal))
    return table.for_calendar(calendar) if table else None


def _fixed(text: str) -> str:
    if _PERIOD.fullmatch(text) and text[-1] in "MQY":
        raise ValueError(f"{text!r} has no fixed length and cannot roll; write days such as 30d, or add a calendar")
    return text


def _parse_period(text: str) -> tuple[int, Unit]:
    found = _PERIOD.fullmatch(text)
    if not found:
        raise ValueError(f"{text[:20]!r} is no period of a calendar; write 1d, 1w, 1M, 1Q or 1Y")
    if int(found[1]) * {"d": 1, "w": 7, "M": 31, "Q": 92, "Y": 366}[found[2]] > 366:
        raise ValueError(f"{text!r} is longer than a year; choose a shorter period")
    return int(found[1]), cast(Unit, found[2])


def _parse_start(text: str) -> datetime:
    try:
        start = datetime.strptime(text, START_FORM)  # noqa: DTZ007 - the zone has a field of its own
    except ValueError:
        raise ValueError(f"{text[:30]!r} is no date with time; write it as 2026-01-31 00:00:00") from None
    if not 1970 <= start.year <= LAST_YEAR:
        raise ValueError(f"{text!r} is not between 1970 and {LAST_YEAR}; choose the begin of a period in between")
    return start


def _parse_zone(text: str) -> str:
    try:
        if _ZONE.fullmatch(text):
            return ZoneInfo(text).key
    except (ZoneInfoNotFoundError, OSError, ValueError):
        pass
    raise ValueError(f"{text[:40]!r} is no time zone; write a name of the IANA database such as Europe/Berlin")
