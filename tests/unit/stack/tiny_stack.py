"""A stack of small real processes for the supervisor's tests: `store` ← step `fill` ← replicas of `api` ← `door`, and a
`sink` that `store` sends to.

Run as `tiny_stack.py FOLDER PORT` it is the supervisor, as `tiny_stack.py FOLDER PORT NAME` one of its servers. What
happens is written to `FOLDER/diary`; files named `<component>.<manner>` in the folder change how a component behaves.
"""

import os
import signal
import socket
import sys
from pathlib import Path


def serve(folder: Path, port: int, name: str) -> None:
    """Answer 200: but 503 to GET while `sick`, 500 to POST while `stubborn`; and do not even start while `broken`."""

    def note(what: str) -> None:
        with (folder / "diary").open("a") as diary:
            diary.write(f"{what} {name}\n")

    def is_(manner: str) -> bool:
        return (folder / f"{name}.{manner}").exists()

    def leave(*_: object) -> None:
        note("ends")
        os._exit(0)

    if is_("broken"):
        sys.exit(f"{name} is broken")
    signal.signal(signal.SIGTERM, leave)
    note("begins")
    shared = os.environ.get("SIGNALBOX_SHARE_PORT") == "on"
    with socket.create_server(("127.0.0.1", port), reuse_port=shared) as server:
        while True:
            connection, _ = server.accept()
            with connection:
                posted = connection.recv(4096).startswith(b"POST")
                if posted:
                    note("reloads")
                status = 500 if posted and is_("stubborn") else 503 if not posted and is_("sick") else 200
                connection.sendall(f"HTTP/1.1 {status} .\r\n\r\n".encode())


def supervise(folder: Path, first_port: int) -> None:
    """Keep the tiny stack as the real one is kept, only more impatiently."""
    import asyncio
    import logging

    from stack.components import Component, Probe, Reload, Step
    from stack.layout import Layout
    from stack.native import part
    from stack.native.locks import held
    from stack.native.supervisor import Supervisor

    part.WATCHING_INTERVAL_S = part.FIRST_PAUSE_S = 0.1
    part.STARTING_INTERVAL_S = 0.03
    part.LONGEST_PAUSE_S = 0.4

    def server(name: str, number: int, **rest: object) -> Component:
        return Component(
            name=name,
            ports={name: first_port + number},
            command=("{python}", "-S", "-E", __file__, str(folder), f"{{ports[{name}]}}", name),
            probe=Probe("http", name, "/"),
            stop_grace_s=3.0,
            **rest,
        )

    def catalogue(replicas: int) -> tuple[Component, ...]:
        return (
            server("door", 0, needs=("api",), env={"UPSTREAMS": "{upstreams}"}),
            *(server(f"api-{n}", n, job="api", needs=("fill",)) for n in range(1, replicas + 1)),
            server("store", 5, sends_to=("sink",), reload=Reload(port="store", path="/reload"), forgets=("told",)),
            server("sink", 6, overlaps=True),
        )

    script = f"echo runs fill >> {folder}/diary; if test -e {folder}/fill.broken; then echo no room; exit 3; fi"
    fill = Step("fill", ("sh", "-c", script), ("store",), {})

    async def keep() -> None:
        await Supervisor(Layout(root=Path.cwd(), state=folder), catalogue=catalogue, steps=(fill,)).run()

    logging.basicConfig(level=logging.INFO)
    with held(folder / "run" / "supervisor.lock"):
        asyncio.run(keep())


if __name__ == "__main__":
    sys.path[0] = os.getcwd()
    if len(sys.argv) == 3:
        supervise(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
