"""Whether the ports of the stack are free, and who has those that are not. Knows nothing of starting anything."""

import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from stack.components import Component
from stack.layout import LOOPBACK, Layout


@dataclass(frozen=True)
class TakenPort:
    """A port that a component wants and somebody else has. `holder` is in words, empty where it cannot be seen."""

    port: int
    component: str
    holder: str

    def __str__(self) -> str:
        return f"port {self.port} of {self.component} is taken by {self.holder or 'another program'}"


def taken_ports(parts: Iterable[Component], layout: Layout) -> list[TakenPort]:
    """Every wanted port that cannot be listened on now."""
    wanted = [(layout.port(base), part.name) for part in parts for base in part.ports.values()]
    taken = [(port, name) for port, name in wanted if not is_free(port)]
    holders = who_listens({port for port, _ in taken}) if taken else {}
    return [TakenPort(port, name, holders.get(port, "")) for port, name in taken]


def is_free(port: int) -> bool:
    """Whether a server could listen on the port at loopback; connections that are merely closing do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def who_listens(ports: set[int]) -> dict[int, str]:
    """Port → `program (pid N)`, as far as this user may see it."""
    holders: dict[int, str] = {}
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr or not connection.pid:
                continue
            port = connection.laddr.port
            if port in ports:
                with suppress(psutil.Error):
                    holders[port] = f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return holders


def listens(pid: int, port: int) -> bool:
    """Whether this very process, and not merely somebody, listens on the port."""
    with suppress(psutil.Error, OSError):
        found = psutil.Process(pid).net_connections(kind="tcp")
        return any(one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port for one in found)
    return False
