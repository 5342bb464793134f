"""What can be wrong with a definition, and where: a located problem, and the exception that carries all of them.

Owns the shape of an error message. Refuses to know what was being read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a file as an editor counts: lines and columns start at 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


NOWHERE = Location("")  # of what was not read from a file


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing to put right: where, which field, what is wrong with it and what to do."""

    at: Location
    field: str
    code: str
    what: str
    remedy: str

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        return f"{self.at}: {field}{self.what}. {self.remedy}. [{self.code}]"


MOST_PROBLEMS = 5_000  # nobody reads more, and a file that was made to have a million of them ends in time


class TooManyProblems(Exception):
    """No further problem is taken."""


class Problems(list[Problem]):
    """Problems while they are collected. Raises TooManyProblems beyond MOST_PROBLEMS."""

    def append(self, problem: Problem) -> None:
        if len(self) >= MOST_PROBLEMS:
            raise TooManyProblems
        super().append(problem)

    def extend(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.append(problem)


class DefinitionErrors(Exception):
    """Everything that is wrong with a tree of definitions, in the order of file, line and column."""

    def __init__(self, errors: Iterable[Problem]) -> None:
        self.errors: tuple[Problem, ...] = tuple(sorted(set(errors)))
        super().__init__("\n".join(str(error) for error in self.errors))
