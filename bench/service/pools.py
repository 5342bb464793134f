"""Connection pools as the replicas tell of them: who waits for a connection, and how long.

CPU time does not show a pool that is full: those who wait use none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

WAIT, MOST = "db_client_connection_wait_time_seconds", "db_client_connection_max"
POOL = "db_client_connection_pool_name"


@dataclass
class Pool:
    """Since the start, all replicas together: seconds waited, by how many; and how many connections there may be."""

    waited_s: float = 0.0
    waits: float = 0.0
    most: float = 0.0


def read(pages: Iterable[str]) -> dict[str, Pool]:
    """By name, from the replicas' pages of metrics."""
    pools: dict[str, Pool] = defaultdict(Pool)
    for page in pages:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name == f"{WAIT}_sum":
                    pools[sample.labels[POOL]].waited_s += sample.value
                elif sample.name == f"{WAIT}_count":
                    pools[sample.labels[POOL]].waits += sample.value
                elif sample.name == MOST:
                    pools[sample.labels[POOL]].most += sample.value
    return dict(pools)


def ask(urls: Iterable[str]) -> dict[str, Pool]:
    """Of the servers at ``urls``; who has no page of metrics, like the plain variant, tells nothing."""
    answers = [httpx.get(f"{url}/metrics", timeout=10) for url in urls]
    return read(answer.text for answer in answers if answer.is_success)


def between(before: Mapping[str, Pool], after: Mapping[str, Pool], took_s: float) -> dict[str, dict[str, Any]]:
    """``wait_ms``: the mean for one connection. ``waiting``: how many did at a time, on average (Little's law)."""
    found = {}
    for name, now in after.items():
        then = before.get(name, Pool())
        waited_s, waits = now.waited_s - then.waited_s, now.waits - then.waits
        found[name] = {
            "wait_ms": round(waited_s / waits * 1000, 2) if waits else 0.0,
            "waiting": round(waited_s / took_s, 2),
            "most": int(now.most),
        }
    return found
