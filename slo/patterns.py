"""Regular expressions as Prometheus reads them: RE2's, which has no look-around, no back-references, and is never slow.

Owns which patterns are taken and whether one matches a text. Python's matcher tries every way in which `(a+)+b` could
match, which may take for ever; here all ways are followed at once. A pattern that only one of the two languages can
read is refused, so that what is tested is what Prometheus does.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

MOST_REPEATS = 1000  # RE2's own limit
MOST_STATES = 5_000  # a pattern of the longest query has about as many
_REMEDY = "write it with characters, classes, groups and repetitions alone"
_ONLY_PYTHON = re.compile(r"\\\\|(?P<odd>\\[uUNZ]|\(\?#|\(\?[a-zA-Z]*[aLux])")
_FOREIGN = {
    ops.ASSERT: "looks ahead or behind",
    ops.ASSERT_NOT: "looks ahead or behind",
    ops.GROUPREF: "refers back to a group",
    ops.GROUPREF_EXISTS: "refers back to a group",
    ops.ATOMIC_GROUP: "has an atomic group",
    ops.POSSESSIVE_REPEAT: "has a possessive repetition",
}
_WORD = re.compile(r"\w", re.ASCII)
_CATEGORIES = {
    ops.CATEGORY_DIGIT: re.compile(r"\d", re.ASCII),
    ops.CATEGORY_NOT_DIGIT: re.compile(r"\D", re.ASCII),
    ops.CATEGORY_SPACE: re.compile(r"\s", re.ASCII),
    ops.CATEGORY_NOT_SPACE: re.compile(r"\S", re.ASCII),
    ops.CATEGORY_WORD: _WORD,
    ops.CATEGORY_NOT_WORD: re.compile(r"\W", re.ASCII),
}
MATCHED = 0  # the state in which everything was read


def check_pattern(text: str) -> None:
    """Raises ValueError, with a remedy after a semicolon, for a pattern that Prometheus would not load."""
    _compile(text)


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern matches the whole text, in a time bounded by the product of their lengths. Raises as above."""
    states, first = _compile(pattern)
    current = _reach(states, {first}, text, 0)
    for index, char in enumerate(text):
        read = {s.then[0] for s in map(states.__getitem__, current) if s.op not in (None, ops.AT) and _reads(s, char)}
        current = _reach(states, read, text, index + 1)
    return MATCHED in current


@dataclass(slots=True)
class _State:
    """Reads a character, or asks where it is (AT), or nothing (None); then goes to one or several states."""

    op: Any
    argument: Any
    then: list[int]
    any_case: bool = False


@lru_cache(maxsize=1024)
def _compile(text: str) -> tuple[list[_State], int]:
    shown = repr(text[:60])
    states = [_State(None, None, [])]
    try:
        with warnings.catch_warnings(action="error"):  # [[:alpha:]], which Python reads as something else
            tree = parser.parse(text)
        odd = next((found["odd"] for found in _ONLY_PYTHON.finditer(text) if found["odd"]), None)
        if odd:
            raise ValueError(f"{shown} holds {odd!r}, which Prometheus does not know; {_REMEDY}")
        return states, _build(states, tree, MATCHED, tree.state.flags)
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:
        raise ValueError(f"{shown} is no regular expression that can be checked ({error}); {_REMEDY}") from None
    except _NotInRe2 as found:
        raise ValueError(f"{shown} {found}, which Prometheus does not take; {_REMEDY}") from None


class _NotInRe2(Exception):
    pass


def _build(states: list[_State], items: Iterable[tuple[Any, Any]], then: int, flags: int) -> int:
    """Add the states that read the items and then go on; the first of them."""
    for op, argument in reversed(list(items)):
        if op in _FOREIGN:
            raise _NotInRe2(_FOREIGN[op])
        if op is ops.BRANCH:
            then = _add(states, None, None, [_build(states, branch, then, flags) for branch in argument[1]])
        elif op is ops.SUBPATTERN:
            then = _build(states, argument[3], then, (flags | argument[1]) & ~argument[2])
        elif op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
            then = _repeat(states, argument, then, flags)
        else:
            then = _add(states, op, argument, [then])
            states[then].any_case = bool(flags & re.IGNORECASE)
    return then


def _repeat(states: list[_State], argument: Any, then: int, flags: int) -> int:
    least, most, items = argument
    endless = most is ops.MAXREPEAT
    if max(least, 0 if endless else most) > MOST_REPEATS:
        raise _NotInRe2(f"repeats more than {MOST_REPEATS} times")
    if endless:
        loop = _add(states, None, None, [then])
        states[loop].then.append(_build(states, items, loop, flags))
        then = loop
    after = then
    for _ in range(0 if endless else most - least):
        then = _add(states, None, None, [after, _build(states, items, then, flags)])
    for _ in range(least):
        then = _build(states, items, then, flags)
    return then


def _add(states: list[_State], op: Any, argument: Any, then: list[int]) -> int:
    if len(states) >= MOST_STATES:
        raise _NotInRe2("is too large")
    states.append(_State(op, argument, then))
    return len(states) - 1


def _reach(states: list[_State], found: set[int], text: str, index: int) -> set[int]:
    """These states and all that lie behind them without a character read."""
    waiting = list(found)
    while waiting:
        state = states[waiting.pop()]
        if state.op is None or (state.op is ops.AT and _is_at(state.argument, text, index)):
            fresh = set(state.then) - found
            found |= fresh
            waiting += fresh
    return found


def _is_at(place: Any, text: str, index: int) -> bool:
    if place in (ops.AT_BEGINNING, ops.AT_BEGINNING_STRING):
        return index == 0
    if place is ops.AT_END:
        return index == len(text)
    inside, outside = (bool(_WORD.fullmatch(text[at : at + 1])) for at in (index, max(index - 1, 0)))
    return (inside != (outside and index > 0)) == (place is ops.AT_BOUNDARY)


def _reads(state: _State, char: str) -> bool:
    if not state.any_case:
        return _is(state.op, state.argument, char)
    return any(_is(state.op, state.argument, each) for each in (char, char.lower(), char.upper()))


def _is(op: Any, argument: Any, char: str) -> bool:
    if op is ops.IN:
        negated = argument[0][0] is ops.NEGATE
        return any(_is(inner, what, char) for inner, what in argument[negated:]) != negated
    if op is ops.LITERAL:
        return ord(char) == argument
    if op is ops.NOT_LITERAL:
        return ord(char) != argument
    if op is ops.RANGE:
        return argument[0] <= ord(char) <= argument[1]
    return op is ops.ANY or bool(_CATEGORIES[argument].fullmatch(char))
