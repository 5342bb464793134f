"""The pager's JSON interface.

Owns: what Alertmanager posts, what programs read, health and metrics. Refuses to know: how pages are kept.
"""

from __future__ import annotations

import math
import sqlite3
from typing import Any, get_args

import orjson
from fastapi import APIRouter, HTTPException, Request, Response

from stack.pager.book import Book
from stack.pager.evidence import Evidence
from stack.pager.links import build_links
from stack.pager.page import Notice, NoticeError, Page, State, parse_time, parse_webhook
from stack.pager.pager import OfRequest, Pager

MAX_BODY_BYTES = 4 * 1024 * 1024  # some 1,000 alerts in one group

router = APIRouter()


@router.post("/api/v1/alerts")
async def receive_alerts(request: Request, pager: OfRequest) -> Response:
    """Answers when the pages are on disk; their traces are looked for afterwards."""
    notices, errors = await _read_notices(request)
    opened = await pager.record(notices)
    return _json({"received": len(notices), "opened": [page.id for page in opened], "refused": errors})


@router.post("/api/v1/deadman")
async def receive_heartbeat(request: Request, pager: OfRequest) -> Response:
    """A firing Watchdog is a heartbeat; a resolved one is Alertmanager saying that Prometheus fell silent."""
    notices, _ = await _read_notices(request)
    alive = any(notice.state == "firing" for notice in notices)
    if alive:
        await pager.beat()
    return _json({"heartbeat": alive})


@router.get("/api/v1/pages")
async def list_pages(pager: OfRequest, since: str | None = None, state: str | None = None) -> Response:
    """Pages received at `since` (RFC 3339 or seconds since the epoch) or later, the newest first."""
    if state is not None and state not in get_args(State):
        raise HTTPException(400, f"state is {state!r:.60}, not firing or resolved")
    moment = _parse_since(since) if since else 0.0
    pages = await pager.ask(lambda book: book.list(state=state, since=moment))  # type: ignore[arg-type]
    evidence = await pager.read_evidence(pages)
    return _json({"pages": [_document(page, evidence.get(page.id), pager) for page in pages]})


@router.get("/api/v1/pages/{page_id}")
async def show_page(page_id: str, pager: OfRequest) -> Response:
    page = await pager.ask(lambda book: book.find(page_id))
    if page is None:
        raise HTTPException(404, f"there is no page {page_id!r:.60}")
    evidence = await pager.read_evidence([page])
    return _json(_document(page, evidence.get(page.id), pager))


@router.get("/livez")
async def live() -> Response:
    return _json({"status": "ok"})


@router.get("/readyz")
async def ready(pager: OfRequest) -> Response:
    """Ready as long as a page could be kept."""
    try:
        await pager.ask(Book.check)
    except sqlite3.Error as error:
        return _json({"status": "failing", "failing": {"book": str(error)}}, status=503)
    return _json({"status": "ok"})


@router.get("/metrics")
async def metrics(pager: OfRequest) -> Response:
    """Prometheus' text format. The heartbeat's age is absent before the first one."""
    health = pager.deadman.health()
    counts = await pager.ask(Book.count)
    lines = [
        "# HELP signalbox_pager_pages Pages kept, by state.",
        "# TYPE signalbox_pager_pages gauge",
        *(f'signalbox_pager_pages{{state="{state}"}} {count}' for state, count in counts.items()),
        "# HELP signalbox_pager_notices_total Alert notices kept since the start.",
        "# TYPE signalbox_pager_notices_total counter",
        f"signalbox_pager_notices_total {pager.notices}",
        "# HELP signalbox_pager_deadman_firing 1 when the alerting chain is known to be broken.",
        "# TYPE signalbox_pager_deadman_firing gauge",
        f"signalbox_pager_deadman_firing {int(health.is_dead)}",
    ]
    if health.heartbeat_at is not None:
        lines += [
            "# HELP signalbox_pager_heartbeat_age_seconds Time since the last heartbeat of the Watchdog alert.",
            "# TYPE signalbox_pager_heartbeat_age_seconds gauge",
            f"signalbox_pager_heartbeat_age_seconds {health.silent_s:.3f}",
        ]
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


def build_problem(status: int, title: str, detail: str) -> Response:
    """An error as RFC 9457 has it."""
    return _json(
        {"type": "about:blank", "title": title, "status": status, "detail": detail},
        status=status,
        media_type="application/problem+json",
    )


async def _read_notices(request: Request) -> tuple[list[Notice], list[str]]:
    # No web page has a reason to post here, and a browser cannot post for one without saying so.
    if "origin" in request.headers:
        raise HTTPException(403, "alerts are not taken from web pages")
    try:
        return parse_webhook(orjson.loads(await _read_body(request)))
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from None
    except NoticeError as error:
        raise HTTPException(400, str(error)) from None


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES >> 20} MiB")
    return bytes(body)


def _parse_since(text: str) -> float:
    try:
        moment = float(text)
    except ValueError:
        try:
            moment = parse_time(text.replace(" ", "+"))  # a `+` that was not escaped in the address
        except (ValueError, OverflowError):
            moment = math.nan
    if not math.isfinite(moment):
        raise HTTPException(400, f"since is {text!r:.60}, neither an RFC 3339 time nor seconds since the epoch")
    return moment


def _document(page: Page, evidence: Evidence | None, pager: Pager) -> dict[str, Any]:
    return page.to_document() | {
        "evidence": evidence.to_document() if evidence else None,
        "links": build_links(page, pager.reachable, own=pager.settings.public_url),
    }


def _json(document: Any, *, status: int = 200, media_type: str = "application/json") -> Response:
    return Response(orjson.dumps(document), status, media_type=media_type)
