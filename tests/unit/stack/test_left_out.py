"""The rule on what an image that runs must not hold finds what it is about, and nothing else."""

from __future__ import annotations

import pytest

from tests.compose.left_out import builders

FOUND = [
    "/usr/bin/gcc",
    "/usr/bin/x86_64-linux-gnu-gcc-14",
    "/usr/bin/aarch64-linux-gnu-ld.bfd",
    "/usr/libexec/gcc/x86_64-linux-gnu/14/cc1plus",
    "/usr/bin/make",
    "/usr/bin/git",
    "/usr/lib/git-core/bin/git-remote",
    "/usr/local/bin/curl",
    "/opt/venv/bin/pip3.13",
    "/usr/local/bin/pip",
    "/usr/bin/apt-get",
    "/usr/lib/apt/methods/http",
    "/usr/local/bin/python3.13-config",
    "/usr/local/include/python3.13/Python.h",
    "/usr/include/stdio.h",
    "/usr/local/lib/python3.13/ensurepip/__init__.py",
    "/usr/local/lib/python3.13/site-packages/pip/__init__.py",
    "/usr/local/lib/python3.13/config-3.13-x86_64-linux-gnu/Makefile",
    "/usr/local/lib/pkgconfig/python3.pc",
]
LEFT = [
    "/usr/bin/dpkg",
    "/usr/bin/perl",
    "/usr/bin/ld.so",
    "/usr/sbin/ldconfig",
    "/usr/bin/openssl",
    "/usr/local/bin/python3.13",
    "/opt/venv/bin/python",
    "/opt/venv/bin/uvicorn",
    "/opt/venv/include/site/python3.13/greenlet/greenlet.h",
    "/opt/venv/lib/python3.13/site-packages/opentelemetry/instrumentation/pip/x.py",
    "/usr/share/zoneinfo/ar",
    "/app/stack/native/patch.py",
]


@pytest.mark.parametrize("path", FOUND)
def test_what_compiles_fetches_or_installs_is_found(path: str) -> None:
    assert builders([path]) == [path]


def test_what_runs_is_left_in_peace() -> None:
    assert builders(LEFT) == []
