"""What Alembic runs to apply versions: on the connection that ``service.data.migrations.apply`` hands over."""

from __future__ import annotations

from alembic import context


def _run() -> None:
    context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


_run()
