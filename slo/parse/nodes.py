"""YAML text → nodes that know their line and column.

Owns the guard against hostile input: size, number and depth of nodes, anchors and aliases, tags, duplicate keys, bytes
that are not UTF-8. It reads libyaml's event stream with a stack of its own, because composing first would already have
recursed and expanded. Scalars stay text: only the reader of a field knows whether `1.0` is a number or a version.
What is wrong with one value is a problem beside the rest of the file; only what makes the rest unreadable ends it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from slo.errors import Location, Problem

LARGEST_FILE_BYTES = 2 * 1024 * 1024  # 1,000 objectives are about 0.7 MB
MOST_NODES = 60_000  # some 800 SLOs; as many are read in half a second, in two on a machine that is four times as busy
DEEPEST_NESTING = 32  # OpenSLO needs 11

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN_TAGS = {"!", *(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "map", "seq"))}


@dataclass(slots=True)
class Scalar:
    """A text and whether it stood there without quotes (only then can it mean null)."""

    at: Location
    text: str
    bare: bool

    @property
    def is_null(self) -> bool:
        return self.bare and self.text in ("", "~", "null", "Null", "NULL")


@dataclass(slots=True)
class Sequence:
    """A list of nodes."""

    at: Location
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Mapping:
    """Keys in the order of the file, each with the place of the key and its value."""

    at: Location
    entries: dict[str, tuple[Location, Node]] = field(default_factory=dict)


@dataclass(slots=True)
class Unread:
    """Where a value would stand, or the rest of a file, that is not read, and why."""

    at: Location
    problem: Problem


Node = Scalar | Sequence | Mapping | Unread


class _Refused(Exception):
    def __init__(self, at: Location, code: str, what: str, remedy: str) -> None:
        self.problem = Problem(at, "", code, what, remedy)


def parse_nodes(data: bytes, file: str) -> tuple[list[Node], list[Problem]]:
    """All documents of a file and what is wrong with it. Where it cannot be read further, its last document is none."""
    documents: list[Node] = []
    problems: list[Problem] = []
    text = ""
    try:
        text = _decode(data, file)
        documents.extend(_documents(text, file, problems))
        return documents, problems
    except _Refused as refused:
        problem = refused.problem
    except yaml.MarkedYAMLError as error:
        at = _location(error.problem_mark or error.context_mark, file)
        what = " ".join(f"not YAML: {error.problem or error.context}".split())
        problem = Problem(at, "", "yaml-syntax", what, "Correct the syntax at this place")
    except yaml.YAMLError as error:
        position = getattr(error, "position", None)
        at = _place(text.encode(), position, file) if isinstance(position, int) else Location(file)
        what = "not YAML: " + (getattr(error, "reason", "") or " ".join(str(error).split())[:200])
        problem = Problem(at, "", "yaml-syntax", what, "Save the file as plain UTF-8 text")
    return [*documents, Unread(problem.at, problem)], [*problems, problem]


def _location(mark: Any, file: str) -> Location:
    return Location(file, mark.line + 1, mark.column + 1) if mark else Location(file)


def _place(data: bytes, offset: int, file: str) -> Location:
    """Where a byte stands."""
    line = data[:offset].rpartition(b"\n")[2]
    return Location(file, data.count(b"\n", 0, offset) + 1, len(line.decode("utf-8", "replace")) + 1)


def _decode(data: bytes, file: str) -> str:
    if len(data) > LARGEST_FILE_BYTES:
        what = f"the file has more than the {LARGEST_FILE_BYTES:,} bytes that are read"
        raise _Refused(Location(file), "yaml-size", what, "Split it into several files")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = _place(data, error.start, file)
        what = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise _Refused(at, "yaml-encoding", what, "Save the file as UTF-8") from None


def _documents(text: str, file: str, problems: list[Problem]) -> Iterator[Node]:
    """Build nodes from events. `open_nodes` is the path from the root; a mapping's pending key lies beside it."""
    open_nodes: list[Sequence | Mapping] = []
    keys: list[Node | None] = []
    count = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionEndEvent):
            node: Node = open_nodes.pop()
            keys.pop()
            if not open_nodes:
                yield node
            continue
        if isinstance(event, yaml.NodeEvent):
            at = _location(event.start_mark, file)
            problems.extend(_anchors_and_tags(event, at))
        elif isinstance(event, yaml.DocumentStartEvent):
            at = Location(file)
        else:
            continue
        count += 1
        if count > MOST_NODES:
            raise _Refused(at, "yaml-size", f"more than {MOST_NODES:,} values", "Split the file into several")
        if isinstance(event, yaml.DocumentStartEvent):
            continue
        node = Unread(at, problems[-1]) if isinstance(event, yaml.AliasEvent) else _node(event, at)
        if open_nodes:
            problems.extend(_attach(node, open_nodes[-1], keys))
        elif isinstance(node, Scalar | Unread):
            yield node
        if isinstance(node, (Sequence, Mapping)):
            open_nodes.append(node)
            keys.append(None)
            if len(open_nodes) > DEEPEST_NESTING:
                what = f"nested more than {DEEPEST_NESTING} levels deep"
                raise _Refused(at, "yaml-depth", what, "No definition needs that; flatten it")


def _node(event: yaml.NodeEvent, at: Location) -> Node:
    if isinstance(event, yaml.ScalarEvent):
        return Scalar(at, event.value, bare=event.implicit[0])
    return Sequence(at) if isinstance(event, yaml.SequenceStartEvent) else Mapping(at)


def _attach(node: Node, parent: Sequence | Mapping, keys: list[Node | None]) -> Iterator[Problem]:
    """Give a node its place. Of two values of one key the first stays, and that of a key that is no text has none."""
    if isinstance(parent, Sequence):
        parent.items.append(node)
        return
    key = keys[-1]
    if key is not None:
        if isinstance(key, Scalar):
            parent.entries.setdefault(key.text, (key.at, node))
        keys[-1] = None
        return
    keys[-1] = node
    if not isinstance(node, Scalar):
        yield Problem(node.at, "", "yaml-key", "a key that is a list or a mapping", "Write the key as plain text")
    elif node.text in parent.entries:
        first = parent.entries[node.text][0]
        what = f"the key {node.text[:60]!r} stands here a second time (first in line {first.line})"
        yield Problem(node.at, "", "yaml-duplicate-key", what, "Remove one of the two")


def _anchors_and_tags(event: yaml.NodeEvent, at: Location) -> Iterator[Problem]:
    tag = getattr(event, "tag", None)  # an alias has none
    if tag is not None and tag not in _PLAIN_TAGS:
        yield Problem(at, "", "yaml-tag", f"the tag {tag[:60]!r} is not read", "Remove the tag")
    if event.anchor is not None:
        what = "anchors and aliases are not read, since they can expand without bound"
        yield Problem(at, "", "yaml-alias", what, "Write the value out")
