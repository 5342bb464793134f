"""The database's address in asyncpg's own words, for who speaks to it without SQLAlchemy."""

from __future__ import annotations

from sqlalchemy.engine import make_url


def asyncpg_dsn(database_url: str) -> str:
    """``database_url``, which is SQLAlchemy's, as asyncpg and PostgreSQL's own tools read it.

    What is ``ssl`` to the one is ``sslmode`` to the other, which would send ``ssl`` to the server as a setting.
    """
    url = make_url(database_url).set(drivername="postgresql")
    if mode := url.query.get("ssl"):
        url = url.difference_update_query(["ssl"]).update_query_dict({"sslmode": mode})
    return url.render_as_string(hide_password=False)
