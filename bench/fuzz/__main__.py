"""``make bench-fuzz``: requests by the thousand, made from the OpenAPI document, good and bad ones; needs the stack up.

Every answer is checked: never 5xx, its status and media type described, its body and headers as the schema says. Ends
with 1 when one was not, and shows how to send it again. The same cases can be drawn again with ``--seed``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import requests
import schemathesis
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from bench.keep import keep

CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
TIMEOUT_S = 30.0


def main() -> int:
    """Run, print one line, write the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="at least so many requests (default 10,000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gateway", default="http://127.0.0.1:8080")
    parser.add_argument("--issuer", default="http://127.0.0.1:8190")
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args()
    figures, failures = fuzz(options.gateway, options.issuer, options.cases, options.seed)
    for failure in failures[:10]:
        sys.stderr.write(f"{failure}\n\n")
    sys.stdout.write(json.dumps(figures) + "\n")
    if not options.no_write:
        keep("fuzz", figures)
    return 1 if failures else 0


def fuzz(gateway: str, issuer: str, cases: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Send at least ``cases`` requests; the figures, and what went wrong with how to repeat it."""
    schema = schemathesis.openapi.from_dict(requests.get(f"{gateway}/openapi.json", timeout=TIMEOUT_S).json())
    operations = [found.ok() for found in schema.get_all_operations()]
    identities = dict(_identities(issuer))
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    each = -(-cases // (len(operations) * len(identities) * len(modes)))
    session = requests.Session()
    statuses: Counter[str] = Counter()
    failures: list[str] = []
    started = time.monotonic()

    def send(case: schemathesis.Case, who: str) -> None:
        answer = case.call(base_url=gateway, session=session, headers=identities[who], timeout=TIMEOUT_S)
        statuses[str(answer.status_code)] += 1
        try:
            case.validate_response(answer, checks=CHECKS, headers=identities[who])
        except (FailureGroup, schemathesis.core.failures.Failure) as failure:
            failures.append(f"{case.method} {case.formatted_path} as {who}: {_words(failure)}")

    for operation in operations:
        for who in identities:
            for mode in modes:
                _draw(operation.as_strategy(generation_mode=mode), each, seed, lambda case, who=who: send(case, who))
    figures = {
        "cases": statuses.total(),
        "operations": len(operations),
        "identities": list(identities),
        "server_errors": sum(count for status, count in statuses.items() if status >= "500"),
        "violations": len(failures),
        "statuses": dict(sorted(statuses.items())),
        "seconds": round(time.monotonic() - started, 1),
        "seed": seed,
    }
    return figures, failures


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


def _identities(issuer: str) -> Iterator[tuple[str, dict[str, str]]]:
    yield "nobody", {}
    for who, body in (("user", {"user_id": 7}), ("service", None)):
        answer = requests.post(f"{issuer}/development/{who}-token", json=body, timeout=TIMEOUT_S)
        yield who, {"Authorization": f"Bearer {answer.json()['access_token']}"}


def _words(failure: BaseException) -> str:
    inner = failure.exceptions if isinstance(failure, FailureGroup) else [failure]
    return "; ".join(str(one)[:600] for one in inner)


if __name__ == "__main__":
    sys.exit(main())
