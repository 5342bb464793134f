"""observability/grafana/definitions/*.yaml → boards.

Owns the form of these files. Like definitions they are read with places, and what is unknown is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

from slo.boards import Block, Board, Kind, Query
from slo.errors import DefinitionErrors, Location, Problem
from slo.parse.fields import Fields
from slo.parse.nodes import LARGEST_FILE_BYTES, Mapping, parse_nodes

QUANTILES = ("0.5", "0.95", "0.99")


def read_boards(folder: Path) -> list[Board]:
    """Every board of a folder by name. Raises DefinitionErrors."""
    problems: list[Problem] = []
    boards = []
    for path in sorted(folder.glob("*.yaml")):
        documents, found = parse_nodes(path.read_bytes()[: LARGEST_FILE_BYTES + 1], str(path))
        problems += found
        if len(documents) == 1 and isinstance(documents[0], Mapping):
            boards.append(_read_board(Fields(documents[0], "", problems), path.stem))
        elif not found:
            problems.append(Problem(Location(str(path)), "", "field-form", "expected one board", "Write one mapping"))
    if problems:
        raise DefinitionErrors(problems)
    return boards


def _read_board(fields: Fields, name: str) -> Board:
    rows = []
    for row in fields.mappings("rows"):
        title = row.text("title")
        rows.append((title, tuple(_read_block(block) for block in row.mappings("panels"))))
        row.done()
    board = Board(
        name,
        fields.text("title"),
        fields.text("about"),
        tuple(rows),
        variables=tuple(fields.words("variables")),
        traces=fields.text("traces", required=False) or Board.traces,
        logs=fields.text("logs", required=False) or Board.logs,
        since=fields.text("since", required=False) or Board.since,
    )
    fields.done()
    return board


def _read_block(fields: Fields) -> Block:
    at = fields.at
    width, unit = fields.number("width", required=False), fields.text("unit", required=False)
    kind = fields.choice("kind", get_args(Kind), default="timeseries")
    steps = fields.mapping("steps", required=False)
    limits = fields.mapping("limits", required=False)
    of_lines = kind == "logs" or fields.has("lines")
    queries = _read_quantiles(fields) if fields.has("buckets") else _read_queries(fields, of_lines)
    block = Block(
        fields.text("title"),
        fields.text("about", required=False),
        queries,
        cast(Kind, kind or "timeseries"),
        int(width or Block.width),
        unit or ("s" if fields.has("buckets") else Block.unit),
        tuple((float(steps.number(colour) or 0), colour) for colour in steps.names()) if steps else (),
        (_limit(limits, "least"), _limit(limits, "most")),
        fields.text("objective", required=False),
        of_lines,
        at,
    )
    for inner in (steps, limits):
        if inner:
            inner.done()
    fields.done()
    return block


def _read_queries(fields: Fields, of_lines: bool) -> tuple[Query, ...]:
    """Legend → query."""
    inner = fields.mapping("lines" if of_lines else "queries")
    if inner is None:
        return ()
    texts = {legend: inner.text(legend) for legend in inner.names()}
    inner.done()
    return tuple(
        Query(text, legend if legend != "-" else "", exemplars="histogram_quantile" in text)
        for legend, text in texts.items()
    )


def _read_quantiles(fields: Fields) -> tuple[Query, ...]:
    """A histogram's buckets → its quantiles; with `by`, the 95th percentile of each."""
    buckets, by = fields.text("buckets"), fields.text("by", required=False)
    rate = f"sum by (le{f', {by}' if by else ''}) (rate({buckets}[$__rate_interval]))"
    if by:
        legend = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
        return (Query(f"histogram_quantile(0.95, {rate})", legend, exemplars=True),)
    return tuple(
        Query(f"histogram_quantile({quantile}, {rate})", f"p{float(quantile) * 100:g}", exemplars=True)
        for quantile in QUANTILES
    )


def _limit(limits: Fields | None, key: str) -> float | None:
    number = limits.number(key, required=False) if limits else None
    return None if number is None else float(number)
