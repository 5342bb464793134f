"""Lengths of time, in and out."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slo.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15s", 15),
        ("5m", 300),
        ("1h30m", 5400),
        ("30d", 2_592_000),
        ("4w", 2_419_200),
        ("7s500ms", 7.5),
        ("2m30s", 150),
    ],
)
def test_reads_what_prometheus_and_openslo_write(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "0s", "5", "m", "1M", "1Q", "1Y", "-5m", "5 m", "1.5h", "9999999d", "5m\n", "٥m", "999999w" * 200_000]
)
def test_refuses_what_has_no_fixed_positive_length(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|long"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (15, "15s"),
        (2_592_000, "30d"),
        (604_800, "7d"),
        (82_680, "22h58m"),
        (0.75, "750ms"),
        (171.75, "2m51s750ms"),
        (0, "0s"),
    ],
)
def test_writes_what_prometheus_reads(seconds: float, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text


@given(milliseconds=st.integers(min_value=1, max_value=400 * 86_400_000))
def test_every_length_survives_a_round_trip(milliseconds: int) -> None:
    length = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(length)) == length
