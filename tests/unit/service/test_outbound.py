"""A peer that fails is left alone, is tried again by one caller, and is never asked much more often than usual."""

from __future__ import annotations

from service.deadline import DeadlineExceeded
from service.outbound import LEAST_CALLS, MOST_RETRIES, OPEN_S, WINDOW_S, Breaker, CircuitOpen, RetryBudget


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class PeerFailed(Exception):
    pass


def call(breaker: Breaker, outcome: Exception | None = None) -> str:
    try:
        with breaker.call(PeerFailed):
            if outcome is not None:
                raise outcome
    except CircuitOpen:
        return "refused"
    except Exception:
        return "failed"
    return "good"


def broken(clock: Clock) -> Breaker:
    breaker = Breaker("peer", clock)
    assert {call(breaker, PeerFailed()) for _ in range(LEAST_CALLS)} == {"failed"}
    return breaker


def test_a_peer_that_fails_half_the_calls_is_left_alone() -> None:
    breaker = Breaker("peer", Clock())
    for _ in range(LEAST_CALLS // 2):
        call(breaker)
    assert [call(breaker, PeerFailed()) for _ in range(LEAST_CALLS)].count("refused") == LEAST_CALLS // 2
    assert call(breaker) == "refused"


def test_failures_that_are_long_ago_or_a_small_share_do_not_count() -> None:
    clock = Clock()
    breaker = Breaker("peer", clock)
    for _ in range(20):
        outcomes = [call(breaker, PeerFailed() if n < 3 else None) for n in range(10)]
        assert "refused" not in outcomes
        clock.now += WINDOW_S / 20
    clock.now += WINDOW_S * 2
    for _ in range(LEAST_CALLS - 1):
        assert call(breaker, PeerFailed()) == "failed"
        clock.now += WINDOW_S * 2


def test_one_caller_at_a_time_finds_out_whether_it_is_back() -> None:
    clock = Clock()
    breaker = broken(clock)
    assert call(breaker) == "refused"
    clock.now += OPEN_S
    with breaker.call(PeerFailed):
        assert [call(breaker) for _ in range(5)] == ["refused"] * 5
    assert call(breaker) == "good"


def test_a_peer_that_is_not_back_is_left_alone_again() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += OPEN_S
    assert call(breaker, PeerFailed()) == "failed"
    assert call(breaker) == "refused"


def test_an_answer_that_is_no_failure_of_the_peer_and_a_caller_in_a_hurry_open_nothing() -> None:
    breaker = Breaker("peer", Clock())
    for _ in range(100):
        assert call(breaker, ValueError("a refusal")) == "failed"
        assert call(breaker, DeadlineExceeded("too late")) == "failed"
    assert call(breaker) == "good"


def test_a_call_that_never_reached_the_peer_neither_opens_nor_closes_anything() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += OPEN_S
    try:
        with breaker.call(PeerFailed, unheard=(TimeoutError,)):
            raise TimeoutError
    except TimeoutError:
        pass
    assert call(breaker) == "refused", "nobody knows yet whether it is back"
    clock.now += OPEN_S
    assert call(breaker) == "good"


def test_second_tries_stay_a_tenth_of_the_calls_however_long_everything_fails() -> None:
    budget = RetryBudget("peer")
    taken = 0
    for _ in range(10_000):
        budget.earn()
        taken += budget.take()
    assert 1000 <= taken <= 1000 + MOST_RETRIES
