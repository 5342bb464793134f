"""What keeps calls to another process from making its bad day worse: a circuit breaker and a budget of retries.

Written here because the well-kept libraries do neither the way it is needed. ``circuitbreaker`` counts consecutive
failures and lets every caller through while it is half open; tenacity and stamina bound the tries of one call, but not
the share of all calls that are second tries, which is what makes a retry storm. Owns both rules and their metrics.
Knows nothing of any peer or protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from service import telemetry
from service.deadline import DeadlineExceeded

# Opens when half of at least ten calls failed within the window (two halves of 5 s): far above what a bad release of
# one replica among many causes, and early enough to spare a peer that is down.
WINDOW_S = 10.0
LEAST_CALLS = 10
FAILURE_RATIO = 0.5
# An open circuit is tried again this often, by one call at a time.
OPEN_S = 2.0

# Retries may add a tenth to the calls, and ten at once after a quiet time (the shape of Finagle's RetryBudget).
RETRIES_PER_CALL = 0.1
MOST_RETRIES = 10.0

CLOSED, HALF_OPEN, OPEN = 0, 1, 2


class CircuitOpen(Exception):
    """The peer failed too often just now; it was not asked."""


class Breaker:
    """Refuses calls to a peer that fails. For one event loop; each process finds out for itself."""

    def __init__(self, peer: str, clock: Callable[[], float] = monotonic) -> None:
        self._peer = peer
        self._clock = clock
        self._half_s = WINDOW_S / 2
        self._turns_at = 0.0
        self._calls = [0, 0]  # in this half of the window and in the one before
        self._failures = [0, 0]
        self._tried_again_at = 0.0
        self._state = CLOSED
        self._gauge = telemetry.metrics.circuit_state.labels(peer)
        self._refused = telemetry.metrics.circuit_refused.labels(peer)
        self._gauge.set(CLOSED)

    @contextmanager
    def call(self, *failures: type[BaseException], unheard: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
        """Around one call, which counts as failed when it raises ``failures``, and not at all when it raises
        ``unheard``: then the peer was not asked. Raises ``CircuitOpen`` instead of it.
        """
        self._admit()
        try:
            yield
        except failures:
            self._count(failed=True)
            raise
        except (DeadlineExceeded, *unheard):
            raise  # who had no time to wait has learned nothing of the peer
        except Exception:
            self._count(failed=False)  # the peer answered, though not with what was wished for
            raise
        self._count(failed=False)

    def _admit(self) -> None:
        if self._state == CLOSED:
            return
        now = self._clock()
        if now < self._tried_again_at:
            self._refused.inc()
            raise CircuitOpen(f"{self._peer} failed too often just now")
        self._tried_again_at = now + OPEN_S
        self._become(HALF_OPEN)

    def _count(self, *, failed: bool) -> None:
        now = self._clock()
        if self._state != CLOSED:
            if failed:
                self._tried_again_at = now + OPEN_S
                self._become(OPEN)
            elif self._state == HALF_OPEN:
                self._calls, self._failures = [0, 0], [0, 0]
                self._become(CLOSED)
            return
        if now >= self._turns_at:
            idle = now >= self._turns_at + self._half_s
            self._calls = [0, 0 if idle else self._calls[0]]
            self._failures = [0, 0 if idle else self._failures[0]]
            self._turns_at = now + self._half_s
        self._calls[0] += 1
        self._failures[0] += failed
        calls = sum(self._calls)
        if failed and calls >= LEAST_CALLS and sum(self._failures) >= calls * FAILURE_RATIO:
            self._tried_again_at = now + OPEN_S
            self._become(OPEN)

    def _become(self, state: int) -> None:
        before, self._state = self._state, state
        self._gauge.set(state)
        if CLOSED in (before, state) and before != state:
            name = "circuit.closed" if state == CLOSED else "circuit.opened"
            telemetry.event(name, {"server.address": self._peer})


class RetryBudget:
    """Allows retries as a share of the calls to one peer: when everything fails, the load on it grows by that share."""

    def __init__(self, peer: str) -> None:
        self._tokens = MOST_RETRIES
        self._taken = telemetry.metrics.retries.labels(peer, "taken")
        self._refused = telemetry.metrics.retries.labels(peer, "refused")

    def earn(self) -> None:
        """Count one call that is not a retry."""
        self._tokens = min(MOST_RETRIES, self._tokens + RETRIES_PER_CALL)

    def take(self) -> bool:
        """Whether one call may be tried again now."""
        if self._tokens < 1:
            self._refused.inc()
            return False
        self._tokens -= 1
        self._taken.inc()
        return True
