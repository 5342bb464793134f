"""Where the running system is: the addresses of its parts, given from outside.

Owns looking a part up by name. Refuses to know how anybody found the addresses, or what answers there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REQUIRED = ("gateway", "prometheus", "loki", "jaeger", "pager")


class EndpointError(Exception):
    """An address that the run needs is not known; the text names it and the remedy."""


@dataclass(frozen=True)
class Endpoints:
    """Base addresses by component name (`gateway`, `api-1`, `prometheus`, …), without a slash at the end."""

    urls: Mapping[str, str]

    @classmethod
    def parse(cls, urls: Mapping[str, Any]) -> Endpoints:
        """From the `urls` of a state document; parts without an address are left out. Raises EndpointError."""
        known = {name: str(url).rstrip("/") for name, url in urls.items() if url}
        if missing := [name for name in REQUIRED if name not in known]:
            raise EndpointError(
                f"no address of {', '.join(missing)}. Start the stack, or put them into the state document"
            )
        return cls(known)

    def url(self, name: str) -> str:
        """The address of one part. Raises EndpointError."""
        try:
            return self.urls[name]
        except KeyError:
            raise EndpointError(f"no address of {name!r}. Known: {', '.join(sorted(self.urls))}") from None

    def replicas(self, name: str) -> dict[str, str]:
        """The part called `name` or, for a job such as `api`, all its replicas. Raises EndpointError."""
        pattern = re.compile(rf"{re.escape(name)}(-\d+)?")
        found = {part: url for part, url in self.urls.items() if pattern.fullmatch(part)}
        if not found:
            raise EndpointError(f"no process of {name!r}. Known: {', '.join(sorted(self.urls))}")
        return found
