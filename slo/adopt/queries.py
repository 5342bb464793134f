"""The counters inside a query that somebody wrote with rate, window and sum.

Owns the forms that are taken apart: `sum(rate(counter[window]))`, the difference of two of them, and the filling with
zero round either. What has another form is refused: a guess would promise something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from slo.parse.selector import parse_selector

_WINDOW = re.compile(r"\{\{-?\s*\.window\s*-?\}\}")
_FILLED = re.compile(r"\s+or\s+(?:on\s*\(\s*\)\s*)?vector\s*\(\s*0(?:\.0*)?\s*\)\s*$", re.IGNORECASE)
_GROUPED = re.compile(r"^(sum)\s*(?:by|without)\s*\([^)]*\)\s*")
_GROUPED_AFTER = re.compile(r"\)\s*(?:by|without)\s*\([^)]*\)\s*$")
_COUNTED = re.compile(r"sum\s*\(\s*(?:rate|increase)\s*\(\s*(?P<selector>.*?)\s*\[\s*WINDOW\s*\]\s*\)\s*\)", re.DOTALL)


@dataclass(frozen=True)
class Events:
    """A counter, or what is left of one when another is taken away; and what was left out on the way."""

    counter: str
    less: str | None = None
    grouped: bool = False


def read_events(query: str) -> Events:
    """Take a query apart. Raises ValueError with what is wrong and the remedy after a semicolon."""
    text = _WINDOW.sub("WINDOW", query.strip())
    text = _bare(_FILLED.sub("", _bare(text)))
    whole, grouped = _ungrouped(text)
    if (found := _COUNTED.fullmatch(whole)) and _is_one(found["selector"]):
        return Events(_counter(found["selector"]), grouped=grouped)
    for minuend, subtrahend in _split(text, "-"):
        first, second = read_events(minuend), read_events(subtrahend)
        if first.less or second.less:
            break
        return Events(first.counter, second.counter, first.grouped or second.grouped)
    raise ValueError(
        f"{' '.join(query.split())[:80]!r} is not sum(rate(counter[{{{{.window}}}}])) or a difference of two; "
        "record it as one counter, or name one metric with a pattern on its labels"
    )


def read_division(query: str) -> tuple[str, str] | None:
    """The two sides of a query that divides once at its outermost level."""
    for numerator, denominator in _split(_bare(query.strip()), "/"):
        return numerator, denominator
    return None


def fill_window(query: str, window: str) -> str:
    """The query over one fixed window."""
    return _WINDOW.sub(window, " ".join(query.split()))


def _ungrouped(text: str) -> tuple[str, bool]:
    """Without `by (…)`: the compiler sums over all."""
    shorter = _GROUPED_AFTER.sub(")", _GROUPED.sub(r"\1", text))
    return shorter, shorter != text


def _is_one(selector: str) -> bool:
    """Whether it is one selector and not the beginning of one and the end of another."""
    return "[" not in re.sub(r'"(?:[^"\\]|\\.)*"', "", selector)


def _counter(selector: str) -> str:
    parse_selector(selector)  # what the compiler cannot read is refused here, in its own words
    return " ".join(selector.split())


def _bare(text: str) -> str:
    """Without the parentheses round the whole."""
    text = text.strip()
    while text.startswith("(") and _closing(text, 0) == len(text) - 1:
        text = text[1:-1].strip()
    return text


def _split(text: str, operator: str) -> list[tuple[str, str]]:
    """The two sides of the only such operator outside all parentheses, or nothing."""
    places, position = [], 0
    while position < len(text):
        character = text[position]
        if character in "([{" or character in "\"'`":
            position = _closing(text, position)
        elif character == operator:
            places.append(position)
        position += 1
    if len(places) != 1:
        return []
    return [(text[: places[0]].strip(), text[places[0] + 1 :].strip())]


def _closing(text: str, start: int) -> int:
    """Where what opens here closes; the end of the text when it does not."""
    depth, position = 0, start
    while position < len(text):
        character = text[position]
        if character in "\"'`":
            end = position + 1
            while end < len(text) and text[end] != character:
                end += 2 if text[end] == "\\" and character != "`" else 1
            position = end
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        if depth == 0:
            return position
        position += 1
    return len(text)
