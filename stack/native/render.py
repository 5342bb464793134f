"""The configuration files of the running stack: the checkout's own, with this machine's ports, secrets and clock.

Every component's files lie in `run/<component>/` in the shape of the folder they come from. Owns no setting of a
backend but those that depend on the clock, on secrets or on which replicas there are.
"""

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from stack.components import Component
from stack.errors import StackError
from stack.layout import LOOPBACK
from stack.native.credentials import write_private
from stack.native.launch import WATCHED, Blueprint

GENERATED = "_generated"  # what the SLO compiler owns, below each backend's folder
SECRETS_IN_CONTAINERS = "/run/secrets"  # where committed configuration looks for secrets
LEAST_RANGE = timedelta(seconds=5)  # five scrapes under a clock factor
LEAST_INTERVAL = timedelta(seconds=1)
_DURATION = re.compile(r"(?P<what>\[|\boffset |\bfor: |\binterval: )(?P<length>\d+(?:ms|[smhdw]))\b")
FAST_INTERVAL = "1s"  # scraping and evaluation under a clock factor: windows of minutes have become seconds


def render(blueprint: Blueprint) -> None:
    """Bring `run/` up to date. Raises StackError when a definition or a configuration file is wrong or missing."""
    root, clock = blueprint.layout.root, blueprint.wish.clock
    compiled = compile_settings(root, clock)
    for part in blueprint.parts:
        files = read_settings(root, part, clock, compiled)
        bring_up_to_date(blueprint.run_folder(part), _adapted(blueprint, part, files))
    pager = f"http://{LOOPBACK}:{blueprint.ports['pager']}/api/v1"
    write_private(blueprint.layout.secrets / "pager_url", f"{pager}/alerts\n")
    write_private(blueprint.layout.secrets / "pager_deadman_url", f"{pager}/deadman\n")


def scrape_targets(blueprint: Blueprint) -> Mapping[str, list[dict[str, Any]]]:
    """Job → what Prometheus' file discovery reads: one target an instance, with its labels."""
    targets: dict[str, list[dict[str, Any]]] = {}
    for part in blueprint.parts:
        if part.metrics:
            address = f"{LOOPBACK}:{blueprint.ports[part.metrics]}"
            labels = {"job": part.job, "instance": part.name}
            targets.setdefault(part.job, []).append({"targets": [address], "labels": labels})
    return targets


def quicken_rules(rules: str, clock: float) -> str:
    """Hand-written rules with every range, offset, interval and waiting time divided by the clock, as the compiler
    divides its own. Comments and layout stay."""
    from slo.durations import format_duration, parse_duration

    def divided(found: re.Match[str]) -> str:
        least = LEAST_INTERVAL if found["what"].startswith("interval") else LEAST_RANGE
        return found["what"] + format_duration(max(parse_duration(found["length"]) / clock, least))

    return _DURATION.sub(divided, rules)


def quicken(prometheus_config: str) -> str:
    """Prometheus' configuration with the intervals of a clock factor."""
    config = yaml.safe_load(prometheus_config)
    for setting in ("scrape_interval", "evaluation_interval", "scrape_timeout"):
        config["global"][setting] = FAST_INTERVAL
    return yaml.safe_dump(config, sort_keys=False)


def compile_settings(root: Path, clock: float) -> Mapping[str, str]:
    """Path below `observability/` → text of everything that the SLO compiler makes at that clock. Raises StackError."""
    # Imported here: a fault in the compiler must not keep `signalbox down` from working.
    from slo.compiler import compile_boards, compile_tree
    from slo.errors import DefinitionErrors
    from slo.parse.tree import parse_tree

    try:
        definitions = root / "slo" / "definitions"
        boards = root / "observability" / "grafana" / "definitions"
        return compile_tree(definitions, clock=clock) | compile_boards(boards, parse_tree(definitions))
    except DefinitionErrors as wrong:
        raise StackError(f"{wrong.errors[0]} ({len(wrong.errors)} in all)", "See `signalbox slo lint`") from wrong


def read_settings(root: Path, part: Component, clock: float, compiled: Mapping[str, str]) -> dict[str, str]:
    """The files of a component's configuration folder as they hold at that clock, the compiler's among them."""
    files = _copied(root, part)
    generated = f"{part.name}/"
    files |= {
        f"{GENERATED}/{path.removeprefix(generated)}": text
        for path, text in compiled.items()
        if path.startswith(generated)
    }
    if part.name == "prometheus" and clock != 1:
        files["prometheus.yml"] = quicken(files["prometheus.yml"])
        files |= {name: quicken_rules(text, clock) for name, text in files.items() if name.startswith("rules/")}
    return files


def _copied(root: Path, part: Component) -> dict[str, str]:
    if part.config is None:
        return {}
    source = root / part.config
    paths = [path for path in source.rglob("*") if path.is_file()]
    relative = {path: path.relative_to(source) for path in paths}
    return {str(name): path.read_text() for path, name in relative.items() if name.parts[0] != GENERATED}


def _adapted(blueprint: Blueprint, part: Component, files: dict[str, str]) -> dict[str, str]:
    match part.name:
        case "prometheus":
            for job, targets in scrape_targets(blueprint).items():
                files[f"{WATCHED}/{job}.json"] = json.dumps(targets, indent=1)
        case "alertmanager":
            secrets = str(blueprint.layout.secrets)
            files = {name: text.replace(SECRETS_IN_CONTAINERS, secrets) for name, text in files.items()}
            files["templates/addresses.tmpl"] = address_template(f"http://{LOOPBACK}:{blueprint.ports['pager']}")
        case "valkey":
            files["valkey.conf"] = f"requirepass {blueprint.credentials['valkey_password']}\n"
    return files


def address_template(pager: str) -> str:
    """Where the links of a notification lead: all to the pager, which knows Grafana if there is one."""
    addresses = {"runbooks": f"{pager}/runbooks", "dashboards": pager, "pages": pager}
    return "".join(
        f'{{{{ define "signalbox.address.{name}" }}}}{address}{{{{ end }}}}\n' for name, address in addresses.items()
    )


def bring_up_to_date(folder: Path, files: Mapping[str, str]) -> None:
    """Make the folder hold these files and no others; what did not change is not touched."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if str(path.relative_to(folder)) not in files:
            path.unlink()
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            write_private(path, text)
