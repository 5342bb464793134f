"""Where figures are kept: ``bench/results/NAME.json``, with when and on what they were measured."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """What it runs on, and how busy that is at the moment."""
    return {"cores": os.cpu_count(), "python": platform.python_version(), "load": round(os.getloadavg()[0], 1)}


def keep(name: str, figures: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Put ``figures`` in the place of the last ones of that name. Returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {**figures, "measured_at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    return path
