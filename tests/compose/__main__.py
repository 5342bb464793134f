"""`make test-compose`: an engine, the images, the stack as containers, the acceptance tests against it, all down again.

Arguments go to pytest. `SIGNALBOX_ENGINE` names the folder of an engine that is started here (default: one that goes
away with the run); with one that answers already, nothing but this project's containers is added or taken away.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stack.container.digests import digest_of
from tests.compose.engine import NoEngine, engine
from tests.compose.standins import ROOT, obtain, say, wanted

TESTS = ["tests/acceptance"]
SIGNALBOX = [sys.executable, "-m", "stack"]


def main(arguments: list[str]) -> int:
    """Pytest's exit code; 3 when there is no engine or no image, with one line that says why."""
    os.environ |= {"SIGNALBOX_FORM": "compose"}
    kept = os.environ.get("SIGNALBOX_ENGINE")
    try:
        with tempfile.TemporaryDirectory(prefix="signalbox-engine-") as folder, engine(Path(kept or folder)):
            return run(arguments)
    except NoEngine as reason:
        say(f"make test-compose: {reason}")
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = (error.stderr or b"") if isinstance(error.stderr, bytes) else (error.stderr or "").encode()
        say(f"make test-compose: {error}. {said.decode(errors='replace')[-600:]}")
    return 3


def run(arguments: list[str]) -> int:
    """Everything that needs the engine."""
    for image, how in obtain(wanted()).items():
        say(f"{image:<50} {how:<10} {digest_of(image) or ''}".rstrip())
    begun = time.monotonic()
    up = subprocess.run([*SIGNALBOX, "up", "--clock", "20"], cwd=ROOT, check=False)
    say(f"Up took {time.monotonic() - begun:.0f} s, images of our own built included.")
    try:
        if up.returncode:
            return up.returncode
        return subprocess.run([sys.executable, "-m", "pytest", *(arguments or TESTS)], cwd=ROOT, check=False).returncode
    finally:
        subprocess.run([*SIGNALBOX, "down", "--purge"], cwd=ROOT, check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
