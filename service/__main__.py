"""The service's commands: ``python -m service api|worker|payments|issuer --port P``, ``migrate``, ``seed``, ``jobs``.

Owns arguments, exit codes and the words on the terminal. A process is put together by its module in
``service.processes``; what only one command needs is loaded by that command.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys
from collections.abc import Sequence
from typing import get_args

from pydantic import ValidationError

from service import jobs_command, telemetry
from service.secrets import SecretsUnavailable, build_secrets
from service.settings import ServiceName, Settings, SettingsRefused, fill_in, find_refusals, load_settings

SERVED: tuple[ServiceName, ...] = get_args(ServiceName)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. 0: done, or left when told to. 1: failed. 2: wrong use or wrong settings."""
    options = _build_parser().parse_args(arguments)
    try:
        settings = _read_settings(options.command if options.command in SERVED else "api")
        if options.command not in SERVED:
            return _run(settings, options)
        # a process loads what it is made of; the others' parts would cost it memory for nothing
        app = importlib.import_module(f"service.processes.{options.command}").build_app(settings)
    except SettingsRefused as refused:
        for reason in refused.reasons:
            _complain(reason)
        return 2
    from service.server import serve

    serve(
        app,
        app.state.health,
        host=settings.host,
        port=options.port,
        drain_s=settings.drain_s,
        trusted_proxies=settings.trusted_proxies,
        share_port=settings.share_port == "on",
    )
    return 0


def _read_settings(service_name: ServiceName) -> Settings:
    """The settings, secrets filled in. Raises ``SettingsRefused`` with every reason; none shows a value."""
    try:
        settings = load_settings(service_name)
    except ValidationError as error:
        named = (("_".join(str(part) for part in entry["loc"]).upper(), entry["msg"]) for entry in error.errors())
        raise SettingsRefused([f"SIGNALBOX_{name}: {said}" for name, said in named]) from error
    if not settings.secrets:
        return settings
    try:
        filled = asyncio.run(fill_in(settings, build_secrets(settings.secrets, os.environ)))
    except (ValueError, SecretsUnavailable) as error:
        raise SettingsRefused([f"SIGNALBOX_SECRETS: {error}"]) from error
    if reasons := find_refusals(filled, filled_in=True):
        raise SettingsRefused([f"{reason} (SIGNALBOX_SECRETS has none)" for reason in reasons])
    return filled


def _run(settings: Settings, options: argparse.Namespace) -> int:
    """A command that comes, speaks to the database and goes."""
    import asyncpg
    from sqlalchemy.exc import DBAPIError

    try:
        if options.command == "jobs":
            return asyncio.run(jobs_command.run(settings, options))
        asyncio.run(_migrate(settings, options.contract) if options.command == "migrate" else _seed(settings))
    except (OSError, DBAPIError, asyncpg.PostgresError) as error:
        _complain(f"{options.command} failed: {str(error).splitlines()[0]}")
        return 1
    return 0


async def _migrate(settings: Settings, contract: bool) -> None:
    from service.app import TELEMETRY_FLUSH_S, build_telemetry
    from service.data import migrations  # Alembic is a quarter of a second and 20 MB that no server needs

    tel = build_telemetry(settings.model_copy(update={"service_name": "migrate"}))
    tel.start()
    try:
        with telemetry.span("migrate"):
            await migrations.apply(settings.database_url, contract=contract)
    finally:
        await tel.shutdown(TELEMETRY_FLUSH_S)
    _say("the schema is up to date")


async def _seed(settings: Settings) -> None:
    from service.data.seed import seed

    done = await seed(settings.database_url)
    _say("users and products are there" if done else "users and products were there already")


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service", description="The signalbox reference service.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in SERVED:
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
