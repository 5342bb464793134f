"""All documents of a tree by kind and name, and how they refer to one another.

Owns names being taken once, references being known, and the order of reading: what others refer to comes first.
Refuses to know what a kind holds: `slo.parse.kinds` lists the readers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from slo.errors import Location, Problem, Problems
from slo.parse.fields import Fields
from slo.parse.nodes import Mapping, Node, Scalar, Sequence, Unread
from slo.periods import WindowTable


@dataclass(frozen=True)
class Document:
    """One document of a kind: its name, and what stands in it. A kind that can do without a spec may have none."""

    root: Fields
    name: str
    metadata: Fields
    spec: Fields | None


@dataclass(frozen=True)
class Kind:
    """How one kind of document is read. None from `read` means that a problem was filed.

    A kind reads after all those before it in the list, whose results it finds in the catalogue.
    """

    api_version: str
    name: str
    read: Callable[[Document, Catalogue], Any]
    spec_required: bool = True


@dataclass
class Catalogue:
    """Documents while they are read, and what became of each: kind → name → result."""

    kinds: tuple[Kind, ...]
    table_for: Callable[[timedelta], WindowTable]
    problems: list[Problem] = field(default_factory=Problems)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    inline: dict[tuple[str, str], Any] = field(default_factory=dict)  # kind and name, where inline ones have one
    incomplete: bool = False  # something was not read, and may be what others refer to
    _documents: dict[str, dict[str, Document]] = field(default_factory=dict)
    _referred: set[tuple[str, str]] = field(default_factory=set)
    _places: dict[tuple[str, str], Location] = field(default_factory=dict)

    def add(self, node: Node) -> None:
        """Take one document of any kind, or a list of them. An empty one, as after a last `---`, is none."""
        if isinstance(node, Scalar) and node.is_null:
            return
        if isinstance(node, Sequence) and node.items:
            for item in node.items:
                self.add(item)
            return
        self.incomplete = not self._add(node) or self.incomplete

    def _add(self, node: Node) -> bool:
        """Take one document; whether it can be referred to."""
        if not isinstance(node, Mapping):
            if not isinstance(node, Unread):
                what = "not an OpenSLO document"
                remedy = "Write apiVersion, kind, metadata and spec"
                self.problems.append(Problem(node.at, "", "field-form", what, remedy))
            return False
        fields = Fields(node, "", self.problems)
        version = fields.choice("apiVersion", dict.fromkeys(kind.api_version for kind in self.kinds))
        if version is None:
            return False
        named = fields.choice("kind", [kind.name for kind in self.kinds if kind.api_version == version])
        kind = next((kind for kind in self.kinds if kind.name == named), None)
        if kind is None:
            return False
        metadata, spec = fields.mapping("metadata"), fields.mapping("spec", required=kind.spec_required)
        fields.done()
        name = metadata.name("name") if metadata else ""
        if metadata is None or not name:
            return False
        if self._is_new(kind.name, name, metadata):
            self._documents.setdefault(kind.name, {})[name] = Document(fields, name, metadata, spec)
        return True

    def read(self) -> None:
        """Read all documents. The results are complete only if there are no problems."""
        for kind in self.kinds:
            results = self.results.setdefault(kind.name, {})
            for name, document in sorted(self._documents.get(kind.name, {}).items()):
                readable = document.spec is not None or not kind.spec_required
                results[name] = kind.read(document, self) if readable else None

    def of(self, kind: str) -> dict[str, Any]:
        """Results of a kind by name, without those that had problems."""
        return {name: result for name, result in self.results.get(kind, {}).items() if result is not None}

    def unreferred(self, kind: str) -> dict[str, Location]:
        """The documents of a kind that nothing refers to by name, and where their names stand."""
        names = self._documents.get(kind, {})
        return {name: self._places[kind, name] for name in sorted(names) if (kind, name) not in self._referred}

    def find(self, kind: str, name: str, fields: Fields, key: str) -> Any:
        """What a field refers to by name; files a problem at it when there is no such document. None for one that
        could not be read, whose problems are filed already."""
        known = self.results.get(kind, {})
        self._referred.add((kind, name))
        if name not in known and name not in self._documents.get(kind, {}):
            remedy = f"Add a document of kind {kind}{_listed(known)}"
            where = " in what could be read" if self.incomplete else ""
            fields.problem(key, "reference-unknown", f"there is no {kind} {name!r}{where}", remedy)
        return known.get(name)

    def _is_new(self, kind: str, name: str, metadata: Fields) -> bool:
        here = metadata.place("name")
        first = self._places.setdefault((kind, name), here)
        if first != here:
            metadata.problem("name", "name-taken", f"{kind} {name!r} is already at {first}", "Choose another name")
        return first == here


def _listed(names: Iterable[str]) -> str:
    listed = ", ".join(sorted(names)[:8])
    return f"; known: {listed}" if listed else ""
