"""What a quota is, what is told of it, and how one process counts it in its own memory.

Knows no route and no server; counting for all replicas together is ``edge.ratelimit``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Clients that one process remembers while it counts for itself; when there are more, the oldest are forgotten.
MOST_CLIENTS = 10_000


@dataclass(frozen=True, slots=True)
class Policy:
    """At most ``quota`` requests in ``window_s`` seconds; they may come all at once."""

    quota: int
    window_s: int

    @classmethod
    def parse(cls, text: str) -> Policy:
        """``600/60``: 600 requests in 60 seconds. Raises ValueError."""
        match = re.fullmatch(r"([1-9]\d{0,8})/([1-9]\d{0,4})", text)
        if match is None:
            raise ValueError(f"{text!r} is no limit: write REQUESTS/SECONDS, for example 600/60")
        return cls(int(match[1]), int(match[2]))

    @property
    def cost_us(self) -> float:
        """How long it takes until one more request is allowed."""
        return self.window_s * 1e6 / self.quota


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request may pass, how many more may at once, and after how many seconds that changes for the better."""

    allowed: bool
    remaining: int
    reset_s: int

    def headers(self, policy: Policy) -> list[tuple[bytes, bytes]]:
        """``RateLimit`` and ``RateLimit-Policy`` (draft-ietf-httpapi-ratelimit-headers-10)."""
        return [
            (b"ratelimit-policy", b'"route";q=%d;w=%d' % (policy.quota, policy.window_s)),
            (b"ratelimit", b'"route";r=%d;t=%d' % (self.remaining, self.reset_s)),
        ]


class LocalBuckets:
    """The count of ``edge.ratelimit`` in this process' memory."""

    def __init__(self) -> None:
        self._empty_at_us: dict[str, float] = {}

    def count(self, key: str, policy: Policy, now_us: float) -> tuple[bool, float]:
        """As the script answers: allowed and how full, or refused and how long to wait, in microseconds."""
        empty_us = max(self._empty_at_us.pop(key, 0.0), now_us) + policy.cost_us
        fill_us, most_us = empty_us - now_us, policy.window_s * 1e6
        allowed = fill_us <= most_us + 0.5  # half a microsecond for the rounding of a quota that divides unevenly
        self._empty_at_us[key] = empty_us if allowed else empty_us - policy.cost_us
        if len(self._empty_at_us) > MOST_CLIENTS:
            del self._empty_at_us[next(iter(self._empty_at_us))]
        return (True, fill_us) if allowed else (False, fill_us - most_us)
