"""Between two tries a job waits longer and longer, and never in step with others."""

from __future__ import annotations

from service.data.consumer import JITTER_RATIO, LONGEST_DELAY_S, MAX_ATTEMPTS, pause_after


def test_pauses_double_up_to_a_bound_and_differ_from_each_other() -> None:
    for attempts in range(MAX_ATTEMPTS):
        pauses = [pause_after(attempts).total_seconds() for _ in range(20)]
        wanted = min(2.0**attempts, LONGEST_DELAY_S)
        assert all(abs(pause - wanted) <= wanted * JITTER_RATIO for pause in pauses)
        assert len(set(pauses)) > 10


def test_a_job_is_tried_for_about_ten_minutes() -> None:
    assert 480 < sum(pause_after(attempts).total_seconds() for attempts in range(MAX_ATTEMPTS)) < 720
