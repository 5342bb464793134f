"""The pager's configuration, read from the environment once.

Owns: names, defaults and checks of the variables. Refuses to know: what the values are used for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

RUNBOOKS = Path(__file__).resolve().parents[2] / "docs" / "runbooks"

# Twice the time between two repeats of the Watchdog (75 s, alertmanager.yml), and under the three minutes promised.
DEADMAN_TIMEOUT_S = 150.0


class SettingsError(ValueError):
    """A variable holds a value that the pager cannot use; the text names it and the remedy."""


@dataclass(frozen=True)
class Settings:
    """Addresses are without a trailing slash; an empty one means that the part is not there.

    `*_url` is where the pager itself reaches a backend, `*_public_url` where the reader's browser does.
    """

    data: Path
    prometheus_url: str = ""
    jaeger_url: str = ""
    loki_url: str = ""
    alertmanager_url: str = ""
    grafana_url: str = ""
    jaeger_public_url: str = ""
    alertmanager_public_url: str = ""
    grafana_public_url: str = ""
    public_url: str = ""
    deadman_timeout_s: float = DEADMAN_TIMEOUT_S
    runbooks: Path = RUNBOOKS

    @property
    def base_path(self) -> str:
        """The path prefix under which a proxy serves the pager, without a trailing slash."""
        return urlsplit(self.public_url).path.rstrip("/")


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Settings from `environ`. Raises SettingsError, naming the variable."""
    data = environ.get("SIGNALBOX_PAGER_DATA", "")
    if not data:
        raise SettingsError("SIGNALBOX_PAGER_DATA is not set. Name the folder that keeps the pages.")
    jaeger_url = _url(environ, "SIGNALBOX_JAEGER_URL")
    alertmanager_url = _url(environ, "SIGNALBOX_ALERTMANAGER_URL")
    grafana_url = _url(environ, "SIGNALBOX_GRAFANA_URL")
    return Settings(
        data=Path(data),
        prometheus_url=_url(environ, "SIGNALBOX_PROMETHEUS_URL"),
        jaeger_url=jaeger_url,
        loki_url=_url(environ, "SIGNALBOX_LOKI_URL"),
        alertmanager_url=alertmanager_url,
        grafana_url=grafana_url,
        jaeger_public_url=_url(environ, "SIGNALBOX_JAEGER_PUBLIC_URL", jaeger_url),
        alertmanager_public_url=_url(environ, "SIGNALBOX_ALERTMANAGER_PUBLIC_URL", alertmanager_url),
        grafana_public_url=_url(environ, "SIGNALBOX_GRAFANA_PUBLIC_URL", grafana_url),
        public_url=_url(environ, "SIGNALBOX_PUBLIC_URL"),
        deadman_timeout_s=_seconds(environ, "SIGNALBOX_DEADMAN_TIMEOUT_S", DEADMAN_TIMEOUT_S),
    )


def _url(environ: Mapping[str, str], name: str, default: str = "") -> str:
    value = environ.get(name, default).strip().rstrip("/")
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and parts.hostname and not parts.query and not parts.fragment
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(f"{name} is {value!r}. Write an http:// or https:// address, or leave it empty.")
    return value


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = 0.0
    if not 0.0 < value < 86_400.0:
        raise SettingsError(f"{name} is {text!r}. Write a number of seconds above 0 and below a day.")
    return value
