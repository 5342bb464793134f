"""A PromQL expression that is taken as it is: what a threshold is asked of, or a ratio that somebody has computed.

Owns the check that it can stand inside a rule: it is PromQL, one value a series at one moment, without comments and
without anything that another tool was meant to fill in. One bad expression would make Prometheus refuse the whole file.
"""

from __future__ import annotations

import re

import promql_parser

from slo.model import Query
from slo.parse.selector import parse_selector

_TOKEN = re.compile(r"""(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)|(?P<odd>["'`#$;])""")
_RANGES = (promql_parser.MatrixSelector, promql_parser.SubqueryExpr)
_CONSTANTS = (promql_parser.NumberLiteral, promql_parser.StringLiteral)
_NEWER = "unknown function"  # a Prometheus may know more functions than the parser; it has the last word on those


def parse_query(text: str) -> Query:
    """PromQL → Query. Raises ValueError with what is wrong and the remedy after a semicolon."""
    text = text.strip()
    if not text:
        raise ValueError("is empty; write a PromQL expression")
    for token in _TOKEN.finditer(text):
        if token["odd"]:
            raise ValueError(
                f"cannot stand inside a rule because of {token['odd']!r}; close strings, leave out comments"
            )
    try:
        parsed = promql_parser.parse(text)
    except ValueError as error:
        if not str(error).startswith(_NEWER):
            raise ValueError(f"is no PromQL ({error}); write it so that `promtool check rules` takes it") from None
    else:
        if isinstance(parsed, _RANGES):
            raise ValueError("is a range and not a value at one moment; put a function round it: max_over_time(…)")
        if isinstance(parsed, _CONSTANTS):
            raise ValueError("is the same at every moment; ask a metric")
    try:
        selector = None if text.startswith("sum") else parse_selector(text)
    except ValueError:
        selector = None
    return Query(text, selector)
