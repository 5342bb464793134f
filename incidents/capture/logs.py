"""Log lines out of a Loki, page after page in order of time.

Owns which selectors cover all streams, and paging without losing or doubling lines of one nanosecond. Refuses to know
bundles and redaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from incidents.bundle.form import Line
from incidents.capture.moments import Slice
from incidents.capture.source import Source, SourceError, TooMuch

PAGE = 1_000
LARGEST_PAGE = 5_000
"""Loki's own default limit; above it many installations refuse."""
# Without this Loki mixes structured metadata into the labels of the stream.
_CATEGORIZED = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}


class Logs:
    """Reads the lines that one selector chooses, or those of all streams that no replay brought."""

    def __init__(self, source: Source, selector: str | None = None) -> None:
        self.selector = selector
        self.skipped_ns = 0
        """Nanoseconds that held more lines than a page: what lies beyond the page was left out."""
        self._source = source

    async def lines(self, slice_: Slice) -> AsyncIterator[tuple[float, list[Line]]]:
        """Pages of lines with the share that is done. In order of time within each selector."""
        selectors = [self.selector] if self.selector else await self._cover(slice_)
        start_ns, end_ns = slice_.start_ms * 1_000_000, slice_.end_ms * 1_000_000 + 999_999
        for number, selector in enumerate(selectors):
            async for page in self._pages(selector, start_ns, end_ns):
                done = (page[-1].at_ns - start_ns) / (end_ns - start_ns)
                yield (number + done) / len(selectors), page

    async def _cover(self, slice_: Slice) -> list[str]:
        """Selectors that choose every stream exactly once, as few as a label that most streams have makes possible."""
        bounds = {"start": str(slice_.start_ms * 1_000_000), "end": str(slice_.end_ms * 1_000_000 + 999_999)}
        answer = await self._source.get("/loki/api/v1/series", bounds)
        left = [labels for labels in answer["data"] if labels]
        passed: list[str] = []
        selectors = []
        while left:
            label = Counter(name for labels in left for name in labels if name != "replay").most_common(1)[0][0]
            matchers = [f'{label}=~".+"', *(f'{name}=""' for name in passed), 'replay=""']
            selectors.append("{" + ",".join(matchers) + "}")
            passed.append(label)
            left = [labels for labels in left if label not in labels]
        return selectors

    async def _pages(self, selector: str, start_ns: int, end_ns: int) -> AsyncIterator[list[Line]]:
        limit = PAGE
        position = start_ns
        seen: set[tuple[Any, ...]] = set()  # what is known of the nanosecond at `position`
        while position <= end_ns:
            try:
                found = await self._page(selector, position, end_ns, limit)
            except TooMuch:
                if limit == 1:
                    raise SourceError("loki: a single line is too large to be read") from None
                limit = max(1, limit // 4)
                continue
            fresh = [line for line in found if line.at_ns > position or _identity(line) not in seen]
            if fresh:
                yield fresh
            if len(found) < limit:
                return
            last = found[-1].at_ns
            if last == position and not fresh:  # a page full of one nanosecond
                if limit < LARGEST_PAGE:
                    limit = min(LARGEST_PAGE, limit * 2)
                    continue
                self.skipped_ns += 1
                last += 1
            seen = {_identity(line) for line in found if line.at_ns == last} | (seen if last == position else set())
            position = last

    async def _page(self, selector: str, start_ns: int, end_ns: int, limit: int) -> list[Line]:
        answer = await self._source.get(
            "/loki/api/v1/query_range",
            {
                "query": selector,
                "start": str(start_ns),
                "end": str(end_ns + 1),  # exclusive
                "limit": limit,
                "direction": "forward",
            },
            _CATEGORIZED,
        )
        if answer["data"]["resultType"] != "streams":
            raise SourceError("loki: --logs must select lines; it is a metric query")
        lines = [
            Line(at_ns=int(at), labels=stream["stream"], metadata=dict(_metadata(more)), text=text)
            for stream in answer["data"]["result"]
            for at, text, *more in stream["values"]
        ]
        return sorted(lines, key=lambda line: line.at_ns)


def _metadata(more: list[Any]) -> dict[str, str]:
    return more[0].get("structuredMetadata", {}) if more else {}


def _identity(line: Line) -> tuple[Any, ...]:
    return (line.at_ns, line.text, tuple(sorted(line.labels.items())), tuple(sorted(line.metadata.items())))
