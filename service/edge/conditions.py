"""Which state of a resource a request is meant for: ``If-Match`` and ``If-None-Match`` (RFC 9110, 13.1).

Owns how their lists of entity tags are read, and how they are compared: strongly for the one, weakly for the other.
Knows no resource.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from service.errors import ServiceError

ANY = frozenset({"*"})  # a tag has quotes, so none is like it
MOST_TAGS = 100

# A tag holds no space, no control character and no quote, but perhaps a comma: a list cannot be split at commas.
_MEMBER = re.compile(r'[ \t,]*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|$)')


class InvalidCondition(ServiceError):
    """If-Match is neither a list of entity tags in quotes nor `*`."""

    status = HTTPStatus.BAD_REQUEST
    kind = "invalid-condition"


def parse_tags(field: str) -> frozenset[str]:
    """The entity tags in ``field``, or ``ANY``. Raises ``InvalidCondition``."""
    if field.strip(" \t") == "*":
        return ANY
    tags, at = set(), 0
    while len(tags) <= MOST_TAGS and (member := _MEMBER.match(field, at)):
        tags.add(member[1])
        at = member.end()
    if field[at:].strip(" \t,") or not 0 < len(tags) <= MOST_TAGS:
        raise InvalidCondition(
            f'the condition is no list of entity tags, such as "7", "8" (at most {MOST_TAGS}), nor *'
        )
    return frozenset(tags)


def strong(tags: frozenset[str]) -> frozenset[str]:
    """Those of ``tags`` that may be equal in a strong comparison: a weak one never is."""
    return frozenset(tag for tag in tags if not tag.startswith("W/"))


def names_strongly(tags: frozenset[str], tag: str) -> bool:
    """Whether ``If-Match: tags`` holds for a resource in the state ``tag``."""
    return tags == ANY or tag in strong(tags)


def names_weakly(tags: frozenset[str], tag: str) -> bool:
    """Whether ``If-None-Match: tags`` names the state ``tag``, so that its condition does not hold."""
    return tags == ANY or tag.removeprefix("W/") in {one.removeprefix("W/") for one in tags}
