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
from service.telemetry.telemetry import Telemetry

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


pytestmark = pytest.mark.anyio


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
    pieces, content_type = exposition.pieces(registry, accept)
    encode, expected_type = choose_encoder(accept)
    assert (b"".join(pieces), content_type) == (encode(registry), expected_type)


def test_no_piece_of_openmetrics_is_large(registry: CollectorRegistry) -> None:
    pieces = list(exposition.pieces(registry, OPENMETRICS)[0])
    assert len(pieces) > 20
    samples = [sum(not line.startswith(b"#") for line in piece.splitlines()) for piece in pieces]
    assert max(samples) == exposition.PIECE
    families = list(text_string_to_metric_families(b"".join(pieces).decode()))
    assert sum(len(family.samples) for family in families) == sum(samples)


@pytest.fixture
def telemetry() -> Telemetry:
    made = instrument(Starlette(), service_name="tested")
    for number in range(500):
        made.instruments.http_client_duration.labels(f"peer-{number}", "a", "GET", "200", "success").observe(0.1)
    return made


async def turns_of_others(telemetry: Telemetry) -> int:
    """How often somebody else had the loop while a scrape of some thousand samples was written."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    going_on = asyncio.create_task(others())
    body, _ = await exposition.write(telemetry.instruments.registry, OPENMETRICS)
    going_on.cancel()
    assert body.count(b"\n") > 5_000
    return turns


async def test_others_go_on_while_a_scrape_is_written(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "PATIENCE_S", 60.0)  # on a machine that does much else, too
    assert await turns_of_others(telemetry) > 1  # by time: a fast machine gives fewer


async def test_a_scrape_does_not_wait_for_ever_for_a_loop_that_is_full(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposition, "PATIENCE_S", 0.0)
    assert await turns_of_others(telemetry) == 0


async def test_a_scrape_over_http_is_whole() -> None:
    instrument(app := Starlette(), service_name="tested")
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as http:
        answer = await http.get("/metrics", headers={"accept": OPENMETRICS})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"process_open_fds", "http_server_active_requests", "signalbox_build_info"} <= names


async def test_the_figures_of_the_process_are_read_aside_and_told_once() -> None:
    figures = ProcessFigures()
    await figures.read()
    first = figures.collect()
    assert {"process_open_fds", "process_cpu_seconds"} <= {family.name for family in first}
    assert figures.collect() is not first, "what nobody has read anew is looked at again"
