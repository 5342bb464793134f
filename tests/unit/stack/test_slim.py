"""Extension modules without their debugging sections: smaller, and they load and work as before."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from stack.container.slim import slim, slim_folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the image is Linux")


def test_a_module_is_smaller_and_works(tmp_path: Path) -> None:
    spec = find_spec("uvloop")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    before = Path(spec.submodule_search_locations[0])
    after = Path(shutil.copytree(before, tmp_path / "uvloop"))
    saved = slim_folder(tmp_path)
    assert saved > sum(path.stat().st_size for path in before.rglob("*.so")) / 2
    assert slim_folder(tmp_path) == 0, "there is nothing left to cut"
    work = "import asyncio, uvloop; uvloop.run(asyncio.sleep(0.01)); print(uvloop.__file__)"
    ran = subprocess.run(
        [sys.executable, "-c", work], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True
    )
    assert str(after) in ran.stdout


@pytest.mark.parametrize(
    "data", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x02\x01" + b"\xff" * 200, b"\x7fELF\x01\x01" + bytes(200)]
)
def test_what_is_no_module_of_the_image_stays_as_it_is(data: bytes) -> None:
    assert slim(data) == data
