"""Takes persons and secrets out of what is captured, and puts pseudonyms in their place.

Owns the rules and the pseudonyms: the same value becomes the same pseudonym everywhere in a bundle, so that what
belongs together still does; without the key nobody finds the value again, not even by trying all there are. Refuses to
know which backend a text came from.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

# Keys whose values are a secret or a person, whatever they look like.
DEFAULT_KEYS = {
    "secret": r"(?:passw(?:or)?d|passphrase|secret|(?:access|auth|id|refresh|session|csrf)?[._-]?token|credentials?"
    r"|(?:api|private)[._-]?key|authorization|cookie|session[._-]?id|cvv|cvc)$",
    "email": r"e-?mail(?:[._-]?address)?$",
    "card": r"(?:card[._-]?(?:number|no)|iban)$",
    "user": r"(?:(?:end)?user|customer|account)[._-]?(?:id|name)$|^(?:http[._])?(?:client|enduser)[._](?:id)$"
    r"|(?:full|first|last|sur|family|given)[._-]?name$|phone(?:[._-]?number)?$",
    "query": r"^(?:url[._]query|http[._]request[._]query)$",
}
# Of a match the group `value` is replaced, or all of it where there is no such group. In this order.
DEFAULT_PATTERNS = {
    "token": r"\b(?:bearer|basic)\s+(?P<value>[A-Za-z0-9._~+/=-]{8,})",
    "jwt": r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?",
    "secret": r"""(?:password|passwd|secret|token|api[_-]?key|authorization|cookie)["']?\s*[=:]\s*["']?"""
    r"""(?!(?:bearer|basic)\s)(?P<value>[^\s"',;&)}\]]+)""",
    "login": r"://(?P<value>[^\s:/@]+:[^\s/@]+)(?=@)",
    "email": r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+",
    "query": r"(?<=[\w/.~%-])\?(?P<value>[\w.~%+\[\]-]+=[^\s\"'<>\\#]*)",
    "user": r"""\b(?:user|customer|account)[._-]?id["']?\s*[=:]\s*["']?(?P<value>[a-z_-]*\d[\w-]*)"""
    r"""|/(?:users|customers|accounts)/(?P<value2>[a-z_-]*\d[\w-]*)""",
    "ip": r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}(?![\w.])|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:]))",
    "card": r"(?<![\w.-])(?:\d[ -]?){12,18}\d(?![\w.-])",
}
_KEPT_KEYS = frozenset(("__name__", "le", "quantile", "trace_id", "span_id", "traceID", "spanID", "service_name"))
_ONLY_IDS = re.compile(r"[0-9a-f]{16}|[0-9a-f]{32}")


class RulesError(Exception):
    """A file of rules that cannot be used; the text says why."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    keys: dict[str, str] = {}
    patterns: dict[str, str] = {}
    keep: list[str] = []


@dataclass(frozen=True)
class Rules:
    """What is redacted: by key, by pattern; and values that stay as they are."""

    keys: Mapping[str, re.Pattern[str]]
    patterns: Mapping[str, re.Pattern[str]]
    keep: re.Pattern[str] | None = None


def parse_rules(file: Path | None) -> Rules:
    """The default rules, with those of a YAML file on top. Raises RulesError.

    `keys` and `patterns` map a kind to a regular expression and replace the default of that kind (an empty one switches
    it off); `keep` lists expressions: a value that one of them matches whole is kept.
    """
    given = _File()
    try:
        if file is not None:
            given = _File.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
        keys = {kind: re.compile(text, re.IGNORECASE) for kind, text in {**DEFAULT_KEYS, **given.keys}.items() if text}
        patterns = {
            kind: re.compile(text, re.IGNORECASE)
            for kind, text in {**DEFAULT_PATTERNS, **given.patterns}.items()
            if text
        }
        keep = re.compile("|".join(f"(?:{text})" for text in given.keep)) if given.keep else None
    except ValidationError as error:
        first = error.errors()[0]
        raise RulesError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, re.error) as error:
        raise RulesError(f"{file} cannot be used: {' '.join(str(error).split())}") from None
    return Rules(keys, patterns, keep)


@dataclass
class Redactor:
    """Applies the rules and counts what it replaced. Two with the same key make the same pseudonyms."""

    rules: Rules
    key: bytes
    replaced: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._kind_of_key = lru_cache(4_096)(self._find_kind)
        self._cached: Callable[[str], tuple[str, tuple[str, ...]]] = lru_cache(16_384)(self._scan)

    def text(self, text: str) -> str:
        """A text with pseudonyms in it."""
        redacted, kinds = self._cached(text) if len(text) < 512 else self._scan(text)
        self.replaced.update(kinds)
        return redacted

    def value(self, key: str, value: str) -> str:
        """A value that stands under a key; ids of traces and names of series are no secrets."""
        if not value or key in _KEPT_KEYS or _ONLY_IDS.fullmatch(value):
            return value
        kind = self._kind_of_key(key)
        if kind is None:
            return self.text(value)
        if self._kept(value):
            return value
        self.replaced[kind] += 1
        return self.pseudonym(kind, value)

    def labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Labels, their names as they are."""
        return {key: self.value(key, value) for key, value in labels.items()}

    def pseudonym(self, kind: str, value: str) -> str:
        """What stands for a value: its kind and 40 bits that only the key's owner can make."""
        return f"{kind}-{hmac.new(self.key, f'{kind}:{value}'.encode(), hashlib.sha256).hexdigest()[:10]}"

    def _scan(self, text: str) -> tuple[str, tuple[str, ...]]:
        kinds: list[str] = []
        for kind, pattern in self.rules.patterns.items():
            text = pattern.sub(lambda match, kind=kind: self._replace(kind, match, kinds), text)
        return text, tuple(kinds)

    def _replace(self, kind: str, match: re.Match[str], kinds: list[str]) -> str:
        group = next((name for name, found in match.groupdict().items() if found is not None), 0)
        value, whole = str(match[group]), match[0]
        if not _CHECKS.get(kind, _always)(value) or self._kept(value) or _is_pseudonym(value, self.rules):
            return whole
        kinds.append(kind)
        begin, end = match.start(group) - match.start(), match.end(group) - match.start()
        return whole[:begin] + self.pseudonym(kind, value) + whole[end:]

    def _kept(self, value: str) -> bool:
        return self.rules.keep is not None and self.rules.keep.fullmatch(value) is not None

    def _find_kind(self, key: str) -> str | None:
        return next((kind for kind, pattern in self.rules.keys.items() if pattern.search(key)), None)


def _is_pseudonym(value: str, rules: Rules) -> bool:
    kind, _, rest = value.rpartition("-")
    return kind in rules.patterns and re.fullmatch("[0-9a-f]{10}", rest) is not None


def _is_address(text: str) -> bool:
    """An IP address that says where somebody is: loopback and "everywhere" say nothing."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)


def _is_card_number(text: str) -> bool:
    """Whether digits are as those of a payment card: length, first digit, check digit (ISO/IEC 7812, Luhn)."""
    digits = re.sub(r"\D", "", text)
    if not 13 <= len(digits) <= 19 or digits[0] not in "3456":
        return False
    doubled = [2 * int(digit) for digit in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(number - 9 * (number > 9) for number in doubled)) % 10 == 0


def _always(value: Any) -> bool:
    return True


_CHECKS: dict[str, Callable[[str], bool]] = {"ip": _is_address, "card": _is_card_number}
