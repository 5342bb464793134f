"""A PromQL expression that is taken as it is: what a threshold is asked of, or a ratio that somebody has computed.

Owns the check that it can stand inside another expression: strings closed, brackets paired, no comment, nothing that
another tool was meant to fill in. What it means only Prometheus knows; `promtool check rules` has the last word.
"""

from __future__ import annotations

import re

from slo.model import Query
from slo.parse.selector import parse_selector

_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<odd>["'`#$;])"""
)
_PAIRS = {"(": ")", "[": "]", "{": "}"}


def parse_query(text: str) -> Query:
    """PromQL → Query. Raises ValueError with what is wrong and the remedy after a semicolon."""
    text = text.strip()
    if not text:
        raise ValueError("is empty; write a PromQL expression")
    expected: list[str] = []
    for token in _TOKEN.finditer(text):
        if token["open"]:
            expected.append(_PAIRS[token["open"]])
        elif token["close"] and (not expected or expected.pop() != token["close"]):
            raise ValueError(f"{token['close']!r} closes nothing; pair the brackets")
        elif token["odd"]:
            raise ValueError(
                f"cannot stand inside a rule because of {token['odd']!r}; close strings, leave out comments"
            )
    if expected:
        raise ValueError(f"{expected[-1]!r} is missing at its end; pair the brackets")
    if text.endswith("]"):
        raise ValueError("is a range and not a value at one moment; put a function round it, as in max_over_time(…)")
    try:
        selector = None if text.startswith("sum") else parse_selector(text)
    except ValueError:
        selector = None
    return Query(text, selector)
