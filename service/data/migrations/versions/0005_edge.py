"""Users count their changes, for If-Match; orders have idempotency keys."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is missing. A column with a constant default rewrites no row, so this holds no lock for long."""
    op.execute("ALTER TABLE users ADD COLUMN version bigint NOT NULL DEFAULT 1")
    op.execute(
        """
        CREATE TABLE order_keys (
            client text NOT NULL,
            key text NOT NULL,
            fingerprint bytea NOT NULL,
            order_id uuid NOT NULL UNIQUE,
            placed boolean NOT NULL DEFAULT false,
            created_at timestamptz NOT NULL DEFAULT now(),
            taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (client, key)
        )
        """
    )
    op.execute("CREATE INDEX order_keys_by_age ON order_keys (created_at)")


def downgrade() -> None:
    """Drop it again; keys and change counts are lost."""
    op.execute("DROP TABLE order_keys")
    op.execute("ALTER TABLE users DROP COLUMN version")
