"""The service's commands: ``python -m service api|worker|payments --port P``, ``migrate``, ``seed``, ``jobs``.

Owns arguments, exit codes and the words on the terminal. Everything else is built by ``service.app``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import get_args

import asyncpg
from fastapi import FastAPI
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from service import jobs_command
from service.app import build_api_app, build_payments_app, build_worker_app
from service.data.seed import seed
from service.server import serve
from service.settings import ServiceName, Settings, load_settings

_BUILDERS: dict[ServiceName, Callable[[Settings], FastAPI]] = {
    "api": build_api_app,
    "worker": build_worker_app,
    "payments": build_payments_app,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. 0: done, or left when told to. 1: failed. 2: wrong use or wrong settings."""
    options = _build_parser().parse_args(arguments)
    try:
        settings = load_settings(options.command if options.command in _BUILDERS else "api")
    except ValidationError as error:
        for problem in error.errors():  # the values stay out of it, one may be a password
            name = "_".join(str(part) for part in problem["loc"]).upper()
            _complain(f"SIGNALBOX_{name}: {problem['msg']}")
        return 2
    if options.command in _BUILDERS:
        app = _BUILDERS[options.command](settings)
        serve(app, app.state.health, host=settings.host, port=options.port, drain_s=settings.drain_s)
        return 0
    try:
        if options.command == "jobs":
            return asyncio.run(jobs_command.run(settings, options))
        asyncio.run(_migrate(settings, options.contract) if options.command == "migrate" else _seed(settings))
    except (OSError, DBAPIError, asyncpg.PostgresError) as error:
        _complain(f"{options.command} failed: {str(error).splitlines()[0]}")
        return 1
    return 0


async def _migrate(settings: Settings, contract: bool) -> None:
    from service.data import migrations  # Alembic is a quarter of a second and 20 MB that no server needs

    await migrations.apply(settings.database_url, contract=contract)
    _say("the schema is up to date")


async def _seed(settings: Settings) -> None:
    done = await seed(settings.database_url)
    _say("users and products are there" if done else "users and products were there already")


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service", description="The signalbox reference service.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in get_args(ServiceName):
        command = commands.add_parser(name, help=f"serve the {name} process")
        command.add_argument("--port", type=int, required=True, help="TCP port to listen on")
    migrate = commands.add_parser("migrate", help="bring the database's schema up to date, but for the last contracts")
    migrate.add_argument("--contract", action="store_true", help="those too: nothing older runs any more")
    commands.add_parser("seed", help="put the users and products in, unless they are there")
    jobs_command.add_parser(commands)
    return parser


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _complain(text: str) -> None:
    sys.stderr.write(f"service: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
