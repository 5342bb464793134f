"""Asking a Prometheus: instant and range queries over its HTTP API.

Owns the addresses, the patience and what goes wrong on the way, each as one sentence with a remedy. Refuses to know
what is asked for. Only finite numbers are samples: NaN and infinities are no data.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

PATIENCE_S = 10.0

Labels = Mapping[str, str]


class NoPrometheus(Exception):
    """No answer that could be used. The message is what happened and, after a semicolon, what to do."""


@dataclass(frozen=True)
class Sample:
    """One series at one moment."""

    labels: Labels
    at_s: float
    value: float


@dataclass(frozen=True)
class Course:
    """One series over time; moments without data are missing."""

    labels: Labels
    samples: tuple[tuple[float, float], ...]


class Prometheus:
    """One server. A context manager."""

    def __init__(self, url: str, patience_s: float = PATIENCE_S) -> None:
        import httpx  # here: commands that ask nobody need not load it

        self.url = url.rstrip("/")
        try:
            self._client = httpx.Client(base_url=self.url, timeout=patience_s, follow_redirects=True)
        except (httpx.InvalidURL, ValueError) as error:
            raise NoPrometheus(f"{url!r} is no address ({error}); write http://host:9090") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def query(self, expression: str, at_s: float | None = None) -> list[Sample]:
        """Every series of an instant query, now or at a moment. Raises NoPrometheus."""
        asked = {"query": expression, **({} if at_s is None else {"time": f"{at_s:.3f}"})}
        found = []
        for series in self._ask("/api/v1/query", asked, "vector"):
            at, value = float(series["value"][0]), float(series["value"][1])
            if math.isfinite(value):
                found.append(Sample(series["metric"], at, value))
        return found

    def query_range(self, expression: str, length_s: float, step_s: float, end_s: float | None = None) -> list[Course]:
        """Every series over the last `length_s` seconds. Raises NoPrometheus."""
        end_s = time.time() if end_s is None else end_s
        asked = {
            "query": expression,
            "start": f"{end_s - length_s:.3f}",
            "end": f"{end_s:.3f}",
            "step": f"{step_s:.3f}",
        }
        return [_course(series) for series in self._ask("/api/v1/query_range", asked, "matrix")]

    def query_samples(self, selector: str, length_s: float, at_s: float | None = None) -> list[Course]:
        """Every sample of these series in the `length_s` seconds until now or until a moment. Raises NoPrometheus."""
        asked = {"query": f"{selector}[{max(1, round(length_s * 1000))}ms]"}
        asked |= {} if at_s is None else {"time": f"{at_s:.3f}"}
        return [_course(series) for series in self._ask("/api/v1/query", asked, "matrix")]

    def _ask(self, path: str, form: dict[str, str], kind: str) -> list[dict[str, Any]]:
        import httpx

        try:
            answer = self._client.post(path, data=form)
        except httpx.TimeoutException:
            raise NoPrometheus(f"{self.url} does not answer in time; look at its load") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise NoPrometheus(f"no Prometheus answers at {self.url} ({error}); start it") from None
        try:
            document = answer.json()
        except ValueError:
            what = f"{self.url} answers {answer.status_code} without JSON"
            raise NoPrometheus(f"{what}; name the address of a Prometheus") from None
        try:
            if document["status"] != "success":
                raise NoPrometheus(
                    f"{self.url} refuses the query: {document.get('error', 'no reason')}; look at its log"
                )
            if document["data"]["resultType"] != kind:
                raise TypeError(kind)
            return list(document["data"]["result"])
        except (KeyError, TypeError, AttributeError):
            raise NoPrometheus(f"{self.url} does not answer as Prometheus does; name the address of one") from None


def _course(series: dict[str, Any]) -> Course:
    samples = ((float(at), float(value)) for at, value in series["values"])
    return Course(series["metric"], tuple(each for each in samples if math.isfinite(each[1])))
