"""The text of a scrape in pieces: as one, valid, and never holding the loop."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from starlette.applications import Starlette

from service.telemetry import exposition, instrument
from service.telemetry.runtime import ProcessFigures

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Gauge("nothing_yet", "No child.", ["a"], registry=made)
    few = Counter("few", "A help\nof # lines.", ["a"], registry=made)
    many = Histogram("many_seconds", "A large family.", ["a"], registry=made)
    for number in range(2 * exposition.PIECE):
        few.labels(f"# {number}\n").inc()
        many.labels(str(number)).observe(number / 10, {"trace_id": f"{number:032x}"})
    return made


@pytest.mark.parametrize("accept", [OPENMETRICS, "text/plain; version=0.0.4", "text/plain; version=1.0.0", ""])
def test_the_pieces_are_the_very_text_that_the_library_writes(registry: CollectorRegistry, accept: str) -> None:
    pieces, content_type = exposition.write(registry, accept)
    encode, expected_type = choose_encoder(accept)
    assert (b"".join(pieces), content_type) == (encode(registry), expected_type)


def test_no_piece_of_openmetrics_is_large(registry: CollectorRegistry) -> None:
    pieces = list(exposition.write(registry, OPENMETRICS)[0])
    assert len(pieces) > 20
    samples = [sum(not line.startswith(b"#") for line in piece.splitlines()) for piece in pieces]
    assert max(samples) == exposition.PIECE
    families = list(text_string_to_metric_families(b"".join(pieces).decode()))
    assert sum(len(family.samples) for family in families) == sum(samples)


async def test_others_go_on_while_a_scrape_is_written() -> None:
    app = Starlette()
    telemetry = instrument(app, service_name="tested")
    for number in range(500):
        telemetry.instruments.http_client_duration.labels(f"peer-{number}", "a", "GET", "200", "success").observe(0.1)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as http:
        await http.get("/metrics")
        going_on = asyncio.create_task(others())
        answer = await http.get("/metrics", headers={"accept": OPENMETRICS})
        going_on.cancel()
    samples = answer.text.count("\n")
    assert samples > 5_000
    assert turns > samples / exposition.PIECE / 2


async def test_the_figures_of_the_process_are_read_aside_and_told_once() -> None:
    figures = ProcessFigures()
    await figures.read()
    first = figures.collect()
    assert {"process_open_fds", "process_cpu_seconds"} <= {family.name for family in first}
    assert figures.collect() is not first, "what nobody has read anew is looked at again"
