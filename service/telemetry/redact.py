"""Takes secrets out of text before it is recorded.

Telemetry never records parameters, bodies, headers or query strings, so this is the second line of defence: for the
words of an exception, a log message, or an attribute that somebody set by hand. Owns the patterns, knows no signal.
"""

from __future__ import annotations

import re

MASK = "[redacted]"

# One alternation, so that a text is scanned once. Groups named keep_* survive.
_SECRETS = re.compile(
    r"""
    (?P<keep_scheme>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}
  | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?                    # a JSON web token
  | (?P<keep_key>["']?\b[\w.-]*(?:password|passwd|secret|token|api[_-]?key|authorization|cookie)["']?\s*[=:]\s*)
        (?:(?:bearer|basic)\s+\S+|"[^"]*"|'[^']*'|[^\s,;&)}\]]+)
  | (?P<keep_user>://[^\s:/@]+:)[^\s@/]+(?=@)                                          # credentials in an address
  | (?<![\w.-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+                                            # an e-mail address
  | (?<![\w-])(?:\d[ -]?){12,18}\d(?![\w-])                                            # a card number
  | (?<=\[parameters:\s).*                                                             # what SQLAlchemy appends
  | (?<=DETAIL:\s\s).*                                                                 # what PostgreSQL appends
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SUSPECT = re.compile(r"[@:=]|\d{4}|bearer|basic|eyJ|\[parameters", re.IGNORECASE)


def redact_text(text: str) -> str:
    """``text`` with everything that looks like a secret replaced by ``[redacted]``."""
    if not _SUSPECT.search(text):
        return text
    return _SECRETS.sub(_mask, text)


def _mask(match: re.Match[str]) -> str:
    kept = match["keep_scheme"] or match["keep_key"] or match["keep_user"] or ""
    return kept + MASK
