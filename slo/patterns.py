"""Regular expressions as Prometheus reads them: RE2's, which has no look-around, no back-references, and is never slow.

Owns which patterns are taken and whether one matches a text. RE2 itself decides, in the form Prometheus wraps a
matcher in: the whole text, a dot being any character.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import re2

_REMEDY = "write it in RE2's syntax (https://github.com/google/re2/wiki/Syntax), which has no look-around"
_ANY_BYTE = re.compile(r"\\\\|(?P<odd>\\C)")  # what Go's RE2, which is Prometheus', leaves out
_OPTIONS = re2.Options()
_OPTIONS.dot_nl = True
_OPTIONS.log_errors = False


def check_pattern(text: str) -> None:
    """Raises ValueError, with a remedy after a semicolon, for a pattern that Prometheus would not load."""
    _compile(text)


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern matches the whole text, in a time bounded by the product of their lengths. Raises as above."""
    return _compile(pattern).fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _compile(text: str) -> Any:
    if any(found["odd"] for found in _ANY_BYTE.finditer(text)):
        raise ValueError(rf"{text[:60]!r} holds '\C', which Prometheus does not know; {_REMEDY}")
    try:
        return re2.compile(text, _OPTIONS)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise ValueError(
            f"{text[:60]!r} is no regular expression that Prometheus takes ({reason}); {_REMEDY}"
        ) from None
