"""The Python environment is made when it is not whole, and why it cannot be made is said in one line."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stack.environment import MARK, fingerprint, is_whole

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[3]


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose lock file asks for nothing."""
    folder = tmp_path / "checkout"
    (folder / "stack").mkdir(parents=True)
    shutil.copy(ROOT / "stack" / "environment.py", folder / "stack")
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copytree(ROOT / "deploy" / "pipeline", folder / "deploy" / "pipeline")  # the Makefile includes its targets
    (folder / "requirements.lock").write_text("")
    return folder


@pytest.fixture
def environment(checkout):
    """What `make` leaves when it has succeeded, its interpreter being the one that runs the tests."""
    environment = checkout / ".venv"
    (environment / "bin").mkdir(parents=True)
    python = environment / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (environment / MARK).write_text(fingerprint(environment))
    return environment


def run_make(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=checkout, capture_output=True, text=True, timeout=60, check=False)


def test_an_environment_that_is_whole_is_left_alone(checkout, environment):
    assert is_whole(environment)
    made = run_make(checkout, "venv", f"PYTHON={sys.executable}")
    assert (made.returncode, made.stderr) == (0, "")
    assert is_whole(environment)


def test_one_without_its_mark_is_not_whole(environment):
    (environment / MARK).unlink()
    assert not is_whole(environment)


def test_one_made_from_another_lock_file_is_not_whole(checkout, environment):
    (checkout / "requirements.lock").write_text("typer==0.1\n")
    assert not is_whole(environment)


def test_one_that_was_moved_is_not_whole(checkout, environment):
    moved = checkout.rename(checkout.with_name("elsewhere")) / ".venv"
    assert not is_whole(moved)


def test_one_whose_interpreter_is_gone_is_not_whole(environment):
    (environment / "bin" / "python").unlink()
    assert not is_whole(environment)


def test_one_whose_interpreter_finds_no_packages_any_more_is_not_whole(environment):
    (environment / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    assert not is_whole(environment)


def test_a_missing_interpreter_is_named(checkout):
    made = run_make(checkout, "venv", "PYTHON=python-of-nobody")
    assert made.returncode != 0
    assert "signalbox: python-of-nobody is not there. Install Python 3.11 or later" in made.stderr


def test_make_alone_lists_the_targets(checkout):
    listed = run_make(checkout).stdout
    for target in ("up", "down", "status", "test", "check", "generate", "incident", "lock", "clean"):
        assert f"make {target} " in listed
