"""The schema comes up and goes down, and two at once do not get in each other's way."""

from __future__ import annotations

import subprocess
import sys

from tests.acceptance.service.conftest import Addresses, Sql, environment
from tests.conftest import ROOT, Stack


def test_migrate_and_seed_can_run_twice_at_once_and_once_more(
    stack: Stack, addresses: Addresses, sql: Sql, scratch: str
) -> None:
    url = addresses.database.rsplit("/", 1)[0] + f"/{scratch}"
    env = environment(stack, addresses, DATABASE_URL=url)

    def run_twice(command: str) -> list[str]:
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "service", command],
                cwd=ROOT,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        ended = [(process.communicate(timeout=120), process.returncode) for process in running]
        assert [code for _, code in ended] == [0, 0], ended
        return sorted(out.strip() for (out, _), _ in ended)

    run_twice("migrate")
    assert [row[0] for row in sql("SELECT version_num FROM alembic_version", database=scratch)] == ["0004"]
    assert run_twice("seed") == ["users and products are there", "users and products were there already"]
    counts = "SELECT (SELECT count(*) FROM users) AS users, (SELECT count(*) FROM products) AS products"
    assert dict(sql(counts, database=scratch)[0]) == {"users": 50_000, "products": 100_000}
    run_twice("migrate")
