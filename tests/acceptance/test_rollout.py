"""A good and a bad version on the running stack: the one is promoted, the other comes back by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from incidents.drive import Job, Step
from tests.acceptance.backends import Backends, eventually
from tests.conftest import ROOT, Stack

pytestmark = pytest.mark.timeout(900)  # a canary is watched until there are events enough to judge it

VERSIONS = 'count by (service_version) (signalbox_build_info{job="api"} and on (instance) up{job="api"} == 1)'
# Budgets may be spent by whatever ran before; that is `slo gate`'s test.
ANYWAY = ("--exception", "severity-1-fix", "--reason", "a test of the rollout itself", "--slo", "checkout-availability")


@contextmanager
def orders(stack: Stack, per_s: float) -> Iterator[None]:
    """People who buy, until the end of this block."""
    job = Job(stack.urls["gateway"], {"create_order": 1}, (Step(per_s),), 1, 600, stack.urls["issuer"])
    load = subprocess.Popen(
        [sys.executable, "-m", "incidents.drive"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert load.stdin
    try:
        load.stdin.write(job.emit() + "\n")
        load.stdin.flush()
        yield
    finally:
        load.stdin.close()  # it ends by itself then
        load.wait(timeout=30)


def rollout(stack: Stack, version: str, *words: str) -> tuple[int, dict[str, Any]]:
    done = stack.signalbox("rollout", version, *words, *ANYWAY, "--json", timeout_s=900)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def versions(backends: Backends) -> set[str]:
    return {sample["metric"]["service_version"] for sample in backends.query(VERSIONS)}


def test_a_bad_version_is_seen_and_comes_back(stack: Stack, backends: Backends) -> None:
    (before,) = versions(backends)
    with orders(stack, per_s=6):
        defect = ("--set", "SIGNALBOX_DEFECT=response-defect", "--set", "SIGNALBOX_DEFECT_PERCENT=60")
        code, document = rollout(stack, "9.9.0-bad", *defect, "--patience", "180")
    assert (code, document["outcome"], document["version"]) == (1, "rolled back", before), document
    assert "of the canary's events are bad" in document["reason"]
    eventually(lambda: versions(backends) == {before}, "the old version alone", within_s=30)
    lines = backends.logs('{service_name="rollout"} | rollout_version="9.9.0-bad"')
    assert lines, "the rollout is not in Loki"


def test_a_good_version_is_promoted_to_every_replica(stack: Stack, backends: Backends) -> None:
    (before,) = versions(backends)
    try:
        with orders(stack, per_s=12):
            code, document = rollout(stack, "9.9.1", "--watch", "20", "--patience", "300")
        assert (code, document["outcome"]) == (0, "promoted"), document
        eventually(lambda: versions(backends) == {"9.9.1"}, "the new version alone", within_s=30)
    finally:
        with orders(stack, per_s=12):
            rollout(stack, before, "--watch", "20", "--patience", "300")
