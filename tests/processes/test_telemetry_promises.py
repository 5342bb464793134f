"""Promises 2 to 5 for some seconds each; ``python -m bench.promises`` measures them at their full length.

The collector is the real one, and it is really killed, stopped, black-holed and reset.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from bench.promises import cardinality, contexts, outage, stdout
from bench.promises.collector import find_binary
from bench.promises.figures import Figure
from stack.backends.resolve import Absent
from tests.conftest import missing_backend

pytestmark = pytest.mark.timeout(300)
# A quantile of some hundred requests is the machine's: printed here, held to its bound by the long form.
QUANTILES = ("p99 over a healthy twin's", "p99 beyond a healthy twin's, ms")


def all_hold(figures: Iterable[Figure]) -> None:
    seen = list(figures)
    print("\n".join(map(str, seen)))  # noqa: T201
    assert seen
    assert not [str(figure) for figure in seen if not figure.held and figure.what not in QUANTILES]


def test_a_collector_that_is_gone_costs_nobody_anything_and_no_span_is_uncounted(tmp_path: Path) -> None:
    try:
        binary = find_binary()
    except Absent as absent:
        missing_backend(str(absent))
    all_hold(outage.measure(binary, tmp_path, 8))


def test_a_stdout_that_nobody_reads_costs_nobody_anything_and_no_line_is_uncounted() -> None:
    all_hold(stdout.measure(6))


def test_strangers_cannot_grow_the_number_of_series() -> None:
    all_hold(cardinality.measure(10_000))


def test_hostile_contexts_break_nothing_and_force_no_span() -> None:
    all_hold(contexts.measure(5_000))
