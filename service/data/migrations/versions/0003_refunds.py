"""Expand: a charge may be refunded or voided. What runs now writes neither, and does not notice."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The new rules are added unchecked, which needs a lock for an instant only; 0005 checks them against the rows that are
# there, without a lock that a writer would wait for.
STATEMENTS = (
    "ALTER TABLE payments.charges ADD COLUMN refunded_at timestamptz",
    """
    ALTER TABLE payments.charges ADD CONSTRAINT charges_status_known
        CHECK (status IN ('captured', 'refused', 'refunded', 'voided')) NOT VALID
    """,
    """
    ALTER TABLE payments.charges ADD CONSTRAINT charges_amount_unless_voided
        CHECK (amount_cents > 0 OR status = 'voided') NOT VALID
    """,
    "ALTER TABLE payments.charges DROP CONSTRAINT charges_status_check",
    "ALTER TABLE payments.charges DROP CONSTRAINT charges_amount_cents_check",
)


def upgrade() -> None:
    """Allow the two ways in which a charge can be given up."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Forbid them again. Fails where there are such charges: nobody may forget a refund."""
    op.execute("ALTER TABLE payments.charges ADD CONSTRAINT charges_amount_cents_check CHECK (amount_cents > 0)")
    op.execute(
        "ALTER TABLE payments.charges ADD CONSTRAINT charges_status_check CHECK (status IN ('captured', 'refused'))"
    )
    op.execute(
        "ALTER TABLE payments.charges DROP CONSTRAINT charges_status_known,"
        " DROP CONSTRAINT charges_amount_unless_voided, DROP COLUMN refunded_at"
    )
