"""`python -m stack.pager --port 8170`: the pager as a process.

Owns: the command line, logging and the exit code. Refuses to know: everything else.
"""

from __future__ import annotations

import argparse
import logging
import os
import sqlite3
import sys

import uvicorn

from stack.pager.app import build_app
from stack.pager.book import Book
from stack.pager.settings import SettingsError, read_settings


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m stack.pager", description="Receive, keep and show pages.")
    parser.add_argument("--port", type=int, default=8170)
    parser.add_argument("--host", default="127.0.0.1")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"pager: {error}\n")
        return 2
    try:
        Book(settings.data).close()
    except (sqlite3.Error, OSError) as error:
        sys.stderr.write(f"pager: pages cannot be kept in {settings.data} ({error}). Check its disk and owner.\n")
        return 1
    uvicorn.run(
        build_app(settings),
        host=arguments.host,
        port=arguments.port,
        # The plain loop and parser: for a handful of requests a minute the fast ones only cost memory.
        loop="asyncio",
        http="h11",
        ws="none",
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
