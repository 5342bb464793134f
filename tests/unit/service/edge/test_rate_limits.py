"""A quota is a quota: all at once or evenly, each client on its own, and never more."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.edge.quota import MOST_CLIENTS, Decision, LocalBuckets, Policy


def allowed(buckets: LocalBuckets, policy: Policy, at_s: float, key: str = "a client") -> bool:
    return buckets.count(key, policy, at_s * 1e6)[0]


def test_a_quota_may_be_used_all_at_once_and_then_comes_back_evenly() -> None:
    buckets, policy = LocalBuckets(), Policy(6, 60)
    assert [allowed(buckets, policy, 0.0) for _ in range(8)] == [True] * 6 + [False] * 2
    assert not allowed(buckets, policy, 9.9)
    assert allowed(buckets, policy, 10.1)
    assert not allowed(buckets, policy, 10.2)


def test_clients_do_not_use_up_each_others_quota() -> None:
    buckets, policy = LocalBuckets(), Policy(1, 60)
    assert allowed(buckets, policy, 0.0, "one")
    assert allowed(buckets, policy, 0.0, "other")
    assert not allowed(buckets, policy, 0.0, "one")


@settings(max_examples=50)
@given(st.integers(1, 50), st.integers(1, 100), st.lists(st.floats(0, 300), min_size=1, max_size=200))
def test_no_window_has_more_than_twice_the_quota(quota: int, window_s: int, times: list[float]) -> None:
    """The bucket's bound: what was saved up, and what came back meanwhile."""
    buckets, policy = LocalBuckets(), Policy(quota, window_s)
    passed = [at_s for at_s in sorted(times) if allowed(buckets, policy, at_s)]
    for first in passed:
        assert sum(first <= at_s < first + window_s for at_s in passed) <= 2 * quota


def test_who_is_refused_waits_no_longer_than_told() -> None:
    buckets, policy = LocalBuckets(), Policy(2, 10)
    for _ in range(2):
        buckets.count("a", policy, 0.0)
    refused, wait_us = buckets.count("a", policy, 0.0)
    assert not refused
    assert buckets.count("a", policy, wait_us)[0]


def test_memory_is_bounded() -> None:
    buckets = LocalBuckets()
    for number in range(MOST_CLIENTS + 100):
        buckets.count(str(number), Policy(1, 60), 0.0)
    assert len(buckets._empty_at_us) == MOST_CLIENTS


@pytest.mark.parametrize("text", ["", "10", "0/60", "10/0", "10/60s", "-1/60", "10 / 60", "1e3/60"])
def test_what_is_no_policy_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="600/60"):
        Policy.parse(text)


def test_headers_are_structured_fields() -> None:
    policy = Policy.parse("600/60")
    assert Decision(True, 599, 1).headers(policy) == [
        (b"ratelimit-policy", b'"route";q=600;w=60'),
        (b"ratelimit", b'"route";r=599;t=1'),
    ]
