"""Compiled files on disk: where they go, which of them are stale, and writing them.

Owns the two layouts (this repository's folders, or one folder of somebody else's) and the merging of runbooks with
what people wrote into them. Refuses to know what the files say.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slo.compiler import compile_boards, compile_definitions, compile_tests
from slo.emit.kubernetes import emit_kustomization, emit_prometheus_rule
from slo.emit.runbooks import emit_runbooks
from slo.parse.tree import Definitions

REPOSITORY = Path(__file__).resolve().parent.parent
GENERATED = "_generated"
RULES = REPOSITORY / "observability" / "prometheus" / "rules"
BOARDS = REPOSITORY / "observability" / "grafana" / "definitions"

State = Literal["missing", "stale", "unchanged", "left over"]


@dataclass(frozen=True)
class Generated:
    """A file as it should be (no text: it should not be there) and how it is."""

    path: Path
    text: str | None
    state: State


def plan_files(found: Definitions, out: Path | None, clock: float = 1.0) -> list[Generated]:
    """Every file of these definitions. `out` is None for this repository. Raises ValueError for a runbook that it must
    not overwrite, and OSError."""
    compiled = compile_definitions(found, clock=clock)
    if (
        out is None
    ):  # designed dashboards and rules by hand belong to this repository's service, not to others' promises
        compiled |= compile_boards(BOARDS, found.promises)
        compiled |= _rules_for_the_operator(compiled)
    compiled |= compile_tests(found.promises, clock=clock)
    planned = [_compare(_destination(relative, out), text) for relative, text in compiled.items()]
    runbooks = (REPOSITORY / "docs" if out is None else out) / "runbooks"
    for runbook in emit_runbooks(found.promises):
        path = runbooks / f"{runbook.alert}.md"
        try:
            planned.append(_compare(path, runbook.merged(_read(path))))
        except ValueError as error:
            raise ValueError(f"{path} {error}") from None
    return planned + _left_over({generated.path for generated in planned}, out)


def write_files(planned: Iterable[Generated]) -> None:
    """Bring the disk up to date, each file at once or not at all. Raises OSError."""
    for generated in planned:
        if generated.text is None:
            generated.path.unlink(missing_ok=True)
        elif generated.state != "unchanged":
            _write(generated.path, generated.text)


def _rules_for_the_operator(compiled: Mapping[str, str]) -> dict[str, str]:
    """Every rule file, compiled or by hand, as a PrometheusRule. Raises OSError."""
    rules = {
        path.removeprefix("prometheus/"): text for path, text in compiled.items() if path.startswith("prometheus/")
    }
    rules |= {path.name: path.read_text(encoding="utf-8") for path in sorted(RULES.glob("*.yaml"))}
    files = {
        f"deploy/kubernetes/rules/{name}": emit_prometheus_rule(name.removesuffix(".yaml").removesuffix("-rules"), text)
        for name, text in rules.items()
    }
    return {**files, "deploy/kubernetes/rules/kustomization.yaml": emit_kustomization(rules)}


def _destination(relative: str, out: Path | None) -> Path:
    if out is not None:
        return out / relative
    owner, _, rest = relative.partition("/")
    if owner == "deploy":
        platform, _, rest = rest.partition("/")
        return REPOSITORY / "deploy" / platform / GENERATED / rest
    return REPOSITORY / "observability" / owner / GENERATED / rest


def _compare(path: Path, text: str) -> Generated:
    existing = _read(path)
    state: State = "missing" if existing is None else "unchanged" if existing == text else "stale"
    return Generated(path, text, state)


def _left_over(planned: set[Path], out: Path | None) -> list[Generated]:
    """Files in our own generated folders that nothing generates any more. Other people's folders are theirs."""
    if out is not None:
        return []
    folders = (REPOSITORY / owner for owner in ("observability", "deploy"))
    found = (path for folder in folders for path in folder.glob(f"*/{GENERATED}/**/*"))
    extra = sorted(path for path in found if path.is_file() and path not in planned)
    return [Generated(path, None, "left over") for path in extra]


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode(errors="surrogateescape")
    except FileNotFoundError:
        return None


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
