"""Asks a target at random, by its own description, and checks every answer.

An answer is never 5xx, its status and media type are described, its body and headers are as the schema says.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import requests
import schemathesis
from schemathesis import GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from bench.fuzz.targets import TIMEOUT_S, Target

CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


@dataclass
class Found:
    """What came of it; ``failures`` are in words, each with how to repeat it."""

    operations: int
    identities: list[str]
    statuses: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def server_errors(self) -> int:
        """Answers of 5xx."""
        return sum(count for status, count in self.statuses.items() if status >= "500")

    def figures(self) -> dict[str, Any]:
        """As they are kept."""
        return {
            "cases": self.statuses.total(),
            "operations": self.operations,
            "identities": self.identities,
            "server_errors": self.server_errors,
            "violations": len(self.failures),
            "statuses": dict(sorted(self.statuses.items())),
            "seconds": round(self.seconds, 1),
        }


def fuzz(target: Target, cases: int, seed: int) -> Found:
    """Send at least ``cases`` requests: to every operation, as everybody, valid ones and invalid ones."""
    schema = schemathesis.openapi.from_dict(target.description())
    operations = [each.ok() for each in schema.get_all_operations()]
    found = Found(len(operations), list(target.identities))
    # What takes nothing cannot be asked wrongly.
    modes = [MODES if each.body or list(each.iter_parameters()) else MODES[:1] for each in operations]
    each = -(-cases // (len(target.identities) * sum(map(len, modes))))
    session, started = requests.Session(), time.monotonic()

    def send(case: schemathesis.Case, who: str) -> None:
        headers = dict(target.identities[who])
        answer = case.call(base_url=target.url, session=session, headers=headers, timeout=TIMEOUT_S)
        found.statuses[str(answer.status_code)] += 1
        try:
            case.validate_response(answer, checks=CHECKS, headers=headers)
        except (FailureGroup, Failure) as failure:
            found.failures.append(f"{target.name}: {case.method} {case.formatted_path} as {who}: {_words(failure)}")

    for operation, ways in zip(operations, modes, strict=True):
        for who in target.identities:
            for mode in ways:
                _draw(operation.as_strategy(generation_mode=mode), each, seed, lambda case, who=who: send(case, who))
    found.seconds = time.monotonic() - started
    return found


def _draw(strategy: Any, count: int, seed: int, send: Callable[[schemathesis.Case], None]) -> None:
    """Call ``send`` with ``count`` cases, drawn in rounds: a narrow strategy runs dry before a large number."""
    left = count
    for turn in range(count):

        @hypothesis.seed(seed + turn)
        @hypothesis.settings(
            max_examples=left,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(strategy)
        def ask(case: schemathesis.Case) -> None:
            nonlocal left
            left -= 1
            send(case)

        ask()
        if left <= 0:
            return


def _words(failure: BaseException) -> str:
    inner = failure.exceptions if isinstance(failure, FailureGroup) else [failure]
    return "; ".join(str(one)[:600] for one in inner)
