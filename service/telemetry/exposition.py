"""What a scrape is answered with, written piece by piece, so that requests go on between.

Owns the cutting and the turns; the text itself is prometheus_client's. A process with some hundred series writes for 10
to 25 ms, and in one piece that was every request's wait once a scrape. A family's samples are still gathered in one go,
some 2 µs each.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

PIECE = 100
"""Samples that are written in one go: less than a millisecond."""
TURN_S = 0.001
"""Time of writing after which it is the others' turn."""
PATIENCE_S = 0.3
"""A loop that is full would make each of the others' turns long, and a scrape that comes too late is the one that
mattered most: after so long it is written to the end."""
_END = b"# EOF\n"


async def write(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """``(body, content type)`` of a scrape, in the format that ``accept`` asks for."""
    written, content_type = pieces(registry, accept)
    body = list[bytes]()
    begun = resumed = time.perf_counter()
    for piece in written:
        body.append(piece)
        now = time.perf_counter()
        if now - resumed > TURN_S and now - begun < PATIENCE_S:
            await asyncio.sleep(0)
            resumed = time.perf_counter()
    return b"".join(body), content_type


def pieces(registry: CollectorRegistry, accept: str) -> tuple[Iterator[bytes], str]:
    """``(pieces of the body, content type)``. Exemplars go out in OpenMetrics only, so Prometheus asks for it."""
    encode, content_type = choose_encoder(accept)
    is_openmetrics = content_type.startswith("application/openmetrics-text")

    def cut() -> Iterator[bytes]:
        for family in registry.collect():
            # The older format gathers a family's times of creation behind its samples: it is written as a whole.
            size = PIECE if is_openmetrics else max(1, len(family.samples))
            for first in range(0, max(1, len(family.samples)), size):
                text = encode(_Part(family, first, size)).removesuffix(_END)
                yield _without_head(text) if first else text
        if is_openmetrics:
            yield _END

    return cut(), content_type


class _Part(Collector):
    """A registry that holds ``size`` samples of one family: all that an encoder asks of one."""

    def __init__(self, family: Metric, first: int, size: int) -> None:
        self._part = copy.copy(family)
        self._part.samples = family.samples[first : first + size]

    def collect(self) -> Iterator[Metric]:
        yield self._part


def _without_head(text: bytes) -> bytes:
    """The samples alone: what a family is was said before its first piece."""
    while text.startswith(b"#"):
        text = text[text.index(b"\n") + 1 :]
    return text
