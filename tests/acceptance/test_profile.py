"""A flame graph of a process that is serving, in whatever form the stack runs."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from tests.conftest import Stack


def test_a_flame_graph_of_the_running_api_is_written_and_it_serves_on(stack: Stack, tmp_path: Path) -> None:
    picture = tmp_path / "api.svg"
    done = stack.signalbox("profile", "api", "--seconds", "2", "--out", str(picture), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["component"] == "api-1"
    assert told["samples"] > 0, "a process that rests has few"
    assert "<svg" in picture.read_text()
    assert httpx.get(f"{stack.urls['gateway']}/v2/products/1", timeout=10).status_code == 200
