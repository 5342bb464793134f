"""A folder of definitions → promises.

Owns which files belong to it, and that every problem of every file is reported at once.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from slo.errors import DefinitionErrors, Location, Problem
from slo.model import Promise, WindowTable
from slo.parse.nodes import LARGEST_FILE_BYTES, parse_nodes
from slo.parse.openslo import Catalogue
from slo.parse.windows import table_for


def parse_tree(definitions: Path, table_for: Callable[[timedelta], WindowTable] = table_for) -> tuple[Promise, ...]:
    """Read `*.yaml` and `*.yml` of a folder and its sub-folders, sorted by name. Raises DefinitionErrors."""
    catalogue = Catalogue(table_for)
    files = sorted(path for path in definitions.rglob("*") if path.suffix in (".yaml", ".yml") and path.is_file())
    if not files:
        problem = Problem(Location(str(definitions)), "", "no-definitions", "no *.yaml here", "Name another folder")
        raise DefinitionErrors([problem])
    for path in files:
        shown = str(path)
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST_FILE_BYTES + 1)
        except OSError as error:
            problem = Problem(
                Location(shown), "", "unreadable", f"cannot be read ({error.strerror})", "Look at its mode"
            )
            catalogue.problems.append(problem)
            continue
        documents, problems = parse_nodes(data, shown)
        catalogue.problems.extend(problems)
        for document in documents:
            catalogue.add(document)
    promises = catalogue.promises()
    if not promises and not catalogue.problems:
        problem = Problem(Location(str(definitions)), "", "no-definitions", "no SLO here", "Add a document of kind SLO")
        catalogue.problems.append(problem)
    if catalogue.problems:
        raise DefinitionErrors(catalogue.problems)
    return tuple(promises)
