"""How often one client may use one route: a quota over a window, counted in Valkey for all replicas together.

Owns the counting. Knows neither who a client is nor what a route does. The algorithm is GCRA, a leaky bucket kept as
one number: the moment at which the bucket would be empty again. One script reads, decides and writes in a single round
trip, with Valkey's clock, so replicas need no clock in common.

A large quota is drawn in slices of a thousandth, which the process that drew one spends within ``SLICE_S``: then most
requests need no round trip at all, and what a replica leaves unspent is too little to matter. One costs two where
no whole slice is left: then a single request is asked for.

When Valkey does not answer, each process counts for itself until it does: limits then hold for each replica, and no
request fails. It is asked again after ``RETRY_AFTER_S``, so that an outage costs one time-out in that time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from service import telemetry
from service.edge.quota import MOST_CLIENTS, Decision, LocalBuckets, Policy
from service.faults import TIGHT_LIMIT, struck

RETRY_AFTER_S = 1.0
SLICE_S = 1.0
SLICES = 1_000  # of a quota; a smaller quota is counted one by one

# Microseconds. ARGV: what one request costs, and how far ahead the bucket may be filled. Answers [1, how full the
# bucket is now] or [0, how long to wait].
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local empty = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + ARGV[1]
if empty - now > tonumber(ARGV[2]) then return {0, math.ceil(empty - now - ARGV[2])} end
redis.call('SET', KEYS[1], string.format('%.0f', empty), 'PX', math.ceil((empty - now) / 1000))
return {1, math.ceil(empty - now)}
"""


class RateLimits:
    """Limits by route, e.g. ``{"POST /v1/orders": Policy(60, 60)}``; ``default`` holds for every other route."""

    def __init__(self, client: Redis, default: Policy, by_route: Mapping[str, Policy]) -> None:
        self._script = client.register_script(_SCRIPT)
        self._default = default
        self._by_route = by_route
        self._local = LocalBuckets()
        self._slices: dict[str, _Slice] = {}
        self._ask_again_at = 0.0
        self._is_local = False
        count = telemetry.metrics.rate_limit_requests
        self._counters = {
            (where, allowed): count.labels(where, "allowed" if allowed else "refused")
            for where in ("shared", "local")
            for allowed in (True, False)
        }

    def policy(self, route: str) -> Policy:
        """The limit of ``route``: its method and template."""
        if tight := struck(TIGHT_LIMIT):
            return Policy(tight.quota, tight.window_s)
        return self._by_route.get(route, self._default)

    async def count(self, route: str, client: str) -> Decision:
        """Count one request of ``client`` to ``route``. Never raises."""
        policy = self.policy(route)
        key = f"limit:{policy.quota}/{policy.window_s}:{route}:{client}"  # a new policy counts anew
        now_s = monotonic()
        drawn = self._slices.get(key)
        if drawn is not None and drawn.left > 0 and now_s < drawn.until_s:
            drawn.left -= 1
            self._counters["shared", True].inc()
            return drawn.decision
        if now_s >= self._ask_again_at:
            try:
                size = max(1, policy.quota // SLICES)
                decision = await self._draw(key, policy, size)
                if size > 1 and decision.allowed:
                    self._keep(key, _Slice(size - 1, now_s + SLICE_S, decision))
                elif size > 1:
                    decision = await self._draw(key, policy, 1)  # no whole slice is left, perhaps a single one
                self._become(is_local=False)
                return self._told("shared", decision)
            except (RedisError, OSError):
                self._ask_again_at = monotonic() + RETRY_AFTER_S
                self._become(is_local=True)
        return self._told("local", _decide(policy, *self._local.count(key, policy, now_s * 1e6)))

    async def _draw(self, key: str, policy: Policy, size: int) -> Decision:
        answer: Any = await self._script(keys=[key], args=[policy.cost_us * size, policy.window_s * 1e6])
        return _decide(policy, bool(answer[0]), answer[1])

    def _become(self, *, is_local: bool) -> None:
        if is_local != self._is_local:
            self._is_local = is_local
            telemetry.event("rate_limits.local" if is_local else "rate_limits.shared", {})

    def _keep(self, key: str, drawn: _Slice) -> None:
        self._slices.pop(key, None)
        self._slices[key] = drawn
        if len(self._slices) > MOST_CLIENTS:
            del self._slices[next(iter(self._slices))]

    def _told(self, where: str, decision: Decision) -> Decision:
        self._counters[where, decision.allowed].inc()
        return decision


@dataclass(slots=True)
class _Slice:
    """Requests that may pass without asking, and what is told of the quota meanwhile."""

    left: int
    until_s: float
    decision: Decision


def _decide(policy: Policy, allowed: bool, us: float) -> Decision:
    remaining = int((policy.window_s * 1e6 - us) / policy.cost_us) if allowed else 0
    return Decision(allowed, remaining, math.ceil(us / 1e6))
