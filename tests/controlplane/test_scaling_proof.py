"""Autoscaling on a real control plane: the scenarios of `bench.scaling`, each with all its claims.

Runs by `pytest -m controlplane tests/controlplane`, and only where the control plane was built before (`make
prove-scaling`): otherwise it
is skipped, under CI too, since nothing of the ordinary stack is missing.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from bench.scaling.__main__ import CLOCK
from bench.scaling.ground import ground
from bench.scaling.scenarios import SCENARIOS, SHORT, Result
from stack.controlplane import programs
from stack.layout import Layout

KEDA = not programs.missing(keda=True)
MISSING = programs.missing(keda=KEDA)
pytestmark = [
    pytest.mark.controlplane,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(MISSING), reason=f"not built: {', '.join(MISSING)}. Run `make prove-scaling` once"),
]


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    """Every scenario, one after the other on one ground; the spike without the hour around it."""

    async def prove() -> dict[str, Result]:
        import threading

        found = programs.obtain(KEDA, lambda progress: None, threading.Event())
        tell = lambda what: print(what, file=sys.stderr)  # noqa: E731, T201
        async with ground(Layout.from_environment(), found, CLOCK, tell) as made:
            run: dict[str, Any] = {**SCENARIOS, "spike": lambda made, tell: SCENARIOS["spike"](made, tell, SHORT)}
            return {name: await scenario(made, tell) for name, scenario in run.items()}

    return asyncio.run(prove())


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_claim_holds(results: dict[str, Result], name: str) -> None:
    assert [f"{each.claim}: {each.seen}" for each in results[name].claims if not each.held] == []
