"""Takes secrets out of text before it is recorded.

Telemetry never records parameters, bodies, headers or query strings, so this is the second line of defence: for the
words of an exception, a log message, or an attribute that somebody set by hand. Owns the patterns, knows no signal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, time
from enum import Enum
from functools import lru_cache
from typing import Any
from uuid import UUID

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
  | (?P<keep_argument>\bquery\ argument\ \$\d+:\ ).*                                    # what asyncpg says of a value
    """,
    re.IGNORECASE | re.VERBOSE,
)
# Keys whose values are secrets or a person, whatever they look like; the end decides: auth.token, userEmail.
_SECRET_KEY = re.compile(
    r"(?:passw(?:or)?d|passphrase|secret|token|(?:api|private)[._-]?key|authorization|cookie|credentials?"
    r"|session[._-]?id"
    r"|card[._-]?(?:number|no)|cvv|cvc|iban|ssn|e?-?mail(?:[._-]?address)?|phone(?:[._-]?number)?"
    r"|(?:user|customer|full|first|last|sur|family|given)[._-]?name)$",
    re.IGNORECASE,
)
_PLAIN = (bool, float, type(None), date, time, UUID, Enum)
_SUSPECT = re.compile(r"[@:=]|\d{4}|bearer|basic|eyJ|\[parameters|argument", re.IGNORECASE)


def redact_text(text: str) -> str:
    """``text`` with everything that looks like a secret replaced by ``[redacted]``."""
    if not _SUSPECT.search(text):
        return text
    return _SECRETS.sub(_mask, text)


def redact_value(key: str, value: Any) -> Any:
    """A value that somebody set under ``key``, whatever its type, with everything that looks like a secret masked."""
    if _is_secret_key(key) and value is not None and not isinstance(value, bool):
        return MASK
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, int):
        return MASK if value > 10**12 and is_card_number(str(value)) else value
    if isinstance(value, Mapping):
        return {str(name): redact_value(str(name), one) for name, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact_value(key, one) for one in value]
    return redact_text(str(value))


@lru_cache(maxsize=1024)
def _is_secret_key(key: str) -> bool:
    return bool(_SECRET_KEY.search(key))


def is_card_number(digits: str) -> bool:
    """Whether digits are as those of a payment card: length, first digit, check digit (ISO/IEC 7812, Luhn)."""
    if not 13 <= len(digits) <= 19 or digits[0] not in "3456":
        return False
    doubled = [2 * int(digit) for digit in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(number - 9 * (number > 9) for number in doubled)) % 10 == 0


def _mask(match: re.Match[str]) -> str:
    kept = match["keep_scheme"] or match["keep_key"] or match["keep_user"] or match["keep_argument"] or ""
    return kept + MASK
