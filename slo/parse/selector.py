"""A counter as definitions name it: `requests_total{job="api",code=~"5.."}`, bare or inside one `sum(…)`.

Owns reading vector selectors. Refuses functions, ranges, offsets and arithmetic: rates, windows and sums are made by
the compiler, and a query that already holds them cannot be weighted by events.
"""

from __future__ import annotations

import re

from slo.model import Matcher, Selector
from slo.patterns import check_pattern

_SUM = re.compile(r"sum\s*\((?P<inner>.*)\)", re.DOTALL)
_METRIC = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*")
_MATCHER = re.compile(
    r"""\s*(?P<label>[a-zA-Z_][a-zA-Z0-9_]*)\s*(?P<operator>=~|!~|!=|=)\s*"""
    r"""(?:"(?P<double>(?:[^"\\\n]|\\.)*)"|'(?P<single>(?:[^'\\\n]|\\.)*)'|`(?P<raw>[^`]*)`)\s*(?P<end>,|(?=\}))"""
)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "t": "\t", "r": "\r"}
_CALL = re.compile(r"[a-zA-Z_]+\s*(?:(?:by|without)\s*\(.*?\)\s*)?\(")


def parse_selector(text: str) -> Selector:
    """PromQL vector selector → Selector. Raises ValueError with what is wrong and the remedy after a semicolon."""
    text = text.strip()
    whole = _SUM.fullmatch(text)
    inner = whole["inner"].strip() if whole else text
    if _CALL.match(inner):
        raise ValueError("is an expression; name the bare counter, the compiler adds rate, window and sum")
    metric = _METRIC.match(inner)
    if not metric:
        raise ValueError('does not start with a metric name; write metric{label="value"}')
    rest = inner[metric.end() :]
    if not rest:
        return Selector(metric[1])
    if not rest.startswith("{"):
        raise ValueError(f"cannot read {rest[:40]!r}; name one bare counter without range, offset or arithmetic")
    matchers, position = [], 1
    while found := _MATCHER.match(rest, position):
        matchers.append(_matcher(found))
        position = found.end()
    tail = rest[position:].lstrip()
    if not tail.startswith("}"):
        raise ValueError(f'cannot read the labels at {tail[:40]!r}; write {{label="value", …}}')
    if tail[1:].strip():
        raise ValueError(f"cannot read {tail[1:41]!r}; name one bare counter without range, offset or arithmetic")
    return Selector(metric[1], tuple(matchers))


def _matcher(found: re.Match[str]) -> Matcher:
    if found["label"] == "__name__":
        raise ValueError("selects by __name__; write one metric name before the braces")
    if found["raw"] is not None:
        value = found["raw"]
    else:
        value = _ESCAPE.sub(_unescape, found["double"] if found["double"] is not None else found["single"])
    if found["operator"] in ("=~", "!~"):
        check_pattern(value)
    return Matcher(found["label"], found["operator"], value)


def _unescape(found: re.Match[str]) -> str:
    if found[1] not in _ESCAPES:
        raise ValueError(f"cannot read the escape {found[0]!r}; write a literal backslash twice")
    return _ESCAPES[found[1]]
