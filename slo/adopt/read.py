"""Files of other tools → what was adopted: which format a document has, and whether our own parser accepts the result.

Owns the recognition of formats and the last word of our parser. Refuses to know any format's fields.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from slo.adopt.document import NOT_CONVERTIBLE, Adopted, Defaults
from slo.adopt.pyrra import API as PYRRA
from slo.adopt.pyrra import read_pyrra
from slo.adopt.sloth import FILE_VERSION, KUBERNETES, read_sloth
from slo.errors import DefinitionErrors, Location, Problem
from slo.parse.fields import Fields
from slo.parse.nodes import LARGEST_FILE_BYTES, Mapping, Node, Scalar, Unread, parse_nodes
from slo.parse.tree import parse_tree

KNOWN = "Sloth (version: prometheus/v1, or kind PrometheusServiceLevel) or Pyrra (kind ServiceLevelObjective)"


def read_files(paths: Iterable[Path], defaults: Defaults) -> Adopted:
    """Read files of any known format, several documents each. All problems are in the result."""
    adopted = Adopted()
    for path in paths:
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST_FILE_BYTES + 1)
        except OSError as error:
            what = f"cannot be read ({error.strerror})"
            adopted.problems.append(
                Problem(Location(str(path)), "", "unreadable", what, "Name a file that can be read")
            )
            continue
        documents, problems = parse_nodes(data, str(path))
        adopted.problems += problems
        for document in documents:
            if isinstance(document, Unread):
                continue
            _read(document, adopted, defaults)
    _judge(adopted)
    return adopted


def _read(document: Node, adopted: Adopted, defaults: Defaults) -> None:
    if isinstance(document, Scalar) and document.is_null:
        return
    if not isinstance(document, Mapping):
        adopted.problems.append(Problem(document.at, "", NOT_CONVERTIBLE, "is no SLO", f"Known are {KNOWN}"))
        return
    root = Fields(document, "", adopted.problems)
    form = tuple(_text(document, key) for key in ("apiVersion", "kind"))
    if _text(document, "version") == FILE_VERSION or form == KUBERNETES:
        read_sloth(root, adopted, defaults)
    elif form == PYRRA:
        read_pyrra(root, adopted, defaults)
    else:
        what = f"the format {' '.join(filter(None, form)) or 'of this document'!r} is not known"
        adopted.problems.append(Problem(document.at, "", NOT_CONVERTIBLE, what, f"Known are {KNOWN}"))


def _text(document: Mapping, key: str) -> str:
    entry = document.entries.get(key)
    return entry[1].text if entry and isinstance(entry[1], Scalar) else ""


def _judge(adopted: Adopted) -> None:
    """Leave out, with the reason, what our own parser refuses."""
    while adopted.slos:
        with tempfile.TemporaryDirectory(prefix="slo-import-") as folder:
            for name, text in adopted.files().items():
                (Path(folder) / name).write_text(text)
            try:
                parse_tree(Path(folder))
                return
            except DefinitionErrors as found:
                refused = {Path(problem.at.file).stem: problem for problem in found.errors}
        for name, problem in refused.items():
            what = f"{name} would be refused: {problem.what}"
            place = adopted.places.get(name, Location(name))
            adopted.problems.append(Problem(place, problem.field, NOT_CONVERTIBLE, what, problem.remedy))
            adopted.slos.pop(name, None)
        if not set(refused) - {"services"}:
            adopted.slos.clear()
