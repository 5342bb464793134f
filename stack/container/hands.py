"""The process of this host that lays hands on containers for the component `faults`: started and ended with the stack.

Owns its life. What it does is `stack.container.orders`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress

import psutil

from stack.layout import Layout
from stack.native.processes import Identity, identify

RECORD = "hands.json"  # in the folder `run`: which process it is
END_S = 5.0


def start(layout: Layout) -> None:
    """Have the process run; nothing happens when it does."""
    if _recorded(layout) is not None:
        return
    with layout.log("hands").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "stack.container.orders"],
            cwd=layout.root,
            env={**os.environ, "SIGNALBOX_STATE": str(layout.state), "SIGNALBOX_PORT_OFFSET": str(layout.port_offset)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    if (identity := identify(process.pid)) is not None:
        (layout.run / RECORD).write_text(json.dumps({"pid": identity.pid, "created": identity.created}))


def end(layout: Layout) -> None:
    """End the process, if it runs."""
    if (process := _recorded(layout)) is not None:
        with suppress(psutil.Error):
            process.terminate()
            process.wait(END_S)
    (layout.run / RECORD).unlink(missing_ok=True)


def _recorded(layout: Layout) -> psutil.Process | None:
    try:
        return Identity(**json.loads((layout.run / RECORD).read_text())).process()
    except (OSError, ValueError, TypeError):
        return None
