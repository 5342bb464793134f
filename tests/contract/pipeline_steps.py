"""Steps of the pipeline, run with programs that only write down what they were asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conftest import ROOT, missing_backend

OF_THE_CALLER = ("GRAFANA_", "MAKE", "MFLAGS", "SMOKE_", "COSIGN_", "SIGNER", "DIGEST", "STAGE", "VERSION")
# Writes down how it was called. `answers` says what it prints and how it ends, by the beginning of its words.
STAND_IN = """\
#!{python}
import json, os, subprocess, sys
words = sys.argv[1:]
if {name!r} == "kubectl" and words[:1] == ["kustomize"]:
    sys.exit(subprocess.call([{real!r}, *words]))
with open({log!r}, "a") as log:
    log.write(json.dumps([{name!r}, *words]) + "\\n")
given = json.load(open({answers!r}))
if "get" in words:
    revisions = given["revisions"].get(words[-1].partition("/")[2], ["1", "1"])
    applied = any("apply" in json.loads(line) for line in open({log!r}))
    print(revisions[applied], end="")
for begin, (said, code) in given["answers"].items():
    if " ".join(words).startswith(begin):
        print(said)
        sys.exit(code)
"""


@dataclass
class Bench:
    """A folder with stand-ins first on PATH. `calls` is what they were asked, in order; `kubectl` is the real one."""

    folder: Path
    answers: dict[str, tuple[str, int]] = field(default_factory=dict)
    revisions: dict[str, list[str]] = field(
        default_factory=dict
    )  # of Deployments, before and after something is applied

    def __post_init__(self) -> None:
        self.kubectl = real = shutil.which("kubectl") or ""
        if not real or shutil.which("make") is None:
            missing_backend("make or kubectl is not on PATH: nobody can run the pipeline's steps")
        for name in ("kubectl", "cosign", "docker"):
            program = self.folder / name
            facts = {"python": sys.executable, "name": name, "real": real, "log": str(self.folder / "log")}
            program.write_text(STAND_IN.format(**facts, answers=str(self.folder / "answers.json")))
            program.chmod(0o755)

    def make(self, target: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a step, with the folder in the place of `build`."""
        (self.folder / "answers.json").write_text(json.dumps({"answers": self.answers, "revisions": self.revisions}))
        words = [f"{name}={text}" for name, text in variables.items()]
        kept = {name: text for name, text in os.environ.items() if not name.startswith(OF_THE_CALLER)}
        kept |= {"no_proxy": "127.0.0.1"}
        return subprocess.run(
            ["make", "--silent", *options, target, f"BUILD={self.folder.relative_to(ROOT)}", *words],
            cwd=ROOT,
            env=kept | {"PATH": f"{self.folder}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def calls(self) -> list[list[str]]:
        log = self.folder / "log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@contextmanager
def set_up() -> Iterator[Bench]:
    """A bench below `build`: kustomize reads no folder by a path that is not relative."""
    (ROOT / "build").mkdir(exist_ok=True)
    with TemporaryDirectory(dir=ROOT / "build") as folder:
        yield Bench(Path(folder))
