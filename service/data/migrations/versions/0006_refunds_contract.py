"""Contract: every charge obeys the new rules, and the index that 0004 replaces is gone.

For when nothing older than 0003 runs any more: a refund without its time, which nothing in the new version writes, is
refused from here on.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

phase = "contract"

STATEMENTS = (
    """
    ALTER TABLE payments.charges ADD CONSTRAINT charges_refunded_with_time
        CHECK ((status = 'refunded') = (refunded_at IS NOT NULL)) NOT VALID
    """,
    "ALTER TABLE payments.charges VALIDATE CONSTRAINT charges_status_known",
    "ALTER TABLE payments.charges VALIDATE CONSTRAINT charges_amount_unless_voided",
    "ALTER TABLE payments.charges VALIDATE CONSTRAINT charges_refunded_with_time",
    "DROP INDEX CONCURRENTLY IF EXISTS orders_by_user",
)


def upgrade() -> None:
    """Check what is there, one statement a transaction, none of which a writer waits for."""
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE payments.charges DROP CONSTRAINT IF EXISTS charges_refunded_with_time")
        for statement in STATEMENTS:
            op.execute(statement)


def downgrade() -> None:
    """Bring the older index back, and let go of the newest rule."""
    op.execute("ALTER TABLE payments.charges DROP CONSTRAINT charges_refunded_with_time")
    with op.get_context().autocommit_block():
        op.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_by_user ON orders (user_id, created_at)")
