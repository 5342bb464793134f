"""A FastAPI application that knows nothing of Signalbox but one call.

Run it from the root of the checkout (README.md here says what to look at):

    OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 uvicorn examples.instrument.shop:build_app --factory --port 8200
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from fastapi import APIRouter, BackgroundTasks, FastAPI, HTTPException, WebSocket
from fastapi.responses import StreamingResponse
from starlette.websockets import WebSocketDisconnect

from service import telemetry

PRICES = {"tea": 3, "coffee": 4}
log = logging.getLogger("shop")
router = APIRouter(prefix="/v1")


@router.get("/prices/{article}")
async def read_price(article: str) -> int:
    """Good, or a 404 that is the client's own fault."""
    with telemetry.span("prices.find", attributes={"shop.shelf": "hot drinks"}):
        await asyncio.sleep(0.002)
        if article not in PRICES:
            raise HTTPException(404)
    return PRICES[article]


@router.post("/orders", status_code=202)
async def place_order(tasks: BackgroundTasks) -> None:
    """Answers at once; what follows is in the same trace and not in the request's duration."""
    tasks.add_task(brew)


async def brew() -> None:
    with telemetry.span("brew"):
        await asyncio.sleep(0.5)
    telemetry.event("shop.order_ready", {"shop.table": 4})


@router.get("/menu")
async def stream_menu() -> StreamingResponse:
    """A stream: its duration lasts to the last byte."""

    async def lines() -> AsyncIterator[str]:
        for article, price in PRICES.items():
            yield f"{article} {price}\n"
            await asyncio.sleep(0.1)

    return StreamingResponse(lines(), media_type="text/plain")


@router.get("/spill")
async def spill() -> None:
    """An exception that nobody turns into an answer."""
    log.warning("about to spill", extra={"shop.cup": "full"})
    raise RuntimeError("the cup was full")


@router.websocket("/bell")
async def ring(websocket: WebSocket) -> None:
    """A handshake that is counted at once, and a connection that is a span of its own."""
    await websocket.accept()
    try:
        while await websocket.receive_text():
            await websocket.send_text("coming")
    except WebSocketDisconnect:
        log.info("nobody rings any more")


def build_app() -> FastAPI:
    """The application, instrumented."""
    app = FastAPI(title="shop")
    app.include_router(router)
    telemetry.instrument(app, service_name="shop", service_version="1.0", unobserved={"/healthz"})
    return app
