"""Figures are kept by name, the last ones only, with when and on what they were measured."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from bench.keep import keep


def test_the_last_figures_take_the_place_of_those_before(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    keep("kills", {"kills": 4, "lost": 1}, folder)
    kept = json.loads(keep("kills", {"kills": 50}, folder).read_text())
    assert kept["kills"] == 50
    assert "lost" not in kept
    assert abs((datetime.now(UTC) - datetime.fromisoformat(kept["measured_at"])).total_seconds()) < 60
    assert set(kept["machine"]) == {"cores", "python", "load"}
    assert [path.name for path in folder.iterdir()] == ["kills.json"]
