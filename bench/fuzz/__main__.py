"""``make bench-fuzz``: requests by the thousand, made from OpenAPI documents, good and bad ones; needs the stack up.

The API is asked through its gateway, payments where it listens, and an issuer that the bench starts itself. Ends with 1
when an answer was not as described, and shows how to send the request again. ``--seed`` draws the same cases again.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path

from bench.fuzz.ask import Found, fuzz
from bench.fuzz.targets import Target, api, own_issuer, payments
from bench.keep import keep
from stack.layout import Layout

TARGETS = ("api", "payments", "issuer")
# Payments and the issuer have few routes with small forms.
SMALLER = 5


def main() -> int:
    """Run, print one line a target, write the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="at least so many of the API; a fifth of the others")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=TARGETS, nargs="+", default=TARGETS)
    parser.add_argument("--gateway", default="http://127.0.0.1:8080")
    parser.add_argument("--payments", default="http://127.0.0.1:8160")
    parser.add_argument("--issuer", default="http://127.0.0.1:8190", help="of the stack; it is asked for tokens only")
    secret = Layout.from_environment().secrets / "client_secret"
    parser.add_argument("--client-secret", type=Path, default=secret, help="file; of the stack's client, for payments")
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args()
    found: dict[str, Found] = {}
    with ExitStack() as ending:
        for name in options.only:
            target = _target(name, options, ending)
            cases = options.cases if name == "api" else options.cases // SMALLER
            found[name] = fuzz(target, cases, options.seed)
            sys.stdout.write(json.dumps({name: found[name].figures()}) + "\n")
    failures = [failure for each in found.values() for failure in each.failures]
    for failure in failures[:10]:
        sys.stderr.write(f"{failure}\n\n")
    if not options.no_write:
        keep("fuzz", document(found, options.seed))
    return 1 if failures else 0


def document(found: dict[str, Found], seed: int) -> dict[str, object]:
    """All targets, and their sums."""
    return {
        "promise": 14,
        "cases": sum(each.statuses.total() for each in found.values()),
        "server_errors": sum(each.server_errors for each in found.values()),
        "violations": sum(len(each.failures) for each in found.values()),
        "seed": seed,
        "targets": {name: each.figures() for name, each in found.items()},
    }


def _target(name: str, options: argparse.Namespace, ending: ExitStack) -> Target:
    if name == "issuer":
        return ending.enter_context(own_issuer())
    if name == "api":
        return api(options.gateway, options.issuer)
    return payments(options.payments, options.issuer, options.client_secret.read_text().strip())


if __name__ == "__main__":
    sys.exit(main())
