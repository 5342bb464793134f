"""The pager's web pages by address.

Owns: which page is at which address, and what it needs. Refuses to know: markup (templates) and formats (web.py).
"""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from stack.pager.backends import BackendError
from stack.pager.clues import build_clues
from stack.pager.deadman import FINGERPRINT
from stack.pager.evidence import Evidence
from stack.pager.exemplars import PATIENCE_S, TRACE_ID
from stack.pager.figures import HEIGHT, WIDTH, read_figures
from stack.pager.links import RUNBOOK_NAME, build_jaeger_link, build_links
from stack.pager.loglines import HOUR_S, MAX_LINES, read_log_lines
from stack.pager.overview import SPANS, USUAL_SPAN
from stack.pager.page import YEAR_10000, Page
from stack.pager.pager import OfRequest, Pager
from stack.pager.queries import build_query_link
from stack.pager.runbooks import read_runbook
from stack.pager.timeline import merge_changes, page_changes
from stack.pager.waterfall import MAX_ROWS, read_waterfall
from stack.pager.web import FOLDER

SHOWN = 50  # of the open pages: in a storm of alerts the first ones matter
RECENT = 20
DAY_S = 86_400.0
STATIC = {"pager.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)


@router.get("/")
async def show_index(request: Request, pager: OfRequest, span: str = USUAL_SPAN) -> HTMLResponse:
    """What is broken, then the budgets, then what happened, then whether alerting itself works."""
    span = span if span in SPANS else USUAL_SPAN
    since = time.time() - SPANS[span]
    budgets, changes = await asyncio.gather(pager.overview.budgets(span), pager.overview.changes(span))
    firing = sorted(await pager.ask(lambda book: book.list(state="firing")), key=_urgency)
    resolved = await pager.ask(lambda book: book.list(state="resolved"))
    evidence = await pager.read_evidence(firing[:SHOWN])
    others, missing = changes.answer or ([], [])
    happened, left_out = merge_changes(
        others, page_changes([*firing, *resolved], pager.settings.base_path), since=since
    )
    return _render(
        request,
        "index.html",
        firing=[_view(page, pager, evidence.get(page.id)) for page in firing[:SHOWN]],
        open_count=len(firing),
        resolved=[_view(page, pager) for page in resolved[:RECENT]],
        health=pager.deadman.health(),
        budgets=budgets,
        happened=happened,
        missing=[*missing, *([changes.problem] if changes.problem else [])],
        left_out=left_out,
        span=span,
        spans=list(SPANS),
        width=WIDTH,
        height=HEIGHT,
    )


@router.get("/alerts")
async def find_alert(pager: OfRequest, fingerprint: str = "", to: str = "") -> Response:
    """Where the links of a notification lead: the latest page of an alert, its trace, that trace's logs, or what
    changed around it. What is not there (yet) leads to the page, an unknown alert to all pages."""
    page = await pager.ask(lambda book: book.find_latest(fingerprint))
    base = pager.settings.base_path
    if page is None:
        return RedirectResponse(f"{base}/", status_code=303)
    links = build_links(page, pager.reachable, own=base)
    target = links.get(to) if to in ("trace", "logs") else f"{links['page']}#changes" if to == "changes" else None
    return RedirectResponse(target or str(links["page"]), status_code=303)


@router.get("/pages/{page_id}")
async def show_page(page_id: str, request: Request, pager: OfRequest) -> HTMLResponse:
    """Everything known about one page, with the figures of its SLO."""
    page = await pager.ask(lambda book: book.find(page_id))
    if page is None:
        raise HTTPException(404, "There is no such page. Old resolved pages are dropped when the book is full.")
    evidence = (await pager.read_evidence([page])).get(page_id)
    figures, problem = None, None
    if pager.settings.prometheus_url:
        try:
            figures = await read_figures(pager.backends, pager.settings.prometheus_url, page, now=time.time())
        except BackendError as error:
            problem = str(error)
    return _render(
        request,
        "page.html",
        one=_view(page, pager, evidence),
        figures=figures,
        problem=problem,
        width=WIDTH,
        height=HEIGHT,
    )


@router.get("/traces/{trace_id}")
async def show_trace(trace_id: str, request: Request, pager: OfRequest) -> HTMLResponse:
    """The waterfall of a trace. Answers 404, and asks again by itself, until Jaeger has it."""
    _check_trace_id(trace_id)
    settings, waterfall, problem = pager.settings, None, None
    if not settings.jaeger_url:
        problem = "SIGNALBOX_JAEGER_URL is not set: this pager does not know where traces are kept"
    else:
        try:
            waterfall = await read_waterfall(pager.backends, settings.jaeger_url, trace_id)
        except BackendError as error:
            problem = str(error)
    return _render(
        request,
        "trace.html",
        status=200 if waterfall else 503 if problem else 404,
        trace_id=trace_id,
        waterfall=waterfall,
        problem=problem,
        jaeger=build_jaeger_link(trace_id, settings),
        max_rows=MAX_ROWS,
    )


@router.get("/logs/{trace_id}")
async def show_logs(trace_id: str, request: Request, pager: OfRequest, at: str | None = None) -> HTMLResponse:
    """The log lines of a trace, an hour either side of `at` (seconds since the epoch), else of the last day."""
    _check_trace_id(trace_id)
    moment, now = _parse_moment(at), time.time()
    start, end = (now - DAY_S, now) if moment is None else (moment - HOUR_S, moment + HOUR_S)
    lines, problem = [], None
    if not pager.settings.loki_url:
        problem = "SIGNALBOX_LOKI_URL is not set: this pager does not know where logs are kept"
    else:
        try:
            lines = await read_log_lines(pager.backends, pager.settings.loki_url, trace_id, start=start, end=end)
        except BackendError as error:
            problem = str(error)
    return _render(
        request,
        "logs.html",
        status=503 if problem else 200,
        trace_id=trace_id,
        lines=lines,
        problem=problem,
        start=start,
        end=end,
        is_cut=len(lines) >= MAX_LINES,
    )


@router.get("/runbooks/{name}")
async def show_runbook(name: str, request: Request, pager: OfRequest) -> HTMLResponse:
    """A runbook; when there is none, which file would be it."""
    alert = name.removesuffix(".md")
    html = read_runbook(pager.settings.runbooks, alert, pager.settings.base_path)
    return _render(
        request,
        "runbook.html",
        status=200 if html is not None else 404,
        alert=alert,
        is_name=RUNBOOK_NAME.fullmatch(alert) is not None,
        html=html,
    )


@router.get("/static/{name}")
async def show_static(name: str) -> Response:
    if name not in STATIC:
        raise HTTPException(404, "There is no such file.")
    return Response((FOLDER / "static" / name).read_bytes(), media_type=STATIC[name])


def build_error_page(request: Request, status: int, title: str, detail: str) -> HTMLResponse:
    return _render(request, "error.html", status=status, title=title, detail=detail)


def _render(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    return HTMLResponse(request.app.state.templates.get_template(template).render(context), status)


def _view(page: Page, pager: Pager, evidence: Evidence | None = None) -> dict[str, Any]:
    waited = time.time() - page.received_at
    return {
        "page": page,
        "evidence": evidence,
        "clues": build_clues(page, evidence),
        "query_link": partial(build_query_link, pager.settings.base_path),
        "links": build_links(page, pager.reachable, own=pager.settings.base_path),
        "is_searching": "exemplar_query" in page.annotations and page.trace_id is None and waited < PATIENCE_S,
    }


def _urgency(page: Page) -> tuple[bool, bool, float]:
    """A dead alerting chain before all else: while it is dead, what else is shown may be old."""
    return page.fingerprint != FINGERPRINT, page.tier != "page", -page.starts_at


def _check_trace_id(trace_id: str) -> None:
    if not TRACE_ID.fullmatch(trace_id):
        raise HTTPException(404, "A trace id is 32 (or, of old tracers, 16) hexadecimal digits in lower case.")


def _parse_moment(text: str | None) -> float | None:
    try:
        moment = float(text or "")
    except ValueError:
        return None
    return moment if math.isfinite(moment) and HOUR_S < moment < YEAR_10000 - HOUR_S else None
