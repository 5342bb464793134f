"""Applications as people write them, with every way in which a request can go, for the tests of the door."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from service import telemetry

WORK_S = 0.15


class Broken(Exception):
    """What the applications of these tests raise."""


async def drip(chunks: int = 3, *, then_break: bool = False) -> AsyncIterator[bytes]:
    for _ in range(chunks):
        await asyncio.sleep(0.01)
        yield b"x"
    if then_break:
        raise Broken("in the body")


def sync_drip() -> Iterator[bytes]:
    with telemetry.span("dripping"):  # each step runs in another thread, the last one leaves the span
        yield b"x"
        yield b"y"


async def break_later() -> None:
    await asyncio.sleep(WORK_S)
    raise Broken("after the answer")


async def no_answer(scope: Any, receive: Any, send: Any) -> None:
    """An application that forgets to answer."""


class InMiddleware:
    """Pure ASGI middleware that breaks on one path."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/in-asgi-middleware":
            raise Broken("in middleware")
        await self.app(scope, receive, send)


async def in_http_middleware(request: Request, call_next: Any) -> Response:
    if request.url.path == "/in-http-middleware":
        raise Broken("in middleware")
    response: Response = await call_next(request)
    return response


async def slow(request: Request) -> Response:
    await asyncio.sleep(WORK_S)
    return PlainTextResponse("done")


async def upload(request: Request) -> Response:
    return JSONResponse(len(await request.body()))


async def stream(request: Request) -> Response:
    return StreamingResponse(drip())


async def sync_stream(request: Request) -> Response:
    return StreamingResponse(sync_drip())


async def endless(request: Request) -> Response:
    return StreamingResponse(drip(10_000))


async def broken_stream(request: Request) -> Response:
    return StreamingResponse(drip(then_break=True))


STREAMS = {"/stream": stream, "/sync-stream": sync_stream, "/endless": endless, "/broken-stream": broken_stream}


async def broken_dependency() -> None:
    raise Broken("in a dependency")


async def broken_exit() -> AsyncIterator[None]:
    yield
    raise Broken("in a dependency's exit")


def build_starlette() -> Starlette:
    """Plain Starlette: routes, a mount with parameters, an opaque mount."""

    async def thing(request: Request) -> Response:
        return JSONResponse(request.path_params)

    async def broken(request: Request) -> Response:
        raise Broken("in the handler")

    async def later(request: Request) -> Response:
        return PlainTextResponse("done", background=BackgroundTask(break_later))

    app = Starlette(
        routes=[
            Route("/things/{thing_id}", thing),
            Route("/broken", broken),
            Route("/slow", slow),
            Route("/later", later),
            *(Route(path, make) for path, make in STREAMS.items()),
            Route("/upload", upload, methods=["POST"]),
            Mount("/api/{version}", routes=[Route("/things/{thing_id}/", thing)]),
            Mount("/opaque", app=no_answer),
            WebSocketRoute("/ws/{room}", speak),
        ]
    )
    app.add_middleware(InMiddleware)
    app.add_middleware(BaseHTTPMiddleware, dispatch=in_http_middleware)
    return app


def build_fastapi() -> FastAPI:
    """FastAPI as people write it: routers in routers, dependencies, mounts, its own telemetry left on."""
    app = FastAPI()
    inner, outer = APIRouter(prefix="/things"), APIRouter(prefix="/v1")

    @inner.get("/{thing_id}")
    async def thing(thing_id: int) -> int:
        return thing_id

    @app.get("/broken")
    def broken() -> None:  # in a thread of the pool
        raise Broken("in the handler")

    @app.get("/later")
    async def later(tasks: BackgroundTasks) -> None:
        tasks.add_task(break_later)

    for path, make in STREAMS.items():
        app.get(path)(make)
    app.get("/slow")(slow)
    app.get("/in-dependency", dependencies=[Depends(broken_dependency)])(slow)
    app.get("/in-dependency-exit", dependencies=[Depends(broken_exit)])(slow)
    app.post("/upload")(upload)
    app.websocket("/ws/{room}")(speak)
    outer.include_router(inner)
    app.include_router(outer, prefix="/api")
    mounted = FastAPI()

    @mounted.get("/deep/{level}")
    async def deep(level: int) -> int:
        return level

    app.mount("/mounted", mounted)
    app.mount("/opaque", no_answer)
    app.add_middleware(InMiddleware)
    app.middleware("http")(in_http_middleware)
    return app


async def speak(websocket: WebSocket) -> None:
    """Echoes; does what the room's name says."""
    room = websocket.path_params["room"]
    if room == "closed":
        await websocket.close(1008)
        return
    if room == "broken-before":
        raise Broken("before accepting")
    await websocket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            word = await websocket.receive_text()
            with telemetry.span("echo"):
                if word == "break":
                    raise Broken("while talking")
                await websocket.send_text(word)
