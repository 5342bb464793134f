"""How a component's templates read where each has a host name of its own, and which ports the host is given.

Refuses to know YAML and engines: docker-compose.yml is held to this by tests/contract/test_compose.py.
"""

import re
from collections.abc import Mapping
from typing import Any

from stack.components import components
from stack.layout import LOOPBACK, Layout
from stack.native.credentials import Credentials
from stack.native.launch import DEADMAN_TIMEOUT_S

EVERYWHERE = "0.0.0.0"  # inside networks that lead nowhere
# What a person or a program of theirs on the host talks to although it is no page: the data, and where telemetry goes.
ALSO_PUBLISHED = ("postgres", "postgres-replica", "valkey", "collector-grpc", "collector-http", "jaeger-otlp-http")

_PORT_AT_LOOPBACK = re.compile(rf"(?P<scheme>(?://)?){re.escape(LOOPBACK)}:\{{ports\[(?P<port>[\w-]+)\]\}}")
_PORT_AT_HOST = re.compile(r"\{host\}:\{ports\[(?P<port>[\w-]+)\]\}")


def adapt(template: str, owner: str = "") -> str:
    """A template of the component `owner` with host names in the place of loopback addresses.

    What it listens on itself is open to its networks. What is for a reader's browser (`{host}`) stays at loopback,
    where the host has it.
    """
    hosts = {port: part.name for part in components() for port in part.ports}
    if _PORT_AT_HOST.search(template):
        return template.replace("{host}", LOOPBACK)

    def name(found: re.Match[str]) -> str:
        listens = hosts[found["port"]] == owner and not found["scheme"]
        return f"{found['scheme']}{EVERYWHERE if listens else hosts[found['port']]}:{{ports[{found['port']}]}}"

    return _PORT_AT_LOOPBACK.sub(name, template).replace(LOOPBACK, EVERYWHERE).replace("{gateway_host}", EVERYWHERE)


def values(secret: Mapping[str, str] | Credentials) -> dict[str, Any]:
    """What adapted templates are filled in with, but for paths: those are docker-compose.yml's own choice."""
    parts = components()
    return {
        "ports": {name: port for part in parts for name, port in part.ports.items()},
        "secret": secret,
        "python": "python",
        "upstreams": " ".join(f"{part.name}:{part.ports[part.name]}" for part in parts if part.job == "api"),
        "deadman_timeout_s": f"{DEADMAN_TIMEOUT_S:g}",
        "form": "compose",
        "port_offset": 0,
    }


def published() -> dict[str, int]:
    """Every port that the host is given, by its name, before the offset: what has a page or an API, and the data."""
    return {
        name: port
        for part in components()
        for name, port in part.ports.items()
        if name in ALSO_PUBLISHED or (part.url and f"{{ports[{name}]}}" in part.url)
    }


def variable(port: str) -> str:
    """The variable by which docker-compose.yml learns where on the host that port goes."""
    return f"SIGNALBOX_PORT_{port.upper().replace('-', '_')}"


def host_ports(layout: Layout) -> dict[str, str]:
    """Those variables for the port offset of this checkout."""
    return {variable(name): str(layout.port(base)) for name, base in published().items()}


def secret_environment(secret: Mapping[str, str] | Credentials) -> dict[str, str]:
    """The variables of our own processes that hold a password: never in docker-compose.yml, always in a file."""
    templates: dict[str, str] = {}
    for part in components():
        if part.backend is None:
            templates |= {name: text for name, text in part.env.items() if "{secret[" in text}
    return {name: adapt(text).format_map(values(secret)) for name, text in sorted(templates.items())}


def scrape_targets() -> dict[str, list[dict[str, Any]]]:
    """Job → what Prometheus' file discovery reads: one target an instance."""
    targets: dict[str, list[dict[str, Any]]] = {}
    for part in [part for part in components() if part.metrics]:
        address = f"{part.name}:{part.ports[part.metrics]}"
        labels = {"job": part.job, "instance": part.name}
        targets.setdefault(part.job, []).append({"targets": [address], "labels": labels})
    return targets
