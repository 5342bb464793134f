"""Prometheus' text format, as a service's `/metrics` answers it or a file has kept it.

Owns reading both dialects (0.0.4 and OpenMetrics) into series, and where from. Refuses to know what they are for. What
is not a line of either dialect is an error: an HTML page must not pass for a service without metrics.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path

LARGEST_BYTES = 64 * 1024 * 1024
PATIENCE_S = 10.0
ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
STARTED = "process_start_time_seconds"
# What a family's samples are called besides the family itself.
SUFFIXES = ("_total", "_created", "_bucket", "_count", "_sum", "_info", "_gcount", "_gsum")

_SAMPLE = re.compile(
    r"""(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\s*"""
    r"""(?:\{(?P<labels>(?:[^"}]|"(?:[^"\\]|\\.)*")*)\}\s*)?"""
    r"""(?P<value>[^\s#{}]+)(?:\s.*)?"""
)
_LABEL = re.compile(r'\s*(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"(?P<value>(?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPE = re.compile(r"\\(.)")

Labels = dict[str, str]


class NoExposition(Exception):
    """There are no metrics to look at: what came instead, and what to do."""


@dataclass
class Exposition:
    """Everything one target exposes at one moment."""

    source: str
    kinds: dict[str, str] = field(default_factory=dict)  # family → counter, gauge, histogram, summary, unknown …
    series: dict[str, list[tuple[Labels, float]]] = field(default_factory=dict)
    age_s: float | None = None  # since the process started, where it says so and the clock is now

    def kind(self, metric: str) -> str | None:
        """What the family of a metric was declared to be; None when nobody declared it."""
        for suffix in ("", *SUFFIXES):
            if metric.endswith(suffix) and (kind := self.kinds.get(metric.removesuffix(suffix))):
                return kind
        return None

    def names(self) -> list[str]:
        """Every metric that has series."""
        return sorted(self.series)


def read_exposition(place: str) -> Exposition:
    """Read a URL or a file. Raises NoExposition."""
    if place.startswith(("http://", "https://")):
        exposition = parse_exposition(_fetch(place), place)
        started = exposition.series.get(STARTED)
        exposition.age_s = max(time.time() - started[0][1], 0.0) if started else None
        return exposition
    try:
        with Path(place).open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise NoExposition(f"{place}: {error.strerror}; name a file or an http:// address") from None
    return parse_exposition(_decoded(data, place), place)


def parse_exposition(text: str, source: str) -> Exposition:
    """Text → series. Raises NoExposition with the first line that is none."""
    exposition = Exposition(source)
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if line.startswith("#"):
            words = line.split(None, 3)
            if len(words) == 4 and words[1] == "TYPE":
                exposition.kinds[words[2]] = words[3].strip()
        elif line:
            _add(exposition, line, number)
    if not exposition.series and not exposition.kinds:
        raise NoExposition(f"{source} holds no metrics; name the address that Prometheus scrapes")
    return exposition


def _add(exposition: Exposition, line: str, number: int) -> None:
    found = _SAMPLE.fullmatch(line)
    labels = _labels(found["labels"] or "") if found else None
    try:
        value = float(found["value"]) if found else None
    except ValueError:
        value = None
    if found is None or labels is None or value is None:
        what = f"{exposition.source}, line {number}: {line[:60]!r} is no sample"
        raise NoExposition(f"{what}; name the address that Prometheus scrapes")
    exposition.series.setdefault(found["name"], []).append((labels, value))


def _labels(text: str) -> Labels | None:
    labels, position = {}, 0
    while position < len(text):
        found = _LABEL.match(text, position)
        if not found:
            return labels if not text[position:].strip() else None
        labels[found["name"]] = _ESCAPE.sub(lambda escape: {"n": "\n"}.get(escape[1], escape[1]), found["value"])
        position = found.end()
    return labels


def _fetch(url: str) -> str:
    import httpx  # here: only this needs it, and it takes longer to load than the rest of the compiler

    try:
        secure = url.startswith("https:")  # plain HTTP need not read the machine's certificates
        with httpx.stream("GET", url, headers={"Accept": ACCEPT}, timeout=PATIENCE_S, verify=secure) as answer:
            if answer.status_code != 200:
                raise NoExposition(f"{url} answers {answer.status_code}; name the address that Prometheus scrapes")
            data = b""
            for chunk in answer.iter_bytes():
                data += chunk
                if len(data) > LARGEST_BYTES:
                    break
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise NoExposition(f"{url}: {str(error) or type(error).__name__}; is the service running?") from None
    return _decoded(data, url)


def _decoded(data: bytes, source: str) -> str:
    if len(data) > LARGEST_BYTES:
        raise NoExposition(f"{source} has more than {LARGEST_BYTES // 1024**2} MB; it is no exposition of one target")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise NoExposition(f"{source} is not UTF-8 text; save /metrics as it is, uncompressed") from None
