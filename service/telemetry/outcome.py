"""What a finished request counts as. The one place that decides: metrics, span status and SLI all ask here.

``good``  the service did what it promises, which includes telling a client that it is wrong (4xx).
``bad``   the service failed: a 5xx answer, or an exception that nobody turned into an answer.
``excluded``  nobody can tell: the client left before the answer was complete.
"""

from __future__ import annotations

from typing import Literal

Outcome = Literal["good", "bad", "excluded"]


def classify_response(status: int, *, complete: bool, raised: bool) -> Outcome:
    """Classify one request of the server.

    ``status``: HTTP status that was sent, 0 when none was. ``complete``: the last byte was handed over.
    ``raised``: an exception left the application.
    """
    if raised or status >= 500:
        return "bad"
    if not complete:
        return "excluded"
    return "good"


def classify_call(status: int, *, raised: bool) -> Outcome:
    """Classify one outbound call by the status of its answer (0 when there was none)."""
    return "bad" if raised or status >= 500 or status == 0 else "good"
