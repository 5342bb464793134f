"""Expand: an index in which a user's orders have one order even when two were placed in the same instant."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Build it while orders are written. One that was begun and not finished is in the way of a second try."""
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS orders_by_user_and_id")
        op.execute("CREATE INDEX CONCURRENTLY orders_by_user_and_id ON orders (user_id, created_at, id)")


def downgrade() -> None:
    """Do without."""
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS orders_by_user_and_id")
