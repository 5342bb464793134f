"""A version of the API: where it lies, how its answers look, and when it ends.

Owns the mechanism. What the versions are, and in what they differ, is written in ``service.versions`` and nowhere else:
routes are written once, for the newest form, and ask their version for the form that they answer in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime

from pydantic import BaseModel


@dataclass(frozen=True)
class Version:
    """``forms``: the newest form of an answer → its form in this version; what is not listed is the same.

    ``deprecated`` and ``sunset`` are UTC: since when callers should move on, and from when it may be gone.
    """

    name: str
    forms: Mapping[type[BaseModel], type[BaseModel]] = field(default_factory=dict)
    deprecated: datetime | None = None
    sunset: datetime | None = None
    successor: str | None = None

    @property
    def prefix(self) -> str:
        """First part of the path, e.g. ``/v1``."""
        return f"/{self.name}"

    @property
    def ends(self) -> bool:
        """Whether callers should move on."""
        return self.deprecated is not None

    def form(self, newest: type[BaseModel]) -> type[BaseModel]:
        """The form in which this version answers."""
        return self.forms.get(newest, newest)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """``Deprecation`` (RFC 9745), ``Sunset`` (RFC 8594) and where to go instead; none while it is current."""
        headers = []
        if self.deprecated:
            headers.append((b"deprecation", b"@%d" % self.deprecated.timestamp()))
        if self.sunset:
            headers.append((b"sunset", format_datetime(self.sunset, usegmt=True).encode()))
        if self.successor:
            headers.append((b"link", f'</{self.successor}>; rel="successor-version"'.encode()))
        return headers
