"""The pager as a web application: its parts put together.

Owns: start and stop, and how errors are answered. Refuses to know: routes and behaviour.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from stack.pager import api, queries, site
from stack.pager.backends import Backends
from stack.pager.book import Book
from stack.pager.pager import Pager
from stack.pager.settings import Settings
from stack.pager.web import SecurityHeaders, build_templates

logger = logging.getLogger(__name__)


def build_app(settings: Settings) -> FastAPI:
    """The application. Its book is opened, and its background work runs, within its lifespan."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with (
            contextlib.closing(Book(settings.data)) as book,
            contextlib.closing(Backends()) as backends,
            contextlib.closing(Backends()) as enquiries,
        ):
            app.state.pager = Pager(settings, book, backends, enquiries)
            work = asyncio.create_task(app.state.pager.run())
            try:
                yield
            finally:
                work.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await work

    app = FastAPI(
        title="Signalbox pager",
        lifespan=lifespan,
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.templates = build_templates(settings.base_path)
    app.add_middleware(SecurityHeaders)
    app.include_router(api.router)
    app.include_router(site.router)
    app.include_router(queries.router)
    app.add_exception_handler(HTTPException, _answer_refusal)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(sqlite3.Error, _answer_storage_failure)
    return app


async def _answer_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(request, error.status_code, str(error.detail))


async def _answer_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _answer(request, 400, "; ".join(str(one["msg"]) for one in error.errors()))


async def _answer_storage_failure(request: Request, error: Exception) -> Response:
    """503, because Alertmanager repeats what was answered with 5xx: the page is late then, not lost."""
    logger.error("the book of pages failed: %s", error)
    return _answer(request, 503, f"Pages cannot be kept now ({error}). Look at the disk of SIGNALBOX_PAGER_DATA.")


def _answer(request: Request, status: int, detail: str) -> Response:
    title = HTTPStatus(status).phrase
    if request.url.path.startswith("/api/"):
        return api.build_problem(status, title, detail)
    return site.build_error_page(request, status, title, detail)
