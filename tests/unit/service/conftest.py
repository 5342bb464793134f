"""What many tests of the service look at: all that it tells of itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.telemetry.testing import Recorded, record


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """A telemetry of the test's own, and what comes out of it."""
    with record() as recorded:
        yield recorded
