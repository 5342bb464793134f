"""Reading the fields of a mapping: each read either gives a value or files a located problem.

Owns "missing", "unknown", "of the wrong form" and what to do about each. Refuses to know which fields there are.
A reader asks for every field that it understands and then calls `done()`, which reports all others, so that nothing
is dropped in silence.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TypeVar

from slo.errors import Location, Problem
from slo.parse.nodes import Mapping, Node, Scalar, Sequence, Unread

LONGEST_TEXT = 4_000  # OpenSLO allows descriptions of 1,050 characters, queries have no limit
LONGEST_NUMBER = 20
LONGEST_LIST = 1_000
LONGEST_WORD = 253

T = TypeVar("T")

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123, as OpenSLO asks
NAME_FORM = "a name of at most 63 lower-case letters, digits and dashes, no dash at its ends"
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")  # not 0.9_9, not ٠.٩
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


class Fields:
    """One mapping under its path; problems go to a list that all readers of a tree share."""

    def __init__(self, node: Mapping, path: str, problems: list[Problem]) -> None:
        self._node = node
        self._path = path
        self._problems = problems
        self._known: set[str] = set()

    @property
    def at(self) -> Location:
        return self._node.at

    def place(self, key: str) -> Location:
        """Where a field's value stands, or the mapping if the field is not there."""
        entry = self._node.entries.get(key)
        return entry[1].at if entry else self._node.at

    def path(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def has(self, key: str) -> bool:
        """Whether the field is there and not null."""
        entry = self._node.entries.get(key)
        return entry is not None and not (isinstance(entry[1], Scalar) and entry[1].is_null)

    def names(self) -> list[str]:
        """The keys in the order of the file."""
        return list(self._node.entries)

    def problem(self, key: str, code: str, what: str, remedy: str) -> None:
        """File a problem at a field of this mapping."""
        self._problems.append(Problem(self.place(key), self.path(key), code, what, remedy))

    def leave(self, key: str, code: str, what: str, remedy: str) -> None:
        """File a problem if a field is there that is known and not used."""
        self._known.add(key)
        if self.has(key):
            self.problem(key, code, what, remedy)

    def text(self, key: str, *, required: bool = True, default: str = "") -> str:
        """A text in one paragraph; problems give the default."""
        node = self._value(key, required)
        if node is None:
            return default
        if not isinstance(node, Scalar):
            self.problem(key, "field-form", f"expected a text, found a {_kind(node)}", "Write one text")
            return default
        if len(node.text) > LONGEST_TEXT:
            self.problem(key, "field-form", f"more than {LONGEST_TEXT:,} characters", "Shorten the text")
            return default
        if found := _CONTROL.search(node.text):
            what = f"contains the control character U+{ord(found[0]):04X}"
            self.problem(key, "field-form", what, "Remove it")
            return default
        return node.text.strip()

    def name(self, key: str, *, required: bool = True) -> str:
        """A name that is safe in labels, file names and alert names."""
        return self.parsed(key, _parse_name, required=required) or ""

    def parsed(self, key: str, parse: Callable[[str], T], *, required: bool = True) -> T | None:
        """A text through a parser whose ValueError says what is wrong."""
        count = len(self._problems)
        text = self.text(key, required=required)
        if len(self._problems) > count or not self.has(key):
            return None
        try:
            return parse(text)
        except ValueError as error:
            what, _, remedy = str(error).partition("; ")
            self.problem(key, "field-form", what, (remedy or "correct it")[:1].upper() + (remedy or "correct it")[1:])
            return None

    def number(self, key: str, *, required: bool = True) -> Decimal | None:
        """An exact decimal number."""
        return self.parsed(key, parse_number, required=required)

    def choice(self, key: str, options: Iterable[str], *, default: str | None = None) -> str | None:
        """One of a few words."""
        text = self.text(key, required=default is None)
        options = list(options)
        if not text:
            return default
        if text not in options:
            remedy = f"Use {_any_of(options)}{_closest(text, options)}"
            self.problem(key, "field-form", f"{text[:60]!r} is not known here", remedy)
            return default
        return text

    def mapping(self, key: str, *, required: bool = True) -> Fields | None:
        """A nested mapping."""
        node = self._value(key, required)
        if node is None:
            return None
        return self._as_fields(node, self.path(key))

    def mappings(self, key: str, *, required: bool = True) -> list[Fields]:
        """A list of mappings."""
        node = self._value(key, required)
        if node is None:
            return []
        if not isinstance(node, Sequence):
            self.problem(key, "field-form", f"expected a list, found a {_kind(node)}", "Write a list (`- …`)")
            return []
        if len(node.items) > LONGEST_LIST:
            self.problem(key, "field-form", f"has more than {LONGEST_LIST:,} entries", "Split it")
        found = (
            self._as_fields(item, f"{self.path(key)}[{index}]") for index, item in enumerate(node.items[:LONGEST_LIST])
        )
        return [fields for fields in found if fields]

    def texts(self, key: str) -> list[str]:
        """One text, or a list of texts, as labels have them."""
        node = self._value(key, required=False)
        if not isinstance(node, Sequence):
            return [self.text(key, required=False)] if node is not None else []
        items = Mapping(node.at, {f"{key}[{index}]": (item.at, item) for index, item in enumerate(node.items)})
        inner = Fields(items, self._path, self._problems)
        return [inner.text(name) for name in inner.names()]

    def words(self, key: str) -> list[str]:
        """One word or a list of them, each once; none if the field is not there."""
        node = self._value(key, required=False)
        if isinstance(node, Sequence):
            if all(isinstance(item, Scalar) for item in node.items):
                return list(dict.fromkeys(item.text.strip() for item in node.items if isinstance(item, Scalar)))
            self.problem(key, "field-form", "expected a word or a list of words", "Write one, or [one, another]")
            return []
        return [text] if (text := self.text(key, required=False)) else []

    def listed(self, key: str, *, required: bool = True) -> list[str]:
        """A list of words, each once; at least one if the field is there."""
        node = self._value(key, required)
        if node is None:
            return []
        items = node.items if isinstance(node, Sequence) else []
        texts = [item.text for item in items if isinstance(item, Scalar) and len(item.text) <= LONGEST_WORD]
        if not texts or len(texts) < len(items) or len(texts) > LONGEST_LIST:
            what = f"expected a list of names, {LONGEST_LIST} at most"
            self.problem(key, "field-form", what, "Write [one, another]")
            return []
        if len(set(texts)) < len(texts):
            self.problem(key, "field-form", "names something twice", "Name each of them once")
        return list(dict.fromkeys(texts))

    def refuse(self, key: str, what: str, remedy: str) -> bool:
        """File a problem if a field is there that is known but not executed; says whether it is."""
        self._known.add(key)
        if self.has(key):
            self.problem(key, "not-executable", what, remedy)
        return self.has(key)

    def done(self) -> None:
        """Report every field that nobody asked for."""
        for key, (at, _) in self._node.entries.items():
            if key not in self._known:
                remedy = f"Remove it or correct its name{_closest(key, self._known)}"
                self._problems.append(Problem(at, self.path(key[:60]), "field-unknown", "unknown field", remedy))

    def _value(self, key: str, required: bool) -> Node | None:
        self._known.add(key)
        if self.has(key):
            node = self._node.entries[key][1]
            if isinstance(node, Unread):
                self._problems.append(node.problem)  # again, so that the reader knows
                return None
            return node
        if required:
            self.problem(key, "field-missing", "is missing", "Add it")
        return None

    def _as_fields(self, node: Node, path: str) -> Fields | None:
        if isinstance(node, Unread):
            self._problems.append(node.problem)
            return None
        if isinstance(node, Mapping):
            return Fields(node, path, self._problems)
        what = f"expected a mapping, found a {_kind(node)}"
        self._problems.append(Problem(node.at, path, "field-form", what, "Write `key: value` lines"))
        return None


def parse_number(text: str) -> Decimal:
    """An exact decimal. Raises ValueError; refuses numbers so long that they can only be meant to harm."""
    number = Decimal(text if len(text) <= LONGEST_NUMBER and _NUMBER.fullmatch(text) else "NaN")
    if not number.is_finite() or abs(number.adjusted()) > LONGEST_NUMBER:
        raise ValueError(f"{text[:LONGEST_NUMBER]!r} is not a number; write a plain decimal number such as 0.999")
    return number


def _parse_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(f"{text[:70]!r} is not a usable name; choose {NAME_FORM}")
    return text


def _kind(node: Node) -> str:
    return {Scalar: "text", Sequence: "list", Mapping: "mapping", Unread: "reference"}[type(node)]


def _any_of(options: list[str]) -> str:
    return options[0] if len(options) == 1 else f"{', '.join(options[:-1])} or {options[-1]}"


def _closest(word: str, options: Iterable[str]) -> str:
    close = difflib.get_close_matches(word[:60], list(options), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
