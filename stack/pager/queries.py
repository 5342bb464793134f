"""The queries of a runbook, asked now: what Prometheus answers at this moment, for readers without Grafana.

Owns: the address of a query's page, its limits, and how an answer becomes rows. Refuses to know: which queries there
are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from stack.pager.backends import BackendError
from stack.pager.pager import OfRequest

LONGEST_QUERY = 4_000
MOST_ROWS = 100

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)


@dataclass(frozen=True)
class Row:
    """One series of an answer."""

    labels: str
    value: str


def build_query_link(base: str, expression: str) -> str:
    """Where a query is asked."""
    return f"{base}/query?expr={quote(expression.strip(), safe='')}"


def parse_answer(answer: Any) -> list[Row]:
    """Rows of an instant query's answer, as Prometheus orders them. Raises BackendError for anything else."""
    try:
        result = answer["data"]["result"]
        if answer["data"]["resultType"] in ("scalar", "string"):
            return [Row("", str(result[1]))]
        return [Row(_labels(series["metric"]), str(series["value"][1])) for series in result]
    except (KeyError, IndexError, TypeError):
        raise BackendError("Prometheus' answer was not understood") from None


@router.get("/query")
async def show_query(
    request: Request, pager: OfRequest, expr: Annotated[str, Query(min_length=1, max_length=LONGEST_QUERY)]
) -> HTMLResponse:
    """What a query answers now."""
    rows: list[Row] = []
    problem = ""
    try:
        url = f"{pager.settings.prometheus_url}/api/v1/query"
        rows = parse_answer(await pager.backends.read_json(url, {"query": expr, "limit": MOST_ROWS + 1}))
    except BackendError as error:
        problem = str(error)
    template = request.app.state.templates.get_template("query.html")
    shown = {"expression": expr, "rows": rows[:MOST_ROWS], "is_cut": len(rows) > MOST_ROWS, "problem": problem}
    return HTMLResponse(template.render(**shown))


@router.get("/d/{path:path}")
async def open_dashboard(path: str, request: Request, pager: OfRequest) -> Response:
    """The dashboard of that address in Grafana, where there is one; the open pages with their figures otherwise."""
    grafana = pager.settings.grafana_public_url
    if not grafana:
        return RedirectResponse(f"{pager.settings.base_path}/", status_code=303)
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{grafana}/d/{quote(path)}{query}", status_code=303)


def _labels(metric: dict[str, str]) -> str:
    name = metric.get("__name__", "")
    rest = ", ".join(f"{key}={value}" for key, value in sorted(metric.items()) if key != "__name__")
    return " ".join(part for part in (name, rest) if part)
