"""When a process that a bench has started may be asked."""

from __future__ import annotations

import subprocess
import time

import httpx


def await_ready(process: subprocess.Popen[bytes], url: str, within_s: float = 120.0) -> bool:
    """Whether it says at ``/readyz`` that it is ready, in time and before it ends."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return True
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    return False
