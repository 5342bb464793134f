"""A folder of definitions → promises, policies, and whom to tell.

Owns which files belong to it, and that every problem of every file is reported at once.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from slo.alerting import Target
from slo.budget import BudgetPolicy
from slo.errors import MOST_PROBLEMS, DefinitionErrors, Location, Problem, TooManyProblems
from slo.model import Promise, WindowTable
from slo.parse.catalogue import Catalogue
from slo.parse.kinds import KINDS
from slo.parse.nodes import LARGEST_FILE_BYTES, parse_nodes
from slo.parse.openslo import refuse_shared_names
from slo.parse.policies import refuse_conflicts
from slo.parse.service import refuse_rings
from slo.parse.windows import table_for
from slo.scaling import ScalingPolicy


@dataclass(frozen=True)
class Definitions:
    """Everything that a folder says, each kind sorted by name."""

    promises: tuple[Promise, ...]
    targets: tuple[Target, ...] = ()
    scaling: tuple[ScalingPolicy, ...] = ()
    budgets: tuple[BudgetPolicy, ...] = ()
    unused: tuple[Problem, ...] = ()  # documents that are there only to be referred to, and are not


def parse_definitions(definitions: Path, table_for: Callable[[timedelta], WindowTable] = table_for) -> Definitions:
    """All that a folder and its sub-folders say. Raises DefinitionErrors."""
    catalogue = parse_catalogue(definitions, table_for)
    kinds = ("AlertNotificationTarget", "ScalingPolicy", "BudgetPolicy")
    found = (tuple(catalogue.of(kind).values()) for kind in kinds)
    return Definitions(promises_of(catalogue), *found, unused=tuple(_unused(catalogue)))


def _unused(catalogue: Catalogue) -> Iterator[Problem]:
    on_its_own = {target.name for target in catalogue.of("AlertNotificationTarget").values() if target.on_its_own}
    for kind in ("SLI", "AlertPolicy", "AlertCondition", "AlertNotificationTarget"):
        for name, at in catalogue.unreferred(kind).items():
            if kind != "AlertNotificationTarget" or name not in on_its_own:
                what = f"nothing refers to the {kind} {name!r}, so it does nothing"
                yield Problem(at, "metadata.name", "never-used", what, "Refer to it, or remove it")


SUFFIXES = (".yaml", ".yml")


def parse_tree(definitions: Path, table_for: Callable[[timedelta], WindowTable] = table_for) -> tuple[Promise, ...]:
    """The promises of a folder and its sub-folders, sorted by name. Raises DefinitionErrors."""
    return promises_of(parse_catalogue(definitions, table_for))


def promises_of(catalogue: Catalogue) -> tuple[Promise, ...]:
    """The promises of all SLOs, sorted by name."""
    found = (promise for promises in catalogue.of("SLO").values() for promise in promises)
    return tuple(sorted(found, key=lambda promise: promise.name))


def parse_catalogue(definitions: Path, table_for: Callable[[timedelta], WindowTable] = table_for) -> Catalogue:
    """Every document of `*.yaml` and `*.yml`, by kind and name, with at least one SLO. Raises DefinitionErrors."""
    catalogue, collecting = Catalogue(KINDS, table_for), gc.isenabled()
    gc.disable()  # documents hold no rings, and the collector would walk all of them again and again
    try:
        return _read_all(definitions, catalogue)
    except TooManyProblems:
        what = f"more than {MOST_PROBLEMS:,} errors; the rest was not looked for"
        problem = Problem(Location(str(definitions)), "", "too-many-problems", what, "Correct these first")
        raise DefinitionErrors([*catalogue.problems, problem]) from None
    finally:
        if collecting:
            gc.enable()


def _read_all(definitions: Path, catalogue: Catalogue) -> Catalogue:
    files = sorted(path for path in definitions.rglob("*") if path.suffix in SUFFIXES and not path.is_dir())
    if not files:
        problem = Problem(Location(str(definitions)), "", "no-definitions", "no *.yaml here", "Name another folder")
        raise DefinitionErrors([problem])
    for path in files:
        shown = str(path)
        try:
            if not path.is_file():
                raise OSError(0, "it is no file, or a link that leads nowhere")
            with path.open("rb") as file:
                data = file.read(LARGEST_FILE_BYTES + 1)
        except OSError as error:
            problem = Problem(
                Location(shown), "", "unreadable", f"cannot be read ({error.strerror})", "Look at it and its mode"
            )
            catalogue.problems.append(problem)
            catalogue.incomplete = True
            continue
        documents, problems = parse_nodes(data, shown)
        catalogue.problems.extend(problems)
        for document in documents:
            catalogue.add(document)
    catalogue.read()
    promises = promises_of(catalogue)
    refuse_shared_names(promises, catalogue.problems)
    refuse_rings(catalogue.of("Service"), catalogue.problems)
    refuse_conflicts(catalogue.of("ScalingPolicy").values(), catalogue.problems)
    if not promises and not catalogue.problems:
        problem = Problem(Location(str(definitions)), "", "no-definitions", "no SLO here", "Add a document of kind SLO")
        catalogue.problems.append(problem)
    if catalogue.problems:
        raise DefinitionErrors(catalogue.problems)
    return catalogue
