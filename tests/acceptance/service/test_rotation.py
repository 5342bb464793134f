"""The database's password is changed while the service runs: connections that are there stay, new ones know it."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from tests.acceptance.backends import eventually
from tests.acceptance.service.conftest import Addresses, Sql, run_api
from tests.conftest import Stack


def test_a_password_is_rotated_without_a_restart(stack: Stack, addresses: Addresses, sql: Sql, tmp_path: Path) -> None:
    role = f"rotating_{uuid4().hex[:8]}"
    kept = tmp_path / "secrets"
    kept.mkdir()
    (kept / "database_password").write_text("the first one\n")
    sql(f"CREATE ROLE {role} LOGIN PASSWORD 'the first one' IN ROLE signalbox", superuser=True)
    try:
        # no password in the address: there is only the file's
        host = addresses.database.rsplit("@", 1)[1]
        changes = {"DATABASE_URL": f"postgresql+asyncpg://{role}@{host}", "SECRETS": f"files:{kept}"}
        with run_api(stack, addresses, tmp_path / "api.log", **changes) as api:
            assert api.http.get("/v2/users/5").status_code == 200
            sql(f"ALTER ROLE {role} PASSWORD 'the second one'", superuser=True)
            assert api.http.get("/v2/users/5").status_code == 200, "a connection that is there stays"
            drop = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1"
            sql(drop, role, superuser=True)
            answers = [api.http.get(f"/v2/users/{number}").status_code for number in range(1, 5)]
            assert set(answers) <= {503}, "the new password is not known yet, which is told as a database out of reach"
            (kept / "database_password").write_text("the second one\n")
            eventually(lambda: api.http.get("/v2/users/5").status_code == 200, "a connection with the new password")
            assert api.popen.poll() is None
    finally:
        sql(f"DROP ROLE {role}", superuser=True)
