"""Thirty days of one service's request counters for a Prometheus, and the same counters going on live.

Owns the shape of the data (series, rates, the share of errors) and writing it fast: every counter is a straight line,
so a sample is a multiplication. The recorded series that both rule sets sum up over 30 days are written along; whoever
uses them checks that the rules record the same.
"""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SCRAPE_S = 15
METRIC = "bench_requests_total"
INSTANCES = ("a", "b", "c", "d")
ROUTES = ("/items", "/orders")
CODES = ("200", "201", "404", "409", "500")  # 4 x 2 x 5 = 40 series, of which 8 count errors
ERROR_RATIO = 0.0005  # half of a 99.9 % budget


@dataclass(frozen=True)
class Counter:
    """One series: so many events a second since the beginning."""

    labels: str
    rate: float

    def at(self, seconds: float) -> int:
        return int(self.rate * seconds)


@dataclass(frozen=True)
class Recorded:
    """A series that rules record, constant over the whole time."""

    metric: str
    labels: str
    value: float
    every_s: int


def counters(shop: int) -> list[Counter]:
    """The 40 series of one SLO."""
    share = {"200": 0.7, "201": 0.2, "404": 0.06, "409": 0.04 - ERROR_RATIO, "500": ERROR_RATIO}
    return [
        Counter(f'code="{code}",instance="{instance}",job="shop",route="{route}",shop="{shop}"', 50.0 * share[code])
        for instance in INSTANCES
        for route in ROUTES
        for code in CODES
    ]


def selectors(shop: int) -> tuple[str, str]:
    """Errors and total."""
    return f'{METRIC}{{job="shop",shop="{shop}",code="500"}}', f'{METRIC}{{job="shop",shop="{shop}"}}'


def total_rate(shop: int) -> float:
    """Events a second of one SLO."""
    return sum(counter.rate for counter in counters(shop))


def write_history(path: Path, shops: int, recorded: list[Recorded], zero_s: int, begin_s: int, end_s: int) -> int:
    """OpenMetrics text with a sample every scrape from begin to end; counters are zero at `zero_s`. Returns the number
    of samples."""
    moments = range(begin_s, end_s, SCRAPE_S)
    samples = 0
    with path.open("w", buffering=1 << 20) as file:
        file.write(f"# TYPE {METRIC.removesuffix('_total')} counter\n")
        for counter in (counter for shop in range(shops) for counter in counters(shop)):
            head = f"{METRIC}{{{counter.labels}}} "
            file.writelines(f"{head}{counter.at(moment - zero_s)} {moment}\n" for moment in moments)
            samples += len(moments)
        for metric in sorted({series.metric for series in recorded}):
            file.write(f"# TYPE {metric} gauge\n")
            for series in (series for series in recorded if series.metric == metric):
                head = f"{metric}{{{series.labels}}} {series.value:.10g} "
                taken = range(begin_s, end_s, series.every_s)
                file.writelines(f"{head}{moment}\n" for moment in taken)
                samples += len(taken)
        file.write("# EOF\n")
    return samples


class LiveCounters:
    """The same counters as a scrape target, from now on. A context manager; `port` is where it answers."""

    def __init__(self, shops: int, begin_s: int) -> None:
        self._shops, self._begin_s = shops, begin_s
        text = self._text

        class Metrics(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = "".join(text()).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
        self.port = self._server.server_port

    def __enter__(self) -> LiveCounters:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *details: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _text(self) -> Iterator[str]:
        elapsed_s = time.time() - self._begin_s
        yield f"# TYPE {METRIC} counter\n"
        for shop in range(self._shops):
            for counter in counters(shop):
                yield f"{METRIC}{{{counter.labels}}} {counter.at(elapsed_s)}\n"
